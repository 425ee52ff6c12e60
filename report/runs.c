#include "report/list.h"
#include "report/table.h"

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const char query[] =
        "SELECT results.*, 1 AS counted, progress.reason, progress.attempts FROM results JOIN "
        "progress USING "
        "(run) "
        "WHERE ?1 IS NULL OR run IN (SELECT run FROM cells WHERE sweep = ?1) "
        "ORDER BY variant, linear_layers * 1.0 / layers DESC, lr, seed, run";
    static const struct hy_list_column columns[] = {
        {"run", "run", HY_UNIT_COUNT},
        {"key", "key", HY_UNIT_KEY},
        {"sweep", "sweep", HY_UNIT_GROUP},
        {"name", "name", HY_UNIT_TEXT},
        {"status", "status", HY_UNIT_TEXT},
        {"attempts", "attempts", HY_UNIT_COUNT},
        {"recall_valid", "recall valid", HY_UNIT_SCORE},
        {"recall_test", "recall test", HY_UNIT_SCORE},
        {"ppl_valid", "ppl valid", HY_UNIT_NUMBER},
        {"ppl_test", "ppl test", HY_UNIT_NUMBER},
        {"wall_s", "time", HY_UNIT_SECONDS},
        {"host", "host", HY_UNIT_TEXT},
        {"reason", "reason", HY_UNIT_GROUP},
        {"collapsed", "name", HY_UNIT_MARK},
        {0},
    };
    struct hy_rows rows;
    const int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    hy_grid_title(grid, "Runs");
    hy_list_fill(grid, &rows, columns);
    hy_rows_release(&rows);
    return 0;
}

const struct hy_table hy_table_runs = {
    .name = "runs",
    .summary = "every run with its status, scores and, where it has none, the reason",
    .fill = fill,
};
