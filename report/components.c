#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/list.h"
#include "report/mark.h"
#include "report/table.h"

/* A row per cell and measure, of the runs at the chosen rate whose components were evaluated. What
 * a run scores is its mean over tasks, or over what lies beyond each window; far_share is measured
 * of the same answers. lost: without the linear part. */
static const char query[] =
    "WITH counted AS MATERIALIZED (SELECT sweep, run, number, label, variant, ratio, "
    "  linear_layers * 1.0 / layers AS linear_share, lr, seed, collapsed FROM judged "
    "  WHERE chosen AND status = 'done' AND (?1 IS NULL OR sweep = ?1)), "
    "measured AS (SELECT run, component, value, "
    "  CASE WHEN metric = 'accuracy' AND slice = '' THEN 'recall' "
    "    WHEN metric = 'accuracy' AND slice GLOB 'beyond=*' THEN 'recall_beyond' "
    "    WHEN metric = 'nll' AND slice = '' THEN 'ppl' END AS measure "
    "  FROM components WHERE split = 'test'), "
    "figure AS (SELECT run, component, measure, "
    "  iif(measure = 'ppl', exp(avg(value)), avg(value)) AS value FROM measured "
    "  WHERE measure IS NOT NULL GROUP BY run, component, measure), "
    "wide AS MATERIALIZED (SELECT run, measure, "
    "  max(value) FILTER (WHERE component = 'full') AS \"full\", "
    "  max(value) FILTER (WHERE component = 'overlap') AS overlap, "
    "  max(value) FILTER (WHERE component = 'window') AS \"window\", "
    "  max(value) FILTER (WHERE component = 'linear') AS linear, "
    "  max(value) FILTER (WHERE component = 'dropped') AS dropped, "
    "  max(value) FILTER (WHERE component = 'sinks') AS sinks, "
    "  max(value) FILTER (WHERE component = 'none') AS \"none\" "
    "  FROM figure GROUP BY run, measure), "
    "attention AS MATERIALIZED (SELECT run, "
    "  avg(value) FILTER (WHERE metric = 'far_share') AS everywhere, "
    "  avg(value) FILTER (WHERE metric = 'far_share_beyond') AS beyond, "
    "  avg(value) FILTER (WHERE metric = 'gamma') AS gamma FROM layers "
    "  WHERE metric IN ('far_share', 'far_share_beyond', 'gamma') GROUP BY run), "
    "scored AS (SELECT *, \"full\" - \"window\" AS lost, "
    "  iif(measure = 'recall_beyond', beyond, everywhere) AS share, "
    "  CASE measure WHEN 'recall' THEN 0 WHEN 'recall_beyond' THEN 1 ELSE 2 END AS place "
    "  FROM counted JOIN wide USING (run) LEFT JOIN attention USING (run)), "
    "listed AS (SELECT *, avg(lost) OVER (PARTITION BY number, measure) AS lost_mean, "
    "  group_concat(printf('%.3g', lost), ', ') OVER (PARTITION BY number, measure "
    "    ORDER BY seed, run ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS by_seed "
    "  FROM scored), "
    "cell AS (SELECT sweep, variant, label, ratio, linear_share, lr, number, place, measure, "
    "  count(*) AS n, avg(\"full\") AS \"full\", avg(overlap) AS overlap, "
    "  avg(\"window\") AS \"window\", avg(linear) AS linear, avg(dropped) AS dropped, "
    "  avg(sinks) AS sinks, avg(\"none\") AS \"none\", lost_mean AS lost, by_seed, "
    "  count(lost) AS lost_n, sum((lost - lost_mean) * (lost - lost_mean)) AS lost_squares, "
    "  avg(share) AS far_share, avg(gamma) AS gamma, sum(collapsed) AS collapsed "
    "  FROM listed GROUP BY number, place) "
    "SELECT *, (SELECT t FROM student_t WHERE df < lost_n ORDER BY df DESC LIMIT 1) * "
    "  sqrt(lost_squares / (lost_n - 1) / lost_n) AS lost_ci95, n AS counted "
    "FROM cell ORDER BY sweep, variant, label, linear_share DESC, number, place";

static const char *const components[] = {"full",    "overlap", "window", "linear",
                                         "dropped", "sinks",   "none"};
enum { COMPONENTS = sizeof components / sizeof *components };

