#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/list.h"
#include "report/table.h"

/* A cell is on its sweep's frontier if no other has more recall in as little cache, or as much
 * recall in less. context: where its cache was measured. place: among the points of the plot, where
 * those of a series stand together. */
/* clang-format off */
static const char query[] =
    "WITH cell AS ("
    "  SELECT *, recall_test IS NOT NULL AND cache_bytes IS NOT NULL AS measured, "
    "  (SELECT max(value) FROM json_each(setting, '$.eval.contexts')) AS context "
    "  FROM ratio_recall WHERE ?1 IS NULL OR sweep = ?1), "
    "compared AS (SELECT *, min(sweep) OVER () <> max(sweep) OVER () AS several_sweeps, "
    "  max(recall_test) OVER (PARTITION BY sweep, measured ORDER BY cache_bytes "
    "    GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS best_of_less, "
    "  max(recall_test) OVER (PARTITION BY sweep, measured, cache_bytes) AS best_of_same "
    "  FROM cell), "
    "named AS (SELECT *, "
    "  CASE WHEN several_sweeps THEN sweep || ': ' ELSE '' END || "
    "  variant || CASE label WHEN '' THEN '' ELSE ' ' || label END || "
    "  CASE ratio WHEN 'full' THEN ' (full attention)' ELSE '' END AS series, "
    "  CASE WHEN measured THEN iif(best_of_less >= recall_test OR best_of_same > recall_test, "
    "    'no', 'yes') END AS frontier FROM compared) "
    "SELECT *, n AS counted, "
    "row_number() OVER (ORDER BY sweep, ratio = 'full', series, cache_bytes) AS place "
    "FROM named ORDER BY sweep, cache_bytes IS NULL, cache_bytes, recall_test, variant, label, "
    "linear_layers DESC";
/* clang-format on */

static int is_same(const struct hy_rows *rows, int a, int b, const char *name)
{
    const char *x = hy_rows_text(rows, a, name), *y = hy_rows_text(rows, b, name);
    return !strcmp(x ? x : "", y ? y : "");
}

static int is_measured(const struct hy_rows *rows, int row)
{
    return hy_rows_text(rows, row, "frontier") != NULL;
}

static int is_on_frontier(const struct hy_rows *rows, int row)
{
    return is_measured(rows, row) && !strcmp(hy_rows_text(rows, row, "frontier"), "yes");
}

static void add_point(struct hy_plot *plot, const struct hy_rows *rows, int row)
{
    char label[64];
    snprintf(label, sizeof label, "%s", hy_rows_text(rows, row, "ratio"));
    const struct hy_plot_point point = {
        .x = hy_rows_number(rows, row, "cache_bytes"),
        .y = hy_rows_number(rows, row, "recall_test"),
        .interval = hy_rows_number(rows, row, "recall_test_ci95"),
        .label = label,
        .faint = !is_on_frontier(rows, row),
    };
    hy_plot_add_point(plot, &point);
}

/* order: rows by their place. */
static void add_series(struct hy_plot *plot, const struct hy_rows *rows, const int *order)
{
    for (int i = 0; i < rows->count; i++) {
        if (!i || !is_same(rows, order[i], order[i - 1], "series"))
            hy_plot_add_series(plot, HY_SERIES_POINTS, hy_rows_text(rows, order[i], "series"));
        if (is_measured(rows, order[i]))
            add_point(plot, rows, order[i]);
    }
}

static void add_frontiers(struct hy_plot *plot, const struct hy_rows *rows)
{
    for (int row = 0; row < rows->count; row++) {
        if (!row || !is_same(rows, row, row - 1, "sweep"))
            hy_plot_add_series(plot, HY_SERIES_STAIRS, "frontier (hollow: below it)");
        const struct hy_plot_point point = {
            .x = hy_rows_number(rows, row, "cache_bytes"),
            .y = hy_rows_number(rows, row, "recall_test"),
            .interval = NAN,
        };
        if (is_on_frontier(rows, row))
            hy_plot_add_point(plot, &point);
    }
}

static void set_titles(struct hy_plot *plot, const struct hy_rows *rows)
{
    char at[96] = "its longest context";
    int differ = 0;
    for (int row = 1; row < rows->count; row++)
        differ |= !is_same(rows, row, 0, "context");
    if (rows->count && !differ)
        snprintf(at, sizeof at, "%ld tokens", hy_rows_count(rows, 0, "context"));
    char title[128];
    snprintf(title, sizeof title, "cache of one sequence at %s", at);
    hy_plot_titles(plot, title, "recall on test data");
    plot->is_fraction = 1;
}

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const struct hy_list_column columns[] = {
        {"sweep", "sweep", HY_UNIT_GROUP},
        {"variant", "variant", HY_UNIT_TEXT},
        {"label", "setting", HY_UNIT_GROUP},
        {"ratio", "ratio", HY_UNIT_TEXT},
        {"context", "context", HY_UNIT_GROUP},
        {"cache_bytes", "cache", HY_UNIT_BYTES},
        {"recall_test", "recall", HY_UNIT_SCORE},
        {"recall_test_ci95", "± 95 %", HY_UNIT_SCORE},
        {"n", "n", HY_UNIT_COUNT},
        {"frontier", "frontier", HY_UNIT_TEXT},
        {"collapsed", "variant", HY_UNIT_MARK},
        {0},
    };
    struct hy_rows rows;
    int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    int *order = calloc((size_t)rows.count + 1, sizeof *order);
    if (!order) {
        rc = hy_fail_memory(e);
        goto out;
    }
    for (int row = 0; row < rows.count; row++)
        order[hy_rows_count(&rows, row, "place") - 1] = row;
    hy_grid_title(grid, "Recall against cache: mean ± 95 % interval on test data, learning rate "
                        "chosen on validation data");
    hy_list_fill(grid, &rows, columns);
    set_titles(&grid->plot, &rows);
    add_series(&grid->plot, &rows, order);
    add_frontiers(&grid->plot, &rows);
out:
    free(order);
    hy_rows_release(&rows);
    return rc;
}

const struct hy_table hy_table_pareto = {
    .name = "pareto",
    .summary = "test recall against bytes of cache, the frontier marked",
    .plots = 1,
    .fill = fill,
};
