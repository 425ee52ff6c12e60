#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/list.h"
#include "report/mark.h"
#include "report/setting.h"
#include "report/table.h"

/* A row per cell. Differences are between a run and the all-softmax run of its seed; their
 * intervals are Student's over these pairs. bound: what was tolerated or given. several: the page
 * needs the label to tell cells apart. */
static const char query[] =
    "WITH run AS (SELECT *, chosen AND status = 'done' AS counts, "
    "  coalesce(tolerance, budget || ' full') AS bound, "
    "  100 * (ppl_ratio - 1) AS ppl, 100 * cache_ratio AS cache "
    "  FROM selecting WHERE ?1 IS NULL OR sweep = ?1), "
    "often AS (SELECT *, "
    "  count(*) OVER (PARTITION BY number, counts, layout) AS times, "
    "  row_number() OVER (PARTITION BY number, counts, layout ORDER BY run) AS place, "
    "  avg(ppl) FILTER (WHERE counts) OVER (PARTITION BY number) AS ppl_mean, "
    "  avg(recall_diff) FILTER (WHERE counts) OVER (PARTITION BY number) AS recall_mean "
    "  FROM run), "
    "listed AS (SELECT *, "
    "  group_concat(CASE WHEN counts AND place = 1 THEN layout END, ', ') OVER "
    "    (PARTITION BY number ORDER BY times DESC, layout "
    "     ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS layouts FROM often), "
    "cell AS (SELECT *, "
    "  max(lr) FILTER (WHERE chosen) AS chosen_lr, "
    "  count(*) FILTER (WHERE counts) AS n, "
    "  sum(collapsed) FILTER (WHERE counts) AS resting, "
    "  avg(full_layers) FILTER (WHERE counts) AS full_mean, "
    "  count(reference) FILTER (WHERE counts) AS paired, "
    "  count(ppl) FILTER (WHERE counts) AS ppl_n, "
    "  sum((ppl - ppl_mean) * (ppl - ppl_mean)) FILTER (WHERE counts) AS ppl_squares, "
    "  count(recall_diff) FILTER (WHERE counts) AS recall_n, "
    "  sum((recall_diff - recall_mean) * (recall_diff - recall_mean)) FILTER (WHERE counts) "
    "    AS recall_squares, "
    "  avg(cache) FILTER (WHERE counts) AS cache_mean, "
    "  CAST(sum(met) FILTER (WHERE counts) AS INTEGER) AS met_count, "
    "  count(*) AS runs, "
    "  count(*) FILTER (WHERE status IN ('failed', 'timeout', 'diverged')) AS failed, "
    "  count(*) FILTER (WHERE status IN ('pending', 'running', 'interrupted')) AS open, "
    "  count(*) FILTER (WHERE status = 'pruned') AS pruned, "
    "  min(status || coalesce(': ' || reason, '')) "
    "    FILTER (WHERE status IN ('failed', 'timeout', 'diverged')) AS failure "
    "  FROM listed GROUP BY number) "
    "SELECT sweep, variant, label, selected_by AS method, tolerance, budget, bound, "
    "chosen_lr AS lr, start, n, layouts, full_mean AS full_layers, paired, "
    "ppl_mean AS ppl_percent, ppl_n, "
    "(SELECT t FROM student_t WHERE df < ppl_n ORDER BY df DESC LIMIT 1) * "
    "  sqrt(ppl_squares / (ppl_n - 1) / ppl_n) AS ppl_percent_ci95, "
    "recall_mean AS recall_diff, recall_n, "
    "(SELECT t FROM student_t WHERE df < recall_n ORDER BY df DESC LIMIT 1) * "
    "  sqrt(recall_squares / (recall_n - 1) / recall_n) AS recall_diff_ci95, "
    "cache_mean AS cache_percent, "
    "CASE WHEN tolerance IS NOT NULL AND n > 0 THEN coalesce(met_count, 0) END AS met, "
    "runs, failed, open, pruned, failure, resting AS collapsed, "
    "CASE WHEN count(*) OVER (PARTITION BY sweep, variant, selected_by, bound) > 1 THEN label END "
    "  AS several "
    "FROM cell ORDER BY sweep, variant, method, tolerance IS NULL, "
    "CAST(tolerance AS REAL), budget, label";

