#include <stdio.h>
#include <stdlib.h>

#include "core/base/buf.h"
#include "report/list.h"
#include "report/table.h"

/* A column per context at which a cache was measured, between these. */
static const struct hy_list_column first[] = {
    {"sweep", "sweep", HY_UNIT_GROUP},       {"variant", "variant", HY_UNIT_TEXT},
    {"label", "setting", HY_UNIT_GROUP},     {"ratio", "ratio", HY_UNIT_TEXT},
    {"params", "parameters", HY_UNIT_COUNT}, {"state_bytes", "state", HY_UNIT_BYTES},
};
static const struct hy_list_column last[] = {
    {"train_bytes", "training", HY_UNIT_BYTES},
    {"peak_rss_bytes", "process peak", HY_UNIT_BYTES},
    {"tokens_per_s", "tokens/s", HY_UNIT_COUNT},
};
enum { FIRST = sizeof first / sizeof *first, LAST = sizeof last / sizeof *last };

static const char contexts_query[] =
    "SELECT DISTINCT CAST(substr(slice, 9) AS INTEGER) AS context FROM slices "
    "WHERE task = 'memory' AND split = 'cache' AND slice GLOB 'context=[0-9]*' ORDER BY context";

static void write_query(const struct hy_rows *contexts, struct hy_buf *sql)
{
    hy_buf_text(sql, "SELECT cells.sweep, variant, label, ratio, max(params) AS params, "
                     "max(state_bytes) AS state_bytes, ");
    for (int i = 0; i < contexts->count; i++) {
        const long context = hy_rows_count(contexts, i, "context");
        hy_buf_printf(sql,
                      "max((SELECT value FROM slices WHERE slices.run = cells.run AND "
                      "task = 'memory' AND split = 'cache' AND slice = 'context=%ld' AND "
                      "metric = 'bytes')) AS cache_bytes_%ld, ",
                      context, context);
    }
    hy_buf_text(sql, "max(train_bytes) AS train_bytes, max(peak_rss_bytes) AS peak_rss_bytes, "
                     "avg(tokens_per_s) FILTER (WHERE status = 'done') AS tokens_per_s "
                     "FROM cells JOIN results USING (run) "
                     "JOIN labels ON labels.sweep = cells.sweep AND labels.cell = cells.cell "
                     "WHERE ?1 IS NULL OR cells.sweep = ?1 GROUP BY cells.sweep, cells.cell "
                     "ORDER BY cells.sweep, variant, label, linear_layers * 1.0 / layers DESC");
}

static int fill_columns(struct hy_store *store, const char *sweep, const struct hy_rows *contexts,
                        struct hy_grid *grid, struct hy_err *e)
{
    struct {
        char name[48], head[48];
    } *names = calloc((size_t)contexts->count + 1, sizeof *names);
    struct hy_list_column *columns =
        calloc((size_t)contexts->count + FIRST + LAST + 1, sizeof *columns);
    struct hy_buf sql = {0};
    struct hy_rows rows = {0};
    int rc = 0, count = 0;
    write_query(contexts, &sql);
    if (!names || !columns || hy_buf_failed(&sql)) {
        rc = hy_fail_memory(e);
        goto out;
    }
    for (int i = 0; i < FIRST; i++)
        columns[count++] = first[i];
    for (int i = 0; i < contexts->count; i++) {
        const long context = hy_rows_count(contexts, i, "context");
        snprintf(names[i].name, sizeof names[i].name, "cache_bytes_%ld", context);
        snprintf(names[i].head, sizeof names[i].head, "cache at %ld", context);
        columns[count++] = (struct hy_list_column){names[i].name, names[i].head, HY_UNIT_BYTES};
    }
    for (int i = 0; i < LAST; i++)
        columns[count++] = last[i];
    rc = hy_rows_load(store, sql.data, sweep, &rows, e);
    if (!rc)
        hy_list_fill(grid, &rows, columns);
out:
    hy_rows_release(&rows);
    hy_buf_release(&sql);
    free(columns);
    free(names);
    return rc;
}

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    struct hy_rows contexts;
    int rc = hy_rows_load(store, contexts_query, NULL, &contexts, e);
    if (rc)
        return rc;
    hy_grid_title(grid, "Memory: of a sequence's cache, of training, of the process");
    rc = fill_columns(store, sweep, &contexts, grid, e);
    hy_rows_release(&contexts);
    return rc;
}

const struct hy_table hy_table_memory = {
    .name = "memory",
    .summary = "parameters, cache by context length, training memory and speed",
    .fill = fill,
};
