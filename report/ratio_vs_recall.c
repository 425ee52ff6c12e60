#include "report/ratio.h"
#include "report/table.h"

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const struct hy_ratio_metric recall = {
        .title = "Recall on test data by ratio of linear to full attention: mean ± 95 % interval "
                 "(seeds), learning rate chosen on validation data",
        .axis = "recall on test data",
        .column = "recall_test",
        .interval = "recall_test_ci95",
        .missing = "no recall was measured: the sweep evaluates no recall task",
        .is_fraction = 1,
    };
    return hy_ratio_fill(store, sweep, &recall, grid, e);
}

const struct hy_table hy_table_ratio_vs_recall = {
    .name = "ratio-vs-recall",
    .summary = "test recall by variant and ratio",
    .plots = 1,
    .fill = fill,
};