struct page {
    const struct hy_rows *rows;
    struct hy_grid *grid;
    int columns; /* set so far in the row that is filled */
};

enum { LEADING = 4 }; /* columns that stand on the page only where they differ */
static const char *const leading[LEADING][2] = {
    {"sweep", "sweep"}, {"variant", "variant"}, {"start", "from"}, {"several", "setting"}};

/* Gives the column that was set. */
static int set(struct page *p, int row, const char *text)
{
    hy_grid_set(p->grid, &p->grid->page, row, p->columns, text);
    return p->columns++;
}

/* "+1.25 ± 0.40", without an interval where there is one pair alone. */
static void print_difference(double mean, double interval, int decimals, const char *unit,
                             char *text, size_t size)
{
    if (isnan(mean))
        snprintf(text, size, "–");
    else if (isnan(interval))
        snprintf(text, size, "%+.*f%s", decimals, mean, unit);
    else
        snprintf(text, size, "%+.*f ± %.*f%s", decimals, mean, decimals, interval, unit);
}

static void add_notes(struct page *p, int row, int at)
{
    const long n = hy_rows_count(p->rows, row, "n"), runs = hy_rows_count(p->rows, row, "runs");
    const long failed = hy_rows_count(p->rows, row, "failed");
    const long open = hy_rows_count(p->rows, row, "open");
    const long pruned = hy_rows_count(p->rows, row, "pruned");
    char text[700];
    if (failed) {
        snprintf(text, sizeof text, "%ld of %ld runs gave no result; %s", failed, runs,
                 hy_rows_text(p->rows, row, "failure"));
        hy_grid_note(p->grid, row, at, NULL, text);
    }
    if (pruned) {
        snprintf(text, sizeof text, "%ld of %ld runs were pruned before their end", pruned, runs);
        hy_grid_note(p->grid, row, at, NULL, text);
    }
    if (open) {
        snprintf(text, sizeof text, "pending: %ld of %ld runs have not ended", open, runs);
        hy_grid_note(p->grid, row, at, NULL, text);
    }
    if (!n && !failed && !pruned && !open)
        hy_grid_note(p->grid, row, at, NULL, "no run has ended");
}

/* Why a difference is missing, or is of fewer runs than the row has. */
static void add_pair_notes(struct page *p, int row, int at, const char *count, const char *what)
{
    const long n = hy_rows_count(p->rows, row, "n");
    const long paired = hy_rows_count(p->rows, row, "paired");
    const long measured = hy_rows_count(p->rows, row, count);
    char text[200];
    if (paired < n) {
        snprintf(text, sizeof text,
                 "%ld of %ld runs have no finished all-softmax run of their seed and learning rate "
                 "in the sweep to be compared with",
                 n - paired, n);
        hy_grid_note(p->grid, row, at, NULL, text);
    }
    if (measured < paired) {
        snprintf(text, sizeof text, "%ld of %ld pairs have no %s", paired - measured, paired, what);
        hy_grid_note(p->grid, row, at, NULL, text);
    }
}

static void fill_differences(struct page *p, int row)
{
    char text[96];
    print_difference(hy_rows_number(p->rows, row, "ppl_percent"),
                     hy_rows_number(p->rows, row, "ppl_percent_ci95"), 2, " %", text, sizeof text);
    add_pair_notes(p, row, set(p, row, text), "ppl_n", "perplexity");
    print_difference(hy_rows_number(p->rows, row, "recall_diff"),
                     hy_rows_number(p->rows, row, "recall_diff_ci95"), 3, "", text, sizeof text);
    add_pair_notes(p, row, set(p, row, text), "recall_n", "recall");
    const double cache = hy_rows_number(p->rows, row, "cache_percent");
    snprintf(text, sizeof text, isnan(cache) ? "–" : "%.1f %%", cache);
    set(p, row, text);
}

