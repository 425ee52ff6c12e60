#include "report/ratio.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/list.h"
#include "report/mark.h"

/* base and place: what the cells of one row of the page have in common. A pure model has no place
 * (no full layers to lay out), so it stands in every row of its base. family and line number, from
 * 1, what agrees in base, and in base and place. */
static const char query[] =
    "WITH cell AS (SELECT *, "
    "json_remove(setting, '$.mixer.ratio', '$.mixer.placement', '$.mixer.layers', '$.full') "
    "AS base, "
    "CASE ratio WHEN 'pure' THEN NULL ELSE json_array(setting -> '$.mixer.placement', "
    "setting -> '$.mixer.layers', setting -> '$.full') END AS place "
    "FROM ratio_recall WHERE ?1 IS NULL OR sweep = ?1) "
    "SELECT *, dense_rank() OVER (ORDER BY sweep, ratio = 'full', variant, base) AS family, "
    "dense_rank() OVER (ORDER BY sweep, ratio = 'full', variant, base, place) AS line FROM cell "
    "ORDER BY sweep, ratio = 'full', variant, place IS NULL, d_model, layers, label, ratio";

struct pivot {
    const struct hy_ratio_metric *metric;
    const struct hy_rows *rows; /* of the query: a cell each */
    struct hy_grid *grid;
    const char **ratios; /* of the page's columns after the first */
    int ratio_count;
    int *leaders; /* of the page's rows: the first cell that stands there */
    int row_count;
    int *cells; /* [row_count * ratio_count]: the first cell that belongs there, -1: none */
    int several_sweeps;
};

static const char *text_of(const struct pivot *p, int cell, const char *name)
{
    const char *text = hy_rows_text(p->rows, cell, name);
    return text ? text : "";
}

static int is_same(const struct pivot *p, int a, int b, const char *name)
{
    return !strcmp(text_of(p, a, name), text_of(p, b, name));
}

/* Linear layers per full layer: columns stand in falling order. */
static double linear_share(const char *ratio)
{
    double linear = 0, full = 1;
    if (!strcmp(ratio, "pure"))
        return INFINITY;
    if (!strcmp(ratio, "full"))
        return -1;
    sscanf(ratio, "%lf:%lf", &linear, &full);
    return linear / full;
}

static int compare_ratios(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    const double p = linear_share(x), q = linear_share(y);
    return p > q ? -1 : p < q ? 1 : strcmp(x, y);
}

static void add_columns(struct pivot *p)
{
    for (int cell = 0; cell < p->rows->count; cell++)
        p->ratios[cell] = text_of(p, cell, "ratio");
    qsort(p->ratios, (size_t)p->rows->count, sizeof *p->ratios, compare_ratios);
    for (int i = 0; i < p->rows->count; i++)
        if (!i || strcmp(p->ratios[i], p->ratios[p->ratio_count - 1]) != 0)
            p->ratios[p->ratio_count++] = p->ratios[i];
    hy_grid_add_column(p->grid, &p->grid->page, "variant", HY_LEFT);
    for (int i = 0; i < p->ratio_count; i++)
        hy_grid_add_column(p->grid, &p->grid->page, p->ratios[i], HY_RIGHT);
}

static int is_full(const struct pivot *p, int cell)
{
    return !strcmp(text_of(p, cell, "ratio"), "full");
}

static int has_place(const struct pivot *p, int cell)
{
    return hy_rows_text(p->rows, cell, "place") != NULL;
}

/* The rows of a page as they come to be. Numbers of rows, from 0; -1: none. */
struct layout {
    int *by_line;   /* [line]: the row of that line */
    int *by_family; /* [family]: the last row of that family */
    int *before;    /* [row]: the one before it in its family */
};

static void add_row(struct pivot *p, struct layout *l, int cell)
{
    const long family = hy_rows_count(p->rows, cell, "family");
    const long line = hy_rows_count(p->rows, cell, "line");
    /* Cells with a place come first: they have begun all rows that a pure one stands in. */
    if ((has_place(p, cell) ? l->by_line[line] : l->by_family[family]) >= 0)
        return;
    l->by_line[line] = p->row_count;
    l->before[p->row_count] = l->by_family[family];
    l->by_family[family] = p->row_count;
    p->leaders[p->row_count++] = cell;
}

