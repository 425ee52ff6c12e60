#include "core/ops/features/delayed.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"

enum { X, CACHE };

static void delayed_forward(const struct hy_op *op, int r)
{
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t position = op->graph->position, lag = *(const int *)op->attr;
    const struct hy_rows x = hy_rows_of(op->in[X], r), cache = hy_rows_of(op->in[CACHE], r);
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    const int64_t kept = cache.rows / shape->batch;
    const size_t bytes = (size_t)y.cols * sizeof(hy_real);
    for (int64_t b = 0; b < shape->batch; b++)
        for (int64_t t = 0; t < shape->tokens; t++) {
            const int64_t from = position + t - lag;
            hy_real *to = hy_row(&y, b * shape->tokens + t);
            if (from < 0)
                memset(to, 0, bytes);
            else if (from < position)
                memcpy(to, hy_row(&cache, b * kept + from % kept), bytes);
            else
                memcpy(to, hy_row(&x, b * shape->tokens + from - position), bytes);
        }
}

static void delayed_cost(const struct hy_op *op, struct hy_cost *cost)
{
    /* A row comes from x or from the cache. */
    cost->bytes = 2 * (double)(op->out[0]->rows * op->out[0]->cols) * sizeof(hy_real);
}

const struct hy_op_kind hy_op_delayed = {
    .name = "delayed",
    .forward = delayed_forward,
    .cost = delayed_cost,
};

struct hy_tensor *hy_delayed(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *cache,
                             int lag)
{
    if (!x || !cache)
        return NULL;
    if (g->shape.mode != HY_CACHED)
        return hy_graph_fail(g, "delayed: there is no cache outside cached graphs");
    if (!hy_has_shape(g, "delayed", "x", x, (int64_t)g->shape.batch * g->shape.tokens, x->cols) ||
        !hy_has_shape(g, "delayed", "the cache", cache, cache->rows, x->cols))
        return NULL;
    if (cache->rows % g->shape.batch || lag < 1 || lag > cache->rows / g->shape.batch)
        return hy_graph_fail(g, "delayed: a lag of %d in a cache of %lld rows for %d sequences",
                             lag, (long long)cache->rows, g->shape.batch);
    return hy_record(g, &hy_op_delayed, 2, (struct hy_tensor *[]){x, cache}, x->rows, x->cols, &lag,
                     sizeof lag);
}