static const struct measure {
    const char *name, *head, *axis;
    int is_fraction;
} measures[] = {
    {"recall_beyond", "recall beyond the window", "recall beyond the window on test data", 1},
    {"recall", "recall", "recall on test data", 1},
    {"ppl", "perplexity", "perplexity on test data", 0},
};
enum { MEASURES = sizeof measures / sizeof *measures };

struct page {
    const struct hy_rows *rows;
    struct hy_grid *grid;
    int several_sweeps, several_labels;
    int shown[COMPONENTS]; /* some row has a score of it */
    int has_share, has_gamma;
    int columns; /* set so far in the row that is filled */
};

static const char *text_of(const struct page *p, int row, const char *name)
{
    const char *text = hy_rows_text(p->rows, row, name);
    return text ? text : "";
}

static const struct measure *measure_of(const struct page *p, int row)
{
    int m = 0;
    while (strcmp(measures[m].name, text_of(p, row, "measure")) != 0)
        m++;
    return &measures[m];
}

static int begins_cell(const struct page *p, int row)
{
    return !row || strcmp(text_of(p, row, "number"), text_of(p, row - 1, "number")) != 0;
}

static void add_columns(struct page *p)
{
    struct hy_grid *g = p->grid;
    p->several_sweeps = hy_rows_differ(p->rows, "sweep");
    p->several_labels = hy_rows_differ(p->rows, "label");
    p->has_share = hy_rows_any(p->rows, "far_share");
    p->has_gamma = hy_rows_any(p->rows, "gamma");
    if (p->several_sweeps)
        hy_grid_add_column(g, &g->page, "sweep", HY_LEFT);
    hy_grid_add_column(g, &g->page, "variant", HY_LEFT);
    if (p->several_labels)
        hy_grid_add_column(g, &g->page, "setting", HY_LEFT);
    hy_grid_add_column(g, &g->page, "ratio", HY_LEFT);
    hy_grid_add_column(g, &g->page, "n", HY_RIGHT);
    hy_grid_add_column(g, &g->page, "measured", HY_LEFT);
    for (int c = 0; c < COMPONENTS; c++) {
        p->shown[c] = hy_rows_any(p->rows, components[c]);
        if (p->shown[c])
            hy_grid_add_column(g, &g->page, components[c], HY_RIGHT);
    }
    hy_grid_add_column(g, &g->page, "full - window", HY_RIGHT);
    hy_grid_add_column(g, &g->page, "seed by seed", HY_LEFT);
    if (p->has_share)
        hy_grid_add_column(g, &g->page, "attention beyond the window", HY_RIGHT);
    if (p->has_gamma)
        hy_grid_add_column(g, &g->page, "window factor", HY_RIGHT);
}

static int set(struct page *p, int row, const char *text)
{
    hy_grid_set(p->grid, &p->grid->page, row, p->columns, text);
    return p->columns++;
}

static void set_score(struct page *p, int row, const char *name)
{
    char text[32];
    const double value = hy_rows_number(p->rows, row, name);
    const enum hy_unit unit = measure_of(p, row)->is_fraction ? HY_UNIT_SCORE : HY_UNIT_NUMBER;
    set(p, row, hy_unit_text(unit, value, text, sizeof text));
}

/* "+0.012 ± 0.008", without an interval where there is one run alone. */
static void set_difference(struct page *p, int row)
{
    char text[64];
    const int decimals = measure_of(p, row)->is_fraction ? 3 : 2;
    const double mean = hy_rows_number(p->rows, row, "lost");
    const double interval = hy_rows_number(p->rows, row, "lost_ci95");
    if (isnan(mean))
        snprintf(text, sizeof text, "–");
    else if (isnan(interval))
        snprintf(text, sizeof text, "%+.*f", decimals, mean);
    else
        snprintf(text, sizeof text, "%+.*f ± %.*f", decimals, mean, decimals, interval);
    set(p, row, text);
}

