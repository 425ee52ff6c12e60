#include "core/ops/attention.h"

#include "core/ops/support/build.h"
#include "core/ops/support/gemm.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"

/* Queries whose scores exist at a time. */
enum { BLOCK = 64 };

/* One head of one sequence: queries start at `position`, keys at 0. */
struct head {
    const hy_real *q, *k, *v;
    int64_t ldq, ldk, ldv;
    int64_t position;
};

/* Queries [from, from + count) and the keys [first, first + span) that at least one of them sees.
 */
struct block {
    int64_t from, count, first, span;
};

static int64_t context_of(const struct hy_op *op)
{
    return op->in[3] ? op->graph->shape.context : op->graph->shape.tokens;
}

static int64_t widest_span(const struct hy_op *op)
{
    const struct hy_attention *s = op->attr;
    const int64_t context = context_of(op);
    return s->window ? hy_min(context, s->window + BLOCK - 1) : context;
}

static size_t attention_scratch(const struct hy_op *op)
{
    const size_t scores = (size_t)(BLOCK * widest_span(op));
    return (op->pass == HY_BACKWARD ? 2 : 1) * scores * sizeof(hy_real);
}

static struct block block_at(const struct hy_op *op, int64_t position, int64_t from)
{
    const struct hy_attention *s = op->attr;
    struct block b = {.from = from, .count = hy_min(op->graph->shape.tokens - from, BLOCK)};
    if (s->window && position + from >= s->window)
        b.first = position + from - s->window + 1;
    b.span = position + from + b.count - b.first;
    return b;
}

static struct head head_at(const struct hy_op *op, int r, int64_t batch, int64_t head)
{
    const struct hy_attention *s = op->attr;
    const int cached = op->in[3] != NULL;
    const struct hy_tensor *q = op->in[0], *k = op->in[cached ? 3 : 1], *v = op->in[cached ? 4 : 2];
    const int64_t kv_head = head / (s->heads / s->kv_heads), keys = batch * context_of(op);
    return (struct head){
        .q = hy_real_data(q, r) + batch * op->graph->shape.tokens * q->ld + head * s->key_width,
        .k = hy_real_data(k, r) + keys * k->ld + kv_head * s->key_width,
        .v = hy_real_data(v, r) + keys * v->ld + kv_head * s->value_width,
        .ldq = q->ld,
        .ldk = k->ld,
        .ldv = v->ld,
        .position = cached ? op->graph->position : 0,
    };
}

/* Which of a block's keys its i-th query sees: [*low, *high). */
static void visible(const struct hy_attention *s, const struct head *h, const struct block *b,
                    int64_t i, int64_t *low, int64_t *high)
{
    const int64_t at = h->position + b->from + i;
    *high = at + 1 - b->first;
    *low = s->window && *high > s->window ? *high - s->window : 0;
}

static void score_block(const struct hy_attention *s, const struct head *h, const struct block *b,
                        hy_real *p)
{
    hy_gemm(0, 1, b->count, b->span, s->key_width, (hy_real)s->scale, h->q + b->from * h->ldq,
            h->ldq, h->k + b->first * h->ldk, h->ldk, 0, p, b->span);
}

static void hide(hy_real *p, int64_t low, int64_t high, int64_t span)
{
    memset(p, 0, (size_t)low * sizeof *p);
    memset(p + high, 0, (size_t)(span - high) * sizeof *p);
}

/* Scores p[0, n) become e^(p - max); returns their sum and the max. */
static hy_real exponentials(hy_real *p, int64_t n, hy_real *max)
{
    hy_real m = -INFINITY, sum = 0;
#pragma omp simd reduction(max : m)
    for (int64_t j = 0; j < n; j++)
        m = p[j] > m ? p[j] : m;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        p[j] = hy_exp(p[j] - m);
        sum += p[j];
    }
    *max = m;
    return sum;
}

static void forward_block(const struct hy_attention *s, const struct head *h, const struct block *b,
                          hy_real *p, hy_real *o, int64_t ldo, hy_real *lse, int64_t ld_lse)
{
    hy_real sums[BLOCK];
    score_block(s, h, b, p);
    for (int64_t i = 0; i < b->count; i++) {
        hy_real *row = p + i * b->span, max;
        int64_t low, high;
        visible(s, h, b, i, &low, &high);
        hide(row, low, high, b->span);
        sums[i] = exponentials(row + low, high - low, &max);
        lse[(b->from + i) * ld_lse] = max + (hy_real)log((double)sums[i]);
    }
    o += b->from * ldo;
    hy_gemm(0, 0, b->count, s->value_width, b->span, 1, p, b->span, h->v + b->first * h->ldv,
            h->ldv, 0, o, ldo);
    for (int64_t i = 0; i < b->count; i++) {
        const hy_real share = 1 / sums[i];
#pragma omp simd
        for (int64_t c = 0; c < s->value_width; c++)
            o[i * ldo + c] *= share;
    }
}