static void place_cell(struct pivot *p, const struct layout *l, int cell)
{
    const char *ratio = text_of(p, cell, "ratio");
    const char *const *column =
        bsearch(&ratio, p->ratios, (size_t)p->ratio_count, sizeof *p->ratios, compare_ratios);
    const int alone = has_place(p, cell);
    int row = alone ? l->by_line[hy_rows_count(p->rows, cell, "line")]
                    : l->by_family[hy_rows_count(p->rows, cell, "family")];
    for (; row >= 0; row = alone ? -1 : l->before[row]) {
        int *there = &p->cells[row * p->ratio_count + (int)(column - p->ratios)];
        if (*there < 0)
            *there = cell;
    }
}

static int add_rows(struct pivot *p, struct hy_err *e)
{
    const size_t count = (size_t)p->rows->count + 1;
    int *numbers = malloc(3 * count * sizeof *numbers);
    if (!numbers)
        return hy_fail_memory(e);
    memset(numbers, -1, 3 * count * sizeof *numbers);
    struct layout l = {numbers, numbers + count, numbers + 2 * count};
    for (int cell = 0; cell < p->rows->count; cell++)
        add_row(p, &l, cell);
    const size_t slots = (size_t)p->row_count * (size_t)p->ratio_count + 1;
    p->cells = malloc(slots * sizeof *p->cells);
    if (p->cells) {
        memset(p->cells, -1, slots * sizeof *p->cells);
        for (int cell = 0; cell < p->rows->count; cell++)
            place_cell(p, &l, cell);
    }
    free(numbers);
    return p->cells ? HY_OK : hy_fail_memory(e);
}

/* The cell that stands there on the page, or -1. */
static int find_cell(const struct pivot *p, int row, int column)
{
    return p->cells[row * p->ratio_count + column - 1];
}

static void print_score(const struct pivot *p, int cell, char *text, size_t size)
{
    const double mean = hy_rows_number(p->rows, cell, p->metric->column);
    const double interval = hy_rows_number(p->rows, cell, p->metric->interval);
    const long n = hy_rows_count(p->rows, cell, "n");
    const int decimals = p->metric->is_fraction || mean < 10 ? 3
                         : mean < 100                        ? 2
                         : mean < 1000                       ? 1
                                                             : 0;
    if (isnan(interval))
        snprintf(text, size, "%.*f (%ld)", decimals, mean, n);
    else
        snprintf(text, size, "%.*f ± %.*f (%ld)", decimals, mean, decimals, interval, n);
}

/* What a reader must know of a cell: why it is empty, or what its figure leaves out. */
static void add_notes(const struct pivot *p, int cell, int row, int column)
{
    const long n = hy_rows_count(p->rows, cell, "n"), runs = hy_rows_count(p->rows, cell, "runs");
    const long failed = hy_rows_count(p->rows, cell, "failed");
    const long open = hy_rows_count(p->rows, cell, "open");
    const long pruned = hy_rows_count(p->rows, cell, "pruned");
    char text[700];
    if (hy_rows_text(p->rows, cell, "lr_edge"))
        hy_grid_note(
            p->grid, row, column, "†",
            "the best learning rate is the lowest or highest of its grid: a wider grid may "
            "hold a better one");
    if (n && isnan(hy_rows_number(p->rows, cell, p->metric->column)))
        hy_grid_note(p->grid, row, column, NULL, p->metric->missing);
    if (failed) {
        snprintf(text, sizeof text, "%ld of %ld runs gave no result; %s", failed, runs,
                 text_of(p, cell, "failure"));
        hy_grid_note(p->grid, row, column, NULL, text);
    }
    if (pruned) {
        snprintf(text, sizeof text, "%ld of %ld runs were pruned before their end", pruned, runs);
        hy_grid_note(p->grid, row, column, NULL, text);
    }
    if (open) {
        snprintf(text, sizeof text, "pending: %ld of %ld runs have not ended", open, runs);
        hy_grid_note(p->grid, row, column, NULL, text);
    }
}

static void print_head(const struct pivot *p, int row, char *head, size_t size)
{
    const int leader = p->leaders[row];
    const char *label = text_of(p, leader, "label");
    snprintf(head, size, "%s%s%s%s%s%s", p->several_sweeps ? text_of(p, leader, "sweep") : "",
             p->several_sweeps ? ": " : "", text_of(p, leader, "variant"), *label ? " " : "", label,
             is_full(p, leader) ? " (full attention)" : "");
}

