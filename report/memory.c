#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "report/list.h"
#include "report/table.h"

/* A pair of columns per context at which a cache was measured lies around the second list. */
static const struct hy_list_column first[] = {
    {"sweep", "sweep", HY_UNIT_GROUP},       {"variant", "variant", HY_UNIT_TEXT},
    {"label", "setting", HY_UNIT_GROUP},     {"ratio", "ratio", HY_UNIT_TEXT},
    {"params", "parameters", HY_UNIT_COUNT}, {"state_bytes", "state", HY_UNIT_BYTES},
};
/* The page leaves out what follows from the number of parameters. */
static const struct hy_list_column second[] = {
    {"param_bytes", NULL, HY_UNIT_BYTES},        {"gradient_bytes", NULL, HY_UNIT_BYTES},
    {"optimizer_bytes", NULL, HY_UNIT_BYTES},    {"activation_bytes", "activations", HY_UNIT_BYTES},
    {"train_bytes", "training", HY_UNIT_BYTES},  {"peak_rss_bytes", "process peak", HY_UNIT_BYTES},
    {"tokens_per_s", "tokens/s", HY_UNIT_COUNT},
};
static const struct hy_list_column mark = {"collapsed", "variant", HY_UNIT_MARK};
enum { FIRST = sizeof first / sizeof *first, SECOND = sizeof second / sizeof *second };

/* What is measured at each context. */
static const struct at_context {
    const char *task, *split, *metric; /* of its slice */
    const char *aggregate;             /* over the runs of a cell */
    const char *name, *head;
    enum hy_unit unit;
} cache = {"memory", "cache", "bytes", "max", "cache_bytes_%ld", "cache at %ld", HY_UNIT_BYTES},
  decoding = {"speed",           "decode",     "tokens_per_s", "avg", "decode_tokens_per_s_%ld",
              "decoding at %ld", HY_UNIT_COUNT};

static const char contexts_query[] =
    "SELECT DISTINCT CAST(substr(slice, 9) AS INTEGER) AS context FROM slices "
    "WHERE task = 'memory' AND split = 'cache' AND slice GLOB 'context=[0-9]*' ORDER BY context";

struct columns {
    const struct hy_rows *contexts;
    struct hy_list_column *list; /* ended by a NULL name */
    char (*names)[2][64];        /* of the columns at contexts: in the data, on the page */
    int count, named;
};

static void add_list(struct columns *c, const struct hy_list_column *list, int count)
{
    memcpy(c->list + c->count, list, (size_t)count * sizeof *list);
    c->count += count;
}

static void add_contexts(struct columns *c, const struct at_context *what, struct hy_buf *sql)
{
    for (int i = 0; i < c->contexts->count; i++) {
        const long context = hy_rows_count(c->contexts, i, "context");
        char(*names)[64] = c->names[c->named++];
        snprintf(names[0], sizeof names[0], what->name, context);
        snprintf(names[1], sizeof names[1], what->head, context);
        c->list[c->count++] = (struct hy_list_column){names[0], names[1], what->unit};
        hy_buf_printf(
            sql,
            ", %s((SELECT value FROM slices WHERE slices.run = labelled.run AND task = '%s' "
            "AND split = '%s' AND slice = 'context=%ld' AND metric = '%s')) AS %s",
            what->aggregate, what->task, what->split, context, what->metric, names[0]);
    }
}

static void write_query(struct columns *c, struct hy_buf *sql)
{
    hy_buf_text(sql, "SELECT labelled.sweep, label, variant, ratio, "
                     "avg(linear_layers) / layers AS share, max(params) AS params, "
                     "max(state_bytes) AS state_bytes, max(train_bytes) AS train_bytes, "
                     "max(peak_rss_bytes) AS peak_rss_bytes, "
                     "avg(tokens_per_s) FILTER (WHERE status = 'done') AS tokens_per_s, "
                     "sum(collapsed) FILTER (WHERE chosen AND status = 'done') AS collapsed, "
                     "count(*) FILTER (WHERE chosen AND status = 'done') AS counted");
    static const char *const facts[] = {"param_bytes", "gradient_bytes", "optimizer_bytes",
                                        "activation_bytes"};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        hy_buf_printf(sql,
                      ", max((SELECT value FROM facts WHERE facts.run = labelled.run AND "
                      "facts.name = '%s')) AS %s",
                      facts[i], facts[i]);
    add_list(c, first, FIRST);
    add_contexts(c, &cache, sql);
    add_list(c, second, SECOND);
    add_contexts(c, &decoding, sql);
    add_list(c, &mark, 1);
    hy_buf_text(sql, " FROM (SELECT sweep, run, label, number, chosen FROM judged) AS labelled "
                     "JOIN results USING (run) "
                     "WHERE ?1 IS NULL OR labelled.sweep = ?1 GROUP BY number "
                     "ORDER BY labelled.sweep, variant, label, share DESC");
}

static int fill_columns(struct hy_store *store, const char *sweep, const struct hy_rows *contexts,
                        struct hy_grid *grid, struct hy_err *e)
{
    const size_t pairs = 2 * (size_t)contexts->count;
    struct columns c = {.contexts = contexts};
    struct hy_buf sql = {0};
    struct hy_rows rows = {0};
    int rc;
    c.names = calloc(pairs + 1, sizeof *c.names);
    c.list = calloc(pairs + FIRST + SECOND + 2, sizeof *c.list);
    if (!c.names || !c.list) {
        rc = hy_fail_memory(e);
        goto out;
    }
    write_query(&c, &sql);
    rc = hy_buf_failed(&sql) ? hy_fail_memory(e) : hy_rows_load(store, sql.data, sweep, &rows, e);
    if (!rc)
        hy_list_fill(grid, &rows, c.list);
out:
    hy_rows_release(&rows);
    hy_buf_release(&sql);
    free(c.list);
    free(c.names);
    return rc;
}

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    struct hy_rows contexts;
    int rc = hy_rows_load(store, contexts_query, NULL, &contexts, e);
    if (rc)
        return rc;
    hy_grid_title(
        grid, "Memory: of a sequence's cache, of training, of the process; tokens/s of training "
              "and of decoding one sequence");
    rc = fill_columns(store, sweep, &contexts, grid, e);
    hy_rows_release(&contexts);
    return rc;
}

const struct hy_table hy_table_memory = {
    .name = "memory",
    .summary = "cache and decoding speed by context length, training memory and speed",
    .fill = fill,
};