/* Puts this run's keys and values where the cache has them. */
static void append(const struct hy_op *op, int r)
{
    const struct hy_shape *shape = &op->graph->shape;
    hy_check_index("attention: the last position", op->graph->position + shape->tokens - 1,
                   shape->context);
    for (int i = 1; i <= 2; i++) {
        const struct hy_rows from = hy_rows_of(op->in[i], r), to = hy_rows_of(op->in[i + 2], r);
        for (int64_t b = 0; b < shape->batch; b++)
            for (int64_t t = 0; t < shape->tokens; t++)
                memcpy(hy_row(&to, b * shape->context + op->graph->position + t),
                       hy_row(&from, b * shape->tokens + t),
                       (size_t)op->in[i]->cols * sizeof(hy_real));
    }
}

static void attention_forward(const struct hy_op *op, int r)
{
    const struct hy_attention *s = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const struct hy_rows o = hy_rows_of(op->out[0], r), lse = hy_rows_of(op->out[1], r);
    hy_real *p = hy_real_data(op->scratch, r);
    if (op->in[3])
        append(op, r);
    for (int64_t batch = 0; batch < shape->batch; batch++)
        for (int64_t head = 0; head < s->heads; head++) {
            const struct head h = head_at(op, r, batch, head);
            for (int64_t from = 0; from < shape->tokens; from += BLOCK) {
                const struct block b = block_at(op, h.position, from);
                forward_block(s, &h, &b, p,
                              hy_row(&o, batch * shape->tokens) + head * s->value_width, o.ld,
                              hy_row(&lse, batch * shape->tokens) + head, lse.ld);
            }
        }
}

/* Where the gradients of one head go; NULL where not wanted. dk, dv are added to. */
struct head_gradient {
    const hy_real *d_o, *lse;
    hy_real *dq, *dk, *dv;
    int64_t ld_do, ld_lse, ld_dq, ld_dk, ld_dv;
    int add_dq;
};

static struct head_gradient gradient_at(const struct hy_op *op, int r, int64_t batch, int64_t head)
{
    const struct hy_attention *s = op->attr;
    const int64_t kv_head = head / (s->heads / s->kv_heads);
    const struct hy_rows d_o = hy_rows_of(op->dout[0], r), lse = hy_rows_of(op->out[1], r);
    const struct hy_rows dq = hy_rows_din(op, 0, r, NULL), dk = hy_rows_din(op, 1, r, NULL);
    const struct hy_rows dv = hy_rows_din(op, 2, r, NULL);
    const int64_t row = batch * op->graph->shape.tokens;
    return (struct head_gradient){
        .d_o = hy_row(&d_o, row) + head * s->value_width,
        .lse = hy_row(&lse, row) + head,
        .dq = dq.data ? hy_row(&dq, row) + head * s->key_width : NULL,
        .dk = dk.data ? hy_row(&dk, row) + kv_head * s->key_width : NULL,
        .dv = dv.data ? hy_row(&dv, row) + kv_head * s->value_width : NULL,
        .ld_do = d_o.ld,
        .ld_lse = lse.ld,
        .ld_dq = dq.ld,
        .ld_dk = dk.ld,
        .ld_dv = dv.ld,
        .add_dq = dq.add,
    };
}

/* Row by row P = e^(score - lse), then with dP in dp: dS = P (dP - sum P dP). */
static void restore(const struct hy_attention *s, const struct head *h, const struct block *b,
                    const struct head_gradient *d, hy_real *p)
{
    for (int64_t i = 0; i < b->count; i++) {
        const hy_real lse = d->lse[(b->from + i) * d->ld_lse];
        hy_real *row = p + i * b->span;
        int64_t low, high;
        visible(s, h, b, i, &low, &high);
        hide(row, low, high, b->span);
#pragma omp simd
        for (int64_t j = low; j < high; j++)
            row[j] = hy_exp(row[j] - lse);
    }
}

static void differentiate(const struct block *b, const hy_real *p, hy_real *dp)
{
    for (int64_t i = 0; i < b->count; i++) {
        const hy_real *pi = p + i * b->span;
        hy_real *di = dp + i * b->span, sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < b->span; j++)
            sum += pi[j] * di[j];
#pragma omp simd
        for (int64_t j = 0; j < b->span; j++)
            di[j] = pi[j] * (di[j] - sum);
    }
}

static void backward_block(const struct hy_attention *s, const struct head *h,
                           const struct block *b, const struct head_gradient *d, hy_real *p,
                           hy_real *dp)
{
    const hy_real *d_o = d->d_o + b->from * d->ld_do, scale = (hy_real)s->scale;
    score_block(s, h, b, p);
    restore(s, h, b, d, p);
    if (d->dv)
        hy_gemm(1, 0, b->span, s->value_width, b->count, 1, p, b->span, d_o, d->ld_do, 1,
                d->dv + b->first * d->ld_dv, d->ld_dv);
    if (!d->dq && !d->dk)
        return;
    hy_gemm(0, 1, b->count, b->span, s->value_width, 1, d_o, d->ld_do, h->v + b->first * h->ldv,
            h->ldv, 0, dp, b->span);
    differentiate(b, p, dp);
    if (d->dq)
        hy_gemm(0, 0, b->count, s->key_width, b->span, scale, dp, b->span, h->k + b->first * h->ldk,
                h->ldk, (hy_real)d->add_dq, d->dq + b->from * d->ld_dq, d->ld_dq);
    if (d->dk)
        hy_gemm(1, 0, b->span, s->key_width, b->count, scale, dp, b->span, h->q + b->from * h->ldq,
                h->ldq, 1, d->dk + b->first * d->ld_dk, d->ld_dk);
}

