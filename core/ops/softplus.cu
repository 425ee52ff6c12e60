/* softplus.cu - the twin of softplus.c. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/sums.cuh"

template <int V>
__global__ static void forward(struct hy_span x, struct hy_span weights, struct hy_span y)
{
    const int64_t c = hy_strip_column<V>();
    if (c >= x.cols)
        return;
    const hy_pack<V> w = hy_take<V>(weights, 0, c);
    HY_STRIP(x.rows, i)
    {
        hy_pack<V> v = hy_take<V>(x, i, c);
        for (int k = 0; k < V; k++)
            v.at[k] = hy_softplus(w.at[k] * v.at[k]);
        hy_give(y, i, c, v);
    }
}

template <int V>
__global__ static void backward(struct hy_span x, struct hy_span weights, struct hy_span dy,
                                struct hy_span dx, struct hy_span parts)
{
    const int64_t c = hy_strip_column<V>();
    hy_pack<V> sum = {};
    if (c < x.cols) {
        const hy_pack<V> w = hy_take<V>(weights, 0, c);
        HY_STRIP(x.rows, i)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c);
            hy_pack<V> d = hy_take<V>(dy, i, c);
            for (int k = 0; k < V; k++) {
                d.at[k] *= hy_sigmoid(w.at[k] * v.at[k]);
                sum.at[k] += d.at[k] * v.at[k];
                d.at[k] *= w.at[k];
            }
            hy_give(dx, i, c, d);
        }
    }
    hy_strip_sum(sum, c, parts);
}

/* A parameter as one row. */
static struct hy_span row_of(struct hy_span s)
{
    s.cols = s.ld = s.rows * s.cols;
    s.rows = 1;
    return s;
}

static size_t softplus_scratch(const struct hy_op *op)
{
    return op->din[1] ? hy_parts_bytes(op->in[0]->rows, op->in[0]->cols) : 0;
}

static void softplus_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = row_of(hy_span_of(op->in[1]));
    const struct hy_span y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(x, w, y);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, x, w, y);
}

static void softplus_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = row_of(hy_span_of(op->in[1]));
    const struct hy_span dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0), dw = row_of(hy_span_din(op, 1));
    struct hy_span parts = {};
    if (dw.data)
        parts = hy_span_parts(op, 0, x.rows, x.cols);
    const int four = hy_all_by_four(x, w, dy, dx, parts);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, x, w, dy, dx, parts);
    if (dw.data)
        hy_fold_sums(at, parts, dw, 1, 1, 0);
}

HY_CUDA_KIND(softplus) = {softplus_forward, softplus_backward, softplus_scratch};
