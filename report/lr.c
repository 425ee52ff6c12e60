#include "report/list.h"
#include "report/table.h"

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const char query[] =
        "SELECT *, n AS counted, CASE WHEN chosen THEN 'chosen' || "
        "coalesce(', ' || edge || ' of the grid', '') END AS choice "
        "FROM rates WHERE ?1 IS NULL OR sweep = ?1 "
        "ORDER BY sweep, variant, label, ratio = 'pure' DESC, CAST(ratio AS REAL) DESC, lr";
    static const struct hy_list_column columns[] = {
        {"sweep", "sweep", HY_UNIT_GROUP},
        {"variant", "variant", HY_UNIT_TEXT},
        {"label", "setting", HY_UNIT_GROUP},
        {"ratio", "ratio", HY_UNIT_TEXT},
        {"lr", "lr", HY_UNIT_NUMBER},
        {"recall_valid", "recall valid", HY_UNIT_SCORE},
        {"ppl_valid", "ppl valid", HY_UNIT_NUMBER},
        {"n", "done", HY_UNIT_COUNT},
        {"diverged", "diverged", HY_UNIT_COUNT},
        {"failed", "failed", HY_UNIT_COUNT},
        {"pruned", "pruned", HY_UNIT_COUNT},
        {"open", "not ended", HY_UNIT_COUNT},
        {"choice", "choice", HY_UNIT_TEXT},
        {"collapsed", "variant", HY_UNIT_MARK},
        {0},
    };
    struct hy_rows rows;
    const int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    hy_grid_title(grid, "Learning rates: mean scores on validation data, and the rate they choose");
    hy_list_fill(grid, &rows, columns);
    hy_rows_release(&rows);
    return 0;
}

const struct hy_table hy_table_lr = {
    .name = "lr",
    .summary = "validation scores by learning rate, the chosen one marked",
    .fill = fill,
};
