/* delayed.cu - the twin of delayed.c. */
#include "core/ops/support/pack.cuh"

template <int V>
__global__ static void forward(int64_t tokens, int64_t kept, int64_t lag, const int *position,
                               struct hy_span x, struct hy_span cache, struct hy_span y)
{
    HY_EACH_PACK(V, y.rows, y.cols, i, c)
    {
        const int64_t b = i / tokens, from = *position + i % tokens - lag;
        hy_pack<V> v = {};
        if (from >= *position)
            v = hy_take<V>(x, b * tokens + from - *position, c);
        else if (from >= 0)
            v = hy_take<V>(cache, b * kept + from % kept, c);
        hy_give(y, i, c, v);
    }
}

static void delayed_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_shape *shape = &op->graph->shape;
    const struct hy_span x = hy_span_of(op->in[0]), cache = hy_span_of(op->in[1]);
    const struct hy_span y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(x, cache, y);
    const struct hy_walk walk = hy_walk_of(at, y.rows, four ? y.cols / 4 : y.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, shape->tokens,
             cache.rows / shape->batch, *(const int *)op->attr, at->position, x, cache, y);
}

HY_CUDA_KIND(delayed) = {delayed_forward, NULL, NULL};