static void fill_row(struct page *p, int row, const int *shown)
{
    char text[96], setting[512];
    const char *layouts = hy_rows_text(p->rows, row, "layouts");
    hy_grid_add_row(p->grid, &p->grid->page);
    p->columns = 0;
    for (int i = 0; i < LEADING; i++)
        if (shown[i] && strcmp(leading[i][0], "several") != 0)
            set(p, row, hy_rows_text(p->rows, row, leading[i][0]));
        else if (shown[i])
            set(p, row,
                hy_setting_of_selection(hy_rows_text(p->rows, row, "several"), setting,
                                        sizeof setting));
    hy_mark_collapsed(p->grid, row, set(p, row, hy_rows_text(p->rows, row, "method")),
                      hy_rows_count(p->rows, row, "collapsed"), hy_rows_count(p->rows, row, "n"));
    set(p, row, hy_rows_text(p->rows, row, "bound"));
    add_notes(p, row, set(p, row, hy_rows_text(p->rows, row, "n")));
    set(p, row, layouts ? layouts : "–");
    const double full = hy_rows_number(p->rows, row, "full_layers");
    snprintf(text, sizeof text, isnan(full) ? "–" : full == floor(full) ? "%.0f" : "%.2f", full);
    set(p, row, text);
    fill_differences(p, row);
    const char *met = hy_rows_text(p->rows, row, "met");
    snprintf(text, sizeof text, "%s of %s", met, hy_rows_text(p->rows, row, "n"));
    set(p, row, met ? text : "–");
}

static void fill_page(struct hy_grid *grid, const struct hy_rows *rows)
{
    static const struct {
        const char *head;
        enum hy_align align;
    } heads[] = {
        {"method", HY_LEFT},  {"limit", HY_LEFT},        {"n", HY_RIGHT},
        {"layouts", HY_LEFT}, {"full layers", HY_RIGHT}, {"perplexity", HY_RIGHT},
        {"recall", HY_RIGHT}, {"cache", HY_RIGHT},       {"within tolerance", HY_LEFT},
    };
    int shown[LEADING];
    for (int i = 0; i < LEADING; i++) {
        shown[i] = hy_rows_differ(rows, leading[i][0]);
        if (shown[i])
            hy_grid_add_column(grid, &grid->page, leading[i][1], HY_LEFT);
    }
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        hy_grid_add_column(grid, &grid->page, heads[i].head, heads[i].align);
    struct page p = {.rows = rows, .grid = grid};
    for (int row = 0; row < rows->count; row++)
        fill_row(&p, row, shown);
}

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const struct hy_list_column columns[] = {
        {"sweep", "", HY_UNIT_TEXT},
        {"variant", "", HY_UNIT_TEXT},
        {"label", "", HY_UNIT_TEXT},
        {"method", "", HY_UNIT_TEXT},
        {"tolerance", "", HY_UNIT_TEXT},
        {"budget", "", HY_UNIT_COUNT},
        {"lr", "", HY_UNIT_NUMBER},
        {"start", "", HY_UNIT_TEXT},
        {"n", "", HY_UNIT_COUNT},
        {"layouts", "", HY_UNIT_TEXT},
        {"full_layers", "", HY_UNIT_NUMBER},
        {"paired", "", HY_UNIT_COUNT},
        {"ppl_percent", "", HY_UNIT_NUMBER},
        {"ppl_percent_ci95", "", HY_UNIT_NUMBER},
        {"recall_diff", "", HY_UNIT_NUMBER},
        {"recall_diff_ci95", "", HY_UNIT_NUMBER},
        {"cache_percent", "", HY_UNIT_NUMBER},
        {"met", "", HY_UNIT_COUNT},
        {"runs", "", HY_UNIT_COUNT},
        {"failed", "", HY_UNIT_COUNT},
        {"open", "", HY_UNIT_COUNT},
        {"failure", "", HY_UNIT_TEXT},
        {"pruned", "", HY_UNIT_COUNT},
        {"collapsed", "", HY_UNIT_MARK},
        {0},
    };
    struct hy_rows rows;
    const int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    hy_grid_title(grid, "Selected layers against all softmax: mean difference on test data ± 95 % "
                        "interval (pairs of a seed), cache in per cent of all softmax");
    hy_list_fill_data(grid, &rows, columns);
    fill_page(grid, &rows);
    hy_rows_release(&rows);
    return 0;
}

const struct hy_table hy_table_selection = {
    .name = "selection",
    .summary = "layers that methods select: layouts, and what they cost against all softmax",
    .fill = fill,
};
