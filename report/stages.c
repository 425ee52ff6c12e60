#include "report/list.h"
#include "report/table.h"

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const char query[] =
        "SELECT run, sweep, results.name AS name, ratio, stage_history.name AS stage, objective, "
        "first_step, last_step, trained_params, stage_history.train_bytes AS train_bytes, "
        "stage_history.flops_per_token AS flops_per_token, loss, collapsed, "
        "1 AS counted "
        "FROM results LEFT JOIN stage_history USING (run) "
        "WHERE ?1 IS NULL OR run IN (SELECT run FROM cells WHERE sweep = ?1) "
        "ORDER BY variant, linear_layers * 1.0 / layers DESC, lr, seed, run, first_step";
    static const struct hy_list_column columns[] = {
        {"run", "run", HY_UNIT_COUNT},
        {"sweep", "sweep", HY_UNIT_GROUP},
        {"name", "name", HY_UNIT_TEXT},
        {"ratio", NULL, HY_UNIT_TEXT},
        {"stage", "stage", HY_UNIT_TEXT},
        {"objective", "objective", HY_UNIT_TEXT},
        {"first_step", "first step", HY_UNIT_COUNT},
        {"last_step", "last step", HY_UNIT_COUNT},
        {"trained_params", "trained", HY_UNIT_COUNT},
        {"train_bytes", "memory", HY_UNIT_BYTES},
        {"flops_per_token", "FLOPs/token", HY_UNIT_NUMBER},
        {"loss", "loss at its end", HY_UNIT_NUMBER},
        {"collapsed", "name", HY_UNIT_MARK},
        {0},
    };
    struct hy_rows rows;
    const int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    hy_grid_title(grid, "Stages of training");
    hy_list_fill(grid, &rows, columns);
    hy_rows_release(&rows);
    return 0;
}

const struct hy_table hy_table_stages = {
    .name = "stages",
    .summary = "the stages of training: parameters trained, memory, loss; of one stage: none",
    .fill = fill,
};