/* A cell's name stands in the first of its rows, and so does what is not measured row by row. */
static void fill_row(struct page *p, int row)
{
    const int is_first = begins_cell(p, row);
    char text[32];
    hy_grid_add_row(p->grid, &p->grid->page);
    p->columns = 0;
    if (p->several_sweeps)
        set(p, row, is_first ? text_of(p, row, "sweep") : NULL);
    const int named = set(p, row, is_first ? text_of(p, row, "variant") : NULL);
    if (is_first)
        hy_mark_collapsed(p->grid, row, named, hy_rows_count(p->rows, row, "collapsed"),
                          hy_rows_count(p->rows, row, "n"));
    if (p->several_labels)
        set(p, row, is_first ? text_of(p, row, "label") : NULL);
    set(p, row, is_first ? text_of(p, row, "ratio") : NULL);
    set(p, row, text_of(p, row, "n"));
    set(p, row, measure_of(p, row)->head);
    for (int c = 0; c < COMPONENTS; c++)
        if (p->shown[c])
            set_score(p, row, components[c]);
    set_difference(p, row);
    set(p, row, text_of(p, row, "by_seed"));
    if (p->has_share)
        set(p, row,
            hy_unit_text(HY_UNIT_SCORE, hy_rows_number(p->rows, row, "far_share"), text,
                         sizeof text));
    if (p->has_gamma && is_first)
        set(p, row,
            hy_unit_text(HY_UNIT_SCORE, hy_rows_number(p->rows, row, "gamma"), text, sizeof text));
}

/* A line per cell over the components, of the measure that tells most and was taken. */
static void fill_plot(const struct page *p)
{
    struct hy_plot *plot = &p->grid->plot;
    const struct measure *drawn = NULL;
    for (int m = 0; m < MEASURES && !drawn; m++)
        for (int row = 0; row < p->rows->count; row++)
            if (measure_of(p, row) == &measures[m])
                drawn = &measures[m];
    hy_plot_titles(plot, "what is left on", drawn ? drawn->axis : measures[0].axis);
    plot->is_fraction = !drawn || drawn->is_fraction;
    for (int c = 0; c < COMPONENTS; c++)
        if (p->shown[c])
            hy_plot_add_place(plot, components[c]);
    for (int row = 0; row < p->rows->count; row++) {
        char name[512];
        if (measure_of(p, row) != drawn)
            continue;
        const char *label = text_of(p, row, "label");
        snprintf(name, sizeof name, "%s%s%s %s%s%s",
                 p->several_sweeps ? text_of(p, row, "sweep") : "", p->several_sweeps ? ": " : "",
                 text_of(p, row, "variant"), text_of(p, row, "ratio"), *label ? " " : "", label);
        hy_plot_add_series(plot, HY_SERIES_LINE, name);
        for (int c = 0, at = 0; c < COMPONENTS; c++) {
            const struct hy_plot_point point = {
                .x = at, .y = hy_rows_number(p->rows, row, components[c]), .interval = NAN};
            if (p->shown[c] && !isnan(point.y))
                hy_plot_add_point(plot, &point);
            at += p->shown[c];
        }
    }
}

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const struct hy_list_column columns[] = {
        {"sweep", "", HY_UNIT_TEXT},
        {"variant", "", HY_UNIT_TEXT},
        {"label", "", HY_UNIT_TEXT},
        {"ratio", "", HY_UNIT_TEXT},
        {"lr", "", HY_UNIT_NUMBER},
        {"n", "", HY_UNIT_COUNT},
        {"measure", "", HY_UNIT_TEXT},
        {"full", "", HY_UNIT_NUMBER},
        {"overlap", "", HY_UNIT_NUMBER},
        {"window", "", HY_UNIT_NUMBER},
        {"linear", "", HY_UNIT_NUMBER},
        {"dropped", "", HY_UNIT_NUMBER},
        {"sinks", "", HY_UNIT_NUMBER},
        {"none", "", HY_UNIT_NUMBER},
        {"lost", "", HY_UNIT_NUMBER},
        {"lost_ci95", "", HY_UNIT_NUMBER},
        {"by_seed", "", HY_UNIT_TEXT},
        {"far_share", "", HY_UNIT_NUMBER},
        {"gamma", "", HY_UNIT_NUMBER},
        {"collapsed", "", HY_UNIT_COUNT},
        {0},
    };
    struct hy_rows rows;
    const int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    struct page p = {.rows = &rows, .grid = grid};
    hy_grid_title(grid, "Components: mean scores on test data with the rest switched off, and full "
                        "minus window ± 95 % interval (seeds)");
    hy_list_fill_data(grid, &rows, columns);
    add_columns(&p);
    for (int row = 0; row < rows.count; row++)
        fill_row(&p, row);
    fill_plot(&p);
    hy_rows_release(&rows);
    return 0;
}

const struct hy_table hy_table_components = {
    .name = "components",
    .summary = "scores with parts switched off: which models rest on their window alone",
    .plots = 1,
    .fill = fill,
};
