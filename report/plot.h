/* plot.h - what a table draws: series of points over the bytes of a cache, or over named places, or
 * a map: rows of cells in a few tones.
 *
 * Names and labels are UTF-8 and are data: whoever draws escapes them. Nothing here fails visibly:
 * when memory is out the plot is marked failed. */
#ifndef HY_REPORT_PLOT_H
#define HY_REPORT_PLOT_H

enum hy_series_kind {
    HY_SERIES_LINE,   /* markers, joined from left to right */
    HY_SERIES_POINTS, /* markers, each with its label */
    HY_SERIES_LEVEL,  /* markers, their heights drawn through the whole plot: something to compare
                         with */
    HY_SERIES_STAIRS  /* no markers; a line that stays level up to its next point: a frontier */
};

struct hy_plot_point {
    double x, y;
    double interval; /* half the width of y's interval; NaN: none */
    char *label;     /* NULL: none */
    int faint;       /* drawn hollow */
};

struct hy_series {
    enum hy_series_kind kind;
    char *name;
    struct hy_plot_point *points;
    int count;
};

enum hy_tone { HY_TONE_DARK, HY_TONE_LIGHT, HY_TONE_HATCHED, HY_TONE_EMPTY, HY_TONES };

struct hy_map_cell {
    enum hy_tone tone;
    char *text; /* a letter or so; NULL: none */
};

struct hy_map_row {
    char *label;
    int begins_group; /* drawn a little apart from the row above */
    struct hy_map_cell *cells;
    int count;
};

struct hy_plot {
    char *x_title, *y_title;
    int is_fraction; /* y lies between 0 and 1 */
    char *
        *places; /* x is an index into these; where there are none, bytes on a logarithmic scale */
    int place_count;
    struct hy_series *series;
    int series_count;
    int is_map; /* has rows in place of series */
    char *tone_names[HY_TONES];
    struct hy_map_row *rows;
    int row_count;
    int failed;
};

void hy_plot_release(struct hy_plot *p);
void hy_plot_titles(struct hy_plot *p, const char *x_title, const char *y_title);
void hy_plot_add_place(struct hy_plot *p, const char *name);
void hy_plot_add_series(struct hy_plot *p, enum hy_series_kind kind, const char *name);
/* Adds to the series that was added last; copies the label. */
void hy_plot_add_point(struct hy_plot *p, const struct hy_plot_point *point);

/* Makes the plot a map and says what a tone means. */
void hy_plot_name_tone(struct hy_plot *p, enum hy_tone tone, const char *name);
void hy_plot_add_row(struct hy_plot *p, const char *label, int begins_group);
/* Adds to the row that was added last; text may be NULL. */
void hy_plot_add_cell(struct hy_plot *p, enum hy_tone tone, const char *text);

#endif
