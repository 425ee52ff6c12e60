/* grid.h - what a table fills in: a page for people, the same as data for programs, and a plot.
 *
 * The page holds text as it is to be read, with marks that lead to notes below it; the data holds
 * one row per figure with plain numbers (CSV). Cells are UTF-8 and are data: the formats escape
 * them. Nothing here fails visibly: when memory is out the grid is marked, and hy_grid_failed() is
 * asked once, at the end. */
#ifndef HY_REPORT_GRID_H
#define HY_REPORT_GRID_H

#include "report/plot.h"

enum hy_align { HY_LEFT, HY_RIGHT };

struct hy_cell {
    char *text;  /* NULL: empty */
    char *marks; /* of its notes: "1", "1,†"; NULL: none */
};

struct hy_sheet {
    int columns, rows;
    char **heads;
    enum hy_align *align;
    struct hy_cell *cells; /* [rows * columns] */
};

struct hy_note {
    char *mark, *text;
};

struct hy_grid {
    char *title;
    struct hy_sheet page, data;
    struct hy_plot plot; /* of tables that have one (table.h) */
    struct hy_note *notes;
    int note_count;
    int failed;
};

void hy_grid_release(struct hy_grid *g);
int hy_grid_failed(const struct hy_grid *g);

void hy_grid_title(struct hy_grid *g, const char *title);
/* sheet: &g->page or &g->data. All columns come before the first row. */
void hy_grid_add_column(struct hy_grid *g, struct hy_sheet *sheet, const char *head,
                        enum hy_align align);
/* Adds an empty row; gives its index. */
int hy_grid_add_row(struct hy_grid *g, struct hy_sheet *sheet);
/* Sets a cell; text NULL empties it. */
void hy_grid_set(struct hy_grid *g, struct hy_sheet *sheet, int row, int column, const char *text);
/* Joins a note to a cell of the page. Equal texts are one note. mark NULL: the next number. */
void hy_grid_note(struct hy_grid *g, int row, int column, const char *mark, const char *text);
const struct hy_cell *hy_grid_cell(const struct hy_sheet *sheet, int row, int column);

#endif
