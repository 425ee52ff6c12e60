#include "report/list.h"
#include "report/table.h"

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const char query[] =
        "SELECT run, sweep, name, ratio, layout, layer, kind, layers.variant, "
        "max(value) FILTER (WHERE metric = 'params') AS params, "
        "max(value) FILTER (WHERE metric = 'state_bytes') AS state_bytes, "
        "max(value) FILTER (WHERE metric = 'cache_bytes') AS cache_bytes, "
        "max(value) FILTER (WHERE metric = 'flops_per_token') AS flops_per_token "
        "FROM results LEFT JOIN layers USING (run) "
        "WHERE ?1 IS NULL OR run IN (SELECT run FROM cells WHERE sweep = ?1) "
        "GROUP BY run, layer ORDER BY results.variant, full_layers, run, layer";
    static const struct hy_list_column columns[] = {
        {"run", "run", HY_UNIT_COUNT},
        {"sweep", "sweep", HY_UNIT_GROUP},
        {"name", "name", HY_UNIT_TEXT},
        {"ratio", "ratio", HY_UNIT_TEXT},
        {"layout", "layout", HY_UNIT_TEXT},
        {"layer", "layer", HY_UNIT_COUNT},
        {"kind", "kind", HY_UNIT_TEXT},
        {"variant", "mixer", HY_UNIT_TEXT},
        {"params", "params", HY_UNIT_COUNT},
        {"state_bytes", "state", HY_UNIT_BYTES},
        {"cache_bytes", "cache", HY_UNIT_BYTES},
        {"flops_per_token", "FLOPs/token", HY_UNIT_NUMBER},
        {0},
    };
    struct hy_rows rows;
    const int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    hy_grid_title(grid, "Layers, and what each takes: parameters, what of its cache does not grow, "
                        "the cache at the longest context, training");
    hy_list_fill(grid, &rows, columns);
    hy_rows_release(&rows);
    return 0;
}

const struct hy_table hy_table_layers = {
    .name = "layers",
    .summary = "what each layer of every run is and takes",
    .fill = fill,
};
