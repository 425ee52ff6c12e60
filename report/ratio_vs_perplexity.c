#include "report/ratio.h"
#include "report/table.h"

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const struct hy_ratio_metric perplexity = {
        .title = "Perplexity on test data by ratio of linear to full attention: mean ± 95 % "
                 "interval (seeds), learning rate chosen on validation data",
        .axis = "perplexity on test data",
        .column = "ppl_test",
        .interval = "ppl_test_ci95",
        .missing = "no perplexity was measured: the sweep evaluates no text",
    };
    return hy_ratio_fill(store, sweep, &perplexity, grid, e);
}

const struct hy_table hy_table_ratio_vs_perplexity = {
    .name = "ratio-vs-perplexity",
    .summary = "test perplexity by variant and ratio",
    .plots = 1,
    .fill = fill,
};
