#include <math.h>
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/command.h"
#include "core/base/buf.h"
#include "report/format.h"
#include "report/list.h"
#include "report/rows.h"

static const char usage[] = "hylas status DB";

static const char counts_query[] = "SELECT cells.sweep, count(*) AS runs, "
                                   "count(*) FILTER (WHERE status = 'done') AS done, "
                                   "count(*) FILTER (WHERE status = 'running') AS running, "
                                   "count(*) FILTER (WHERE status = 'pending') AS pending, "
                                   "count(*) FILTER (WHERE status = 'interrupted') AS interrupted, "
                                   "count(*) FILTER (WHERE status = 'failed') AS failed, "
                                   "count(*) FILTER (WHERE status = 'timeout') AS timeout, "
                                   "count(*) FILTER (WHERE status = 'diverged') AS diverged, "
                                   "count(*) FILTER (WHERE status = 'pruned') AS pruned "
                                   "FROM cells JOIN results USING (run) GROUP BY cells.sweep";
static const struct hy_list_column counts_columns[] = {
    {"sweep", "sweep", HY_UNIT_TEXT},
    {"runs", "runs", HY_UNIT_COUNT},
    {"done", "done", HY_UNIT_COUNT},
    {"running", "running", HY_UNIT_COUNT},
    {"pending", "pending", HY_UNIT_COUNT},
    {"interrupted", "interrupted", HY_UNIT_COUNT},
    {"failed", "failed", HY_UNIT_COUNT},
    {"timeout", "timeout", HY_UNIT_COUNT},
    {"diverged", "diverged", HY_UNIT_COUNT},
    {"pruned", "pruned", HY_UNIT_COUNT},
    {0},
};

/* A clock that was set back makes no time negative. */
#define NOW "((julianday('now') - 2440587.5) * 86400)"
#define ELAPSED "max(0, " NOW " - started)"
#define SILENT "max(0, " NOW " - updated)"

static const char running_query[] =
    "SELECT name, host || ' rank ' || rank AS place, coalesce(step, 0) || '/' || steps AS step, "
    "tokens_per_s, " ELAPSED " AS elapsed, left_s, " SILENT " AS silent "
    "FROM progress WHERE status = 'running' ORDER BY host, rank, run";
static const struct hy_list_column running_columns[] = {
    {"name", "run", HY_UNIT_TEXT},
    {"place", "where", HY_UNIT_TEXT},
    {"step", "step", HY_UNIT_TEXT},
    {"tokens_per_s", "tokens/s", HY_UNIT_COUNT},
    {"elapsed", "since", HY_UNIT_SECONDS},
    {"left_s", "left", HY_UNIT_SECONDS},
    {"silent", "last heard", HY_UNIT_SECONDS},
    {0},
};

static const char unsuccessful_query[] = "SELECT name, status, attempts, reason FROM progress "
                                         "WHERE status IN ('failed', 'timeout', 'diverged', "
                                         "'interrupted', 'pruned') OR (status = 'pending' AND "
                                         "reason IS NOT NULL) ORDER BY status, run";
static const struct hy_list_column unsuccessful_columns[] = {
    {"name", "run", HY_UNIT_TEXT},
    {"status", "status", HY_UNIT_TEXT},
    {"attempts", "attempts", HY_UNIT_COUNT},
    {"reason", "reason", HY_UNIT_TEXT},
    {0},
};

/* A run that waits is taken for the mean of those that ended or are on their way. */
static const char end_query[] =
    "WITH open AS (SELECT status, left_s, " ELAPSED " + left_s AS whole_s FROM progress "
    "WHERE status IN ('pending', 'running', 'interrupted')), "
    "seen AS (SELECT wall_s FROM results WHERE status = 'done' UNION ALL "
    "SELECT whole_s FROM open WHERE status = 'running') "
    "SELECT count(*) FILTER (WHERE status = 'running') AS running, "
    "count(*) FILTER (WHERE status <> 'running') AS waiting, "
    "max(max(left_s), sum(coalesce(left_s, (SELECT avg(wall_s) FROM seen))) / "
    "count(*) FILTER (WHERE status = 'running')) AS seconds FROM open";

/* Writes a table, unless it has no rows. */
static int add_table(struct hy_store *store, const char *title, const char *query,
                     const struct hy_list_column *columns, struct hy_buf *out, struct hy_err *e)
{
    struct hy_rows rows;
    struct hy_grid grid = {0};
    int rc = hy_rows_load(store, query, NULL, &rows, e);
    if (rc)
        return rc;
    if (rows.count) {
        hy_grid_title(&grid, title);
        hy_list_fill(&grid, &rows, columns);
        rc = hy_format_write(&hy_formats[0], &grid, out, e);
        hy_buf_text(out, "\n");
    }
    hy_grid_release(&grid);
    hy_rows_release(&rows);
    return rc;
}

static int add_end(struct hy_store *store, struct hy_buf *out, struct hy_err *e)
{
    struct hy_rows rows;
    const int rc = hy_rows_load(store, end_query, NULL, &rows, e);
    if (rc)
        return rc;
    const long running = hy_rows_count(&rows, 0, "running");
    const long waiting = hy_rows_count(&rows, 0, "waiting");
    const double seconds = hy_rows_number(&rows, 0, "seconds");
    char text[32];
    hy_unit_text(HY_UNIT_SECONDS, seconds, text, sizeof text);
    if (!running && !waiting)
        hy_buf_text(out, "All runs have ended.\n");
    else if (!hy_store_has_writer(store))
        hy_buf_printf(out, "No sweep is running%s. The same `hylas run` goes on.\n",
                      running ? ": what is listed as running was cut off" : "");
    else if (!isnan(seconds))
        hy_buf_printf(out, "Ends in about %s: %ld running, %ld waiting.\n", text, running, waiting);
    else
        hy_buf_printf(out, "No speed is known yet: %ld running, %ld waiting.\n", running, waiting);
    hy_rows_release(&rows);
    return 0;
}

static int describe(const char *db, struct hy_buf *out, struct hy_err *e)
{
    struct hy_store *store;
    int rc = hy_store_open(db, HY_STORE_READ, &store, e);
    if (rc)
        return rc;
    /* One transaction, so that the tables agree with each other while the sweep goes on. */
    rc = hy_store_query(store, "BEGIN", 0, NULL, NULL, NULL, e);
    if (!rc)
        rc = add_table(store, "Runs by status", counts_query, counts_columns, out, e);
    if (!rc)
        rc = add_table(store, "Running", running_query, running_columns, out, e);
    if (!rc)
        rc = add_table(store, "Without a result", unsuccessful_query, unsuccessful_columns, out, e);
    if (!rc)
        rc = add_end(store, out, e);
    if (!rc && hy_buf_failed(out))
        rc = hy_fail_memory(e);
    hy_store_close(store);
    return rc;
}

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{0}};
    const char *db = NULL;
    struct hy_buf out = {0};
    hy_args_begin();
    int rc = hy_args_next(argc, argv, ":", options, e) == -1 ? HY_OK : HY_E_USAGE;
    if (!rc)
        rc = hy_args_one(argc, argv, "the database", usage, &db, e);
    if (!rc)
        rc = describe(db, &out, e);
    if (!rc && (fwrite(out.data, 1, out.size, stdout) != out.size || fflush(stdout) != 0))
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write standard output");
    hy_buf_release(&out);
    return rc;
}

const struct hy_command hy_command_status = {
    .name = "status",
    .usage = usage,
    .summary = "what is done, running and failed, and when it will end",
    .help = "  DB  a database; it may be read while the sweep runs\n",
    .run = run,
};
