/* attention_once.c - attention of the single query that decoding brings, for attention.c. */
#include "core/ops/support/attention.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/tile.h"

void hy_attention_append(const struct hy_op *op, int r)
{
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t kept = hy_window_kept(op->attr, shape);
    const int64_t first = shape->tokens - hy_min(shape->tokens, kept);
    for (int i = 1; i <= 2; i++) {
        const struct hy_rows from = hy_rows_of(op->in[i], r), to = hy_rows_of(op->in[i + 2], r);
        for (int64_t b = 0; b < shape->batch; b++)
            for (int64_t t = first; t < shape->tokens; t++)
                memcpy(hy_row(&to, b * kept + (op->graph->position + t) % kept),
                       hy_row(&from, b * shape->tokens + t),
                       (size_t)op->in[i]->cols * sizeof(hy_real));
    }
}

/* Rows of the cache that the query sees: count of them from `first` on, around the ring. */
struct ring {
    int64_t first, count, kept;
};

/* All that a ring holds is seen, in any order, but for what a terrace has left behind. */
static struct ring ring_of(const struct hy_op *op)
{
    const struct hy_attention *a = op->attr;
    const int64_t t = op->graph->position, low = hy_window_low(a, t);
    const int64_t kept = hy_window_kept(a, &op->graph->shape);
    return (struct ring){a->terraced ? low % kept : 0, t + 1 - low, kept};
}

static const hy_real *ring_row(const struct hy_op *op, int r, int i, int64_t batch,
                               const struct ring *ring, int64_t j)
{
    const int64_t row = ring->first + j;
    return hy_head_of(op->in[i], r,
                      batch * ring->kept + (row < ring->kept ? row : row - ring->kept), 0, 0);
}

static void score(const struct hy_op *op, int r, int64_t batch, const struct ring *ring, hy_real *p,
                  int64_t ld)
{
    const struct hy_attention *a = op->attr;
    const int64_t group = a->heads / a->kv_heads;
    const hy_real *q = hy_head_of(op->in[0], r, batch, 0, 0);
    for (int64_t j = 0; j < ring->count; j++) {
        const hy_real *row = ring_row(op, r, 3, batch, ring, j);
        for (int64_t h = 0; h < a->heads; h++) {
            const hy_real *qh = q + h * a->key_width, *k = row + h / group * a->key_width;
            hy_real dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int64_t c = 0; c < a->key_width; c++)
                dot += qh[c] * k[c];
            dot *= (hy_real)a->scale;
            p[h * ld + j] = a->cap > 0 ? hy_attention_capped(dot, (hy_real)a->cap) : dot;
        }
    }
}

/* A head's scores become shares. */
static void soften(const struct hy_op *op, int r, int64_t batch, int64_t h, hy_real *p, int64_t n)
{
    hy_real *lse = hy_head_of(op->out[HY_ATTENTION_LSE], r, batch, h, 1), max;
    hy_real *excess = hy_head_of(op->out[HY_ATTENTION_EXCESS], r, batch, h, 1);
    for (int64_t j = n; j < hy_lanes_up(n); j++)
        p[j] = -INFINITY;
    const hy_real sum = hy_attention_exponentials(p, hy_lanes_up(n), &max), share = 1 / sum;
    const hy_real above = (hy_real)log((double)sum);
    *lse = max + above;
    if (excess)
        *excess = above;
    for (int64_t j = 0; j < n; j++)
        p[j] *= share;
}

/* A query reads keys and values where they are, in the order of the cache: packing them costs more
 * than it saves. Rows hold the parts of all heads, so each is read once. */
static void attend(const struct hy_op *op, int r, int64_t batch, hy_real *p, int64_t ld)
{
    const struct hy_attention *a = op->attr;
    const struct ring ring = ring_of(op);
    const int64_t group = a->heads / a->kv_heads;
    hy_real *o = hy_head_of(op->out[HY_ATTENTION_O], r, batch, 0, 0);
    score(op, r, batch, &ring, p, ld);
    for (int64_t h = 0; h < a->heads; h++)
        soften(op, r, batch, h, p + h * ld, ring.count);
    memset(o, 0, (size_t)(a->heads * a->value_width) * sizeof *o);
    for (int64_t j = 0; j < ring.count; j++) {
        const hy_real *row = ring_row(op, r, 4, batch, &ring, j);
        for (int64_t h = 0; h < a->heads; h++) {
            const hy_real share = p[h * ld + j], *v = row + h / group * a->value_width;
            hy_real *oh = o + h * a->value_width;
#pragma omp simd
            for (int64_t c = 0; c < a->value_width; c++)
                oh[c] += share * v[c];
        }
    }
}

void hy_attention_once(const struct hy_op *op, int r, hy_real *p, int64_t ld)
{
    hy_attention_append(op, r);
    for (int64_t batch = 0; batch < op->graph->shape.batch; batch++)
        attend(op, r, batch, p, ld);
}