static void set_cell(const struct pivot *p, int row, int column)
{
    const char *ratio = p->ratios[column - 1];
    const int leader = p->leaders[row], cell = find_cell(p, row, column);
    char text[96] = "–";
    if (cell < 0) {
        /* Nothing is missing where a linear variant meets the full model's column, or it theirs;
         * nor where planned ratios meet what a method selects. */
        if (is_full(p, leader) || !strcmp(ratio, "full") ||
            !strcmp(text_of(p, leader, "ratio"), "selected") != !strcmp(ratio, "selected"))
            return;
        hy_grid_set(p->grid, &p->grid->page, row, column, text);
        hy_grid_note(p->grid, row, column, NULL, "not planned");
        return;
    }
    if (!isnan(hy_rows_number(p->rows, cell, p->metric->column)))
        print_score(p, cell, text, sizeof text);
    hy_grid_set(p->grid, &p->grid->page, row, column, text);
    add_notes(p, cell, row, column);
    hy_mark_collapsed(p->grid, row, column, hy_rows_count(p->rows, cell, "collapsed"),
                      hy_rows_count(p->rows, cell, "n"));
}

static void fill_page(const struct pivot *p)
{
    for (int row = 0; row < p->row_count; row++) {
        char head[512];
        hy_grid_add_row(p->grid, &p->grid->page);
        print_head(p, row, head, sizeof head);
        hy_grid_set(p->grid, &p->grid->page, row, 0, head);
        for (int column = 1; column <= p->ratio_count; column++)
            set_cell(p, row, column);
    }
}

static void fill_plot(const struct pivot *p)
{
    struct hy_plot *plot = &p->grid->plot;
    hy_plot_titles(plot, "linear layers to layers of full attention", p->metric->axis);
    plot->is_fraction = p->metric->is_fraction;
    for (int i = 0; i < p->ratio_count; i++)
        hy_plot_add_place(plot, p->ratios[i]);
    for (int row = 0; row < p->row_count; row++) {
        char head[512];
        print_head(p, row, head, sizeof head);
        hy_plot_add_series(plot, is_full(p, p->leaders[row]) ? HY_SERIES_LEVEL : HY_SERIES_LINE,
                           head);
        for (int column = 1; column <= p->ratio_count; column++) {
            const int cell = find_cell(p, row, column);
            if (cell < 0 || isnan(hy_rows_number(p->rows, cell, p->metric->column)))
                continue;
            const struct hy_plot_point point = {
                .x = column - 1,
                .y = hy_rows_number(p->rows, cell, p->metric->column),
                .interval = hy_rows_number(p->rows, cell, p->metric->interval),
            };
            hy_plot_add_point(plot, &point);
        }
    }
}

static void fill_data(const struct pivot *p)
{
    const struct hy_list_column columns[] = {
        {"sweep", "", HY_UNIT_TEXT},
        {"variant", "", HY_UNIT_TEXT},
        {"label", "", HY_UNIT_TEXT},
        {"ratio", "", HY_UNIT_TEXT},
        {"placement", "", HY_UNIT_TEXT},
        {"linear_layers", "", HY_UNIT_COUNT},
        {"full_layers", "", HY_UNIT_COUNT},
        {"lr", "", HY_UNIT_NUMBER},
        {"lr_edge", "", HY_UNIT_TEXT},
        {"n", "", HY_UNIT_COUNT},
        {p->metric->column, "", HY_UNIT_NUMBER},
        {p->metric->interval, "", HY_UNIT_NUMBER},
        {"cache_bytes", "", HY_UNIT_BYTES},
        {"runs", "", HY_UNIT_COUNT},
        {"failed", "", HY_UNIT_COUNT},
        {"open", "", HY_UNIT_COUNT},
        {"failure", "", HY_UNIT_TEXT},
        {"pruned", "", HY_UNIT_COUNT},
        {"collapsed", "", HY_UNIT_MARK},
        {0},
    };
    hy_list_fill_data(p->grid, p->rows, columns);
}

int hy_ratio_fill(struct hy_store *store, const char *sweep, const struct hy_ratio_metric *metric,
                  struct hy_grid *grid, struct hy_err *e)
{
    struct hy_rows rows;
    int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    const size_t count = (size_t)rows.count + 1;
    struct pivot p = {.metric = metric, .rows = &rows, .grid = grid};
    p.ratios = calloc(count, sizeof *p.ratios);
    p.leaders = calloc(count, sizeof *p.leaders);
    if (!p.ratios || !p.leaders) {
        rc = hy_fail_memory(e);
        goto out;
    }
    for (int cell = 1; cell < rows.count; cell++)
        p.several_sweeps |= !is_same(&p, 0, cell, "sweep");
    hy_grid_title(grid, metric->title);
    add_columns(&p);
    rc = add_rows(&p, e);
    if (rc)
        goto out;
    fill_page(&p);
    fill_data(&p);
    fill_plot(&p);
out:
    free(p.cells);
    free(p.leaders);
    free(p.ratios);
    hy_rows_release(&rows);
    return rc;
}