static void attention_backward(const struct hy_op *op, int r)
{
    const struct hy_attention *s = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    hy_real *p = hy_real_data(op->scratch, r), *dp = p + BLOCK * widest_span(op);
    hy_clear_din(op, 1, r);
    hy_clear_din(op, 2, r);
    for (int64_t batch = 0; batch < shape->batch; batch++)
        for (int64_t head = 0; head < s->heads; head++) {
            const struct head h = head_at(op, r, batch, head);
            const struct head_gradient d = gradient_at(op, r, batch, head);
            for (int64_t from = 0; from < shape->tokens; from += BLOCK) {
                const struct block b = block_at(op, h.position, from);
                backward_block(s, &h, &b, &d, p, dp);
            }
        }
}

/* Pairs of a query and a key that it sees, over all heads and sequences. */
static double pairs_of(const struct hy_op *op)
{
    const struct hy_attention *s = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t before = op->in[3] ? shape->context - shape->tokens : 0;
    double pairs = 0;
    for (int64_t t = 0; t < shape->tokens; t++) {
        const int64_t seen = before + t + 1;
        pairs += (double)(s->window ? hy_min(seen, s->window) : seen);
    }
    return pairs * s->heads * shape->batch;
}

static void attention_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const struct hy_attention *s = op->attr;
    const int width = s->key_width + s->value_width;
    cost->flops = pairs_of(op) * (op->pass == HY_FORWARD ? 2 * width + 4 : 4 * width + 6);
    cost->bytes = hy_op_bytes(op);
}

static int attention_example(struct hy_graph *g, int index)
{
    static const struct hy_attention cases[] = {
        {.heads = 2, .kv_heads = 2, .key_width = 3, .value_width = 4, .scale = 0.5},
        {.heads = 4, .kv_heads = 2, .key_width = 3, .value_width = 2, .scale = 1, .window = 3},
    };
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const struct hy_attention *s = &cases[index];
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t widths[] = {s->heads * s->key_width, s->kv_heads * s->key_width,
                              s->kv_heads * s->value_width};
    struct hy_tensor *t[3];
    hy_graph_split(g, hy_graph_leaf(g, "qkv", rows, widths[0] + widths[1] + widths[2], -2, 2), 3,
                   widths, t);
    hy_attention(g, t[0], t[1], t[2], s, NULL, NULL);
    return 1;
}

const struct hy_op_kind hy_op_attention = {
    .name = "attention",
    .forward = attention_forward,
    .backward = attention_backward,
    .cost = attention_cost,
    .scratch = attention_scratch,
    .backward_in = 1u << 0 | 1u << 1 | 1u << 2,
    .backward_out = 1u << 1,
    .example = attention_example,
};

/* Do q, k, v and the caches have the shapes that s implies? */
static int fits(struct hy_graph *g, struct hy_tensor *const in[5], const struct hy_attention *s)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t keys = (int64_t)s->kv_heads * s->key_width;
    const int64_t values = (int64_t)s->kv_heads * s->value_width;
    const int64_t kept = (int64_t)g->shape.batch * g->shape.context;
    if (s->heads < 1 || s->kv_heads < 1 || s->heads % s->kv_heads || s->window < 0) {
        hy_graph_fail(g, "attention: %d heads, %d key heads, window %d", s->heads, s->kv_heads,
                      s->window);
        return 0;
    }
    return hy_has_shape(g, "attention", "q", in[0], rows, (int64_t)s->heads * s->key_width) &&
           hy_has_shape(g, "attention", "k", in[1], rows, keys) &&
           hy_has_shape(g, "attention", "v", in[2], rows, values) &&
           (!in[3] || (hy_has_shape(g, "attention", "the cache of keys", in[3], kept, keys) &&
                       hy_has_shape(g, "attention", "the cache of values", in[4], kept, values)));
}

struct hy_tensor *hy_attention(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                               struct hy_tensor *v, const struct hy_attention *s,
                               struct hy_tensor *cache_k, struct hy_tensor *cache_v)
{
    struct hy_tensor *in[] = {q, k, v, cache_k, cache_v};
    if (!q || !k || !v || !cache_k != !cache_v || !fits(g, in, s))
        return NULL;
    struct hy_tensor *out[] = {
        hy_graph_tensor(g, q->rows, (int64_t)s->heads * s->value_width),
        hy_graph_tensor(g, q->rows, s->heads), /* log sum exp of each query's scores */
    };
    if (!out[1] || !hy_graph_op(g, &hy_op_attention, 5, in, 2, out, s, sizeof *s))
        return NULL;
    out[1]->differentiable = 0; /* for backward alone */
    return out[0];
}
