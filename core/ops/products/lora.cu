/* lora.cu - the twin of lora.c: a copy, and cuBLAS for the additions. */
#include "core/ops/support/pack.cuh"

extern "C" {
#include "core/ops/support/attr.h"
}

enum { Y0, H, B };

template <int V> __global__ static void copy(struct hy_span from, struct hy_span to)
{
    HY_EACH_PACK(V, from.rows, from.cols, i, c)
    hy_give(to, i, c, hy_take<V>(from, i, c));
}

static void launch_copy(const struct hy_launch *at, struct hy_span from, struct hy_span to)
{
    const int four = hy_all_by_four(from, to);
    const struct hy_walk walk = hy_walk_of(at, from.rows, four ? from.cols / 4 : from.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? copy<4> : copy<1>, from, to);
}

static struct hy_span columns_from(struct hy_span s, int64_t first)
{
    if (s.data)
        s.data += first;
    return s;
}

static void lora_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_lora_attr *s = (const struct hy_lora_attr *)op->attr;
    const struct hy_span y = hy_span_of(op->out[0]), h = hy_span_of(op->in[H]);
    const int64_t rank = op->in[B]->cols;
    launch_copy(at, hy_span_of(op->in[Y0]), y);
    for (int k = 0; k < op->inputs - B; k++) {
        const struct hy_span b = hy_span_of(op->in[B + k]);
        hy_cuda_gemm(at, 0, 1, y.rows, b.rows, rank, (float)s->scale, columns_from(h, k * rank), b,
                     1, columns_from(y, s->first[k]));
    }
}

static void lora_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_lora_attr *s = (const struct hy_lora_attr *)op->attr;
    const struct hy_span dy = hy_span_of(op->dout[0]), h = hy_span_of(op->in[H]);
    const struct hy_span dh = hy_span_din(op, H);
    const int64_t rank = op->in[B]->cols;
    if (op->din[Y0])
        launch_copy(at, dy, hy_span_din(op, Y0));
    for (int k = 0; k < op->inputs - B; k++) {
        const struct hy_span b = hy_span_of(op->in[B + k]), db = hy_span_din(op, B + k);
        const struct hy_span own = columns_from(dy, s->first[k]);
        if (dh.data)
            hy_cuda_gemm(at, 0, 0, dy.rows, rank, b.rows, (float)s->scale, own, b, (float)dh.add,
                         columns_from(dh, k * rank));
        if (db.data)
            hy_cuda_gemm(at, 1, 0, b.rows, rank, dy.rows, (float)s->scale, own,
                         columns_from(h, k * rank), (float)db.add, db);
    }
}

HY_CUDA_KIND(lora) = {lora_forward, lora_backward, NULL};
