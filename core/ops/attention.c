#include "core/ops/attention.h"

#include "core/ops/products/micro.h"
#include "core/ops/support/attention.h"
#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/tile.h"

/* Queries whose scores exist at a time: a strip, and in backward a block of strips. */
enum { STRIP = HY_LANES, BLOCK = 4 * STRIP };

/* Scratch: what one head needs, packed, rows and widths padded with zeros to whole vectors. */
struct space {
    enum hy_precision precision;
    int64_t key_width, value_width; /* padded */
    int64_t keys;                   /* padded, */
    int64_t ld;            /* and one vector more, so that rows meet different cache sets */
    hy_real *k, *k_turned; /* [keys, key_width], [key_width, ld] */
    hy_real *v, *v_turned;
    hy_real *q, *o, *p; /* [BLOCK, key_width] times scale, [BLOCK, value_width], [BLOCK, ld] */
    hy_real *dq, *dk, *dv, *dp, *d_o;
};

/* Keys from before this run that its queries may see: at most, and at the graph's position. */
static int64_t most_before(const struct hy_op *op)
{
    return op->in[3] ? hy_window_before(op->attr, &op->graph->shape) : 0;
}

static int64_t before_of(const struct hy_op *op)
{
    const int64_t position = op->graph->position;
    return hy_min(position - hy_window_low(op->attr, position), most_before(op));
}

/* Keys that queries see, where so many are from before this run. */
static int64_t keys_of(const struct hy_op *op, int64_t before)
{
    return hy_window_high(op->attr, before + op->graph->shape.tokens - 1);
}

static int decodes(const struct hy_op *op)
{
    return op->in[3] && op->graph->shape.tokens == 1;
}

/* Lays s out from base on; returns how many numbers it takes. */
static int64_t lay_out(const struct hy_op *op, hy_real *base, struct space *s)
{
    const struct hy_attention *attention = op->attr;
    const int64_t keys = hy_lanes_up(keys_of(op, most_before(op))), ld = keys + HY_LANES;
    const int64_t kw = hy_lanes_up(attention->key_width), vw = hy_lanes_up(attention->value_width);
    hy_real *next = base;
    *s = (struct space){.precision = hy_precision_of(op->graph),
                        .key_width = kw,
                        .value_width = vw,
                        .keys = keys,
                        .ld = ld};
    if (decodes(op)) {
        s->p = hy_carve(&next, attention->heads * ld);
        return next - base;
    }
    s->k = hy_carve(&next, keys * kw);
    s->k_turned = hy_carve(&next, kw * ld);
    s->v = hy_carve(&next, keys * vw);
    s->q = hy_carve(&next, BLOCK * kw);
    s->o = hy_carve(&next, BLOCK * vw);
    s->p = hy_carve(&next, BLOCK * ld);
    if (op->pass == HY_BACKWARD) {
        s->v_turned = hy_carve(&next, vw * ld);
        s->dq = hy_carve(&next, BLOCK * kw);
        s->dk = hy_carve(&next, keys * kw);
        s->dv = hy_carve(&next, keys * vw);
        s->dp = hy_carve(&next, BLOCK * ld);
        s->d_o = hy_carve(&next, BLOCK * vw);
    }
    return next - base;
}

static size_t attention_scratch(const struct hy_op *op)
{
    static hy_real origin[1];
    struct space s;
    return (size_t)lay_out(op, origin, &s) * sizeof(hy_real);
}

/* Keys (i = 1) or values (i = 2) of one sequence and head, one after another: those that are seen
 * from before this run, out of the cache's ring, then this run's. */
static void pack_sequence(const struct hy_op *op, int r, int i, int64_t batch, int64_t head,
                          int64_t width, int64_t padded_rows, int64_t padded_width, hy_real *to)
{
    const struct hy_tensor *new = op->in[i], *old = op->in[i + 2];
    const int64_t tokens = op->graph->shape.tokens, before = before_of(op);
    const int64_t kept = hy_window_kept(op->attr, &op->graph->shape);
    for (int64_t done = 0, count; done < before; done += count) {
        const int64_t at = (op->graph->position - before + done) % kept;
        count = hy_min(before - done, kept - at);
        hy_pack(hy_head_of(old, r, batch * kept + at, head, (int)width), old->ld, count, width, 1,
                count, padded_width, to + done * padded_width);
    }
    hy_pack(hy_head_of(new, r, batch * tokens, head, (int)width), new->ld,
            keys_of(op, before) - before, width, 1, padded_rows - before, padded_width,
            to + before * padded_width);
}

static void pack_keys(const struct hy_op *op, int r, int64_t batch, int64_t kv_head,
                      const struct space *s)
{
    const struct hy_attention *a = op->attr;
    pack_sequence(op, r, 1, batch, kv_head, a->key_width, s->keys, s->key_width, s->k);
    hy_micro_transpose(s->keys, s->key_width, s->k, s->key_width, s->k_turned, s->ld);
    pack_sequence(op, r, 2, batch, kv_head, a->value_width, s->keys, s->value_width, s->v);
    if (s->v_turned)
        hy_micro_transpose(s->keys, s->value_width, s->v, s->value_width, s->v_turned, s->ld);
}

/* Queries [from, from + count) and the first of the keys that they see, a whole vector's. */
struct block {
    int64_t from, count, strips, first;
    int64_t position; /* of the first query among the keys */
    int64_t keys;     /* padded */
};

static struct block block_at(const struct hy_op *op, int64_t from, int64_t most)
{
    const int64_t tokens = op->graph->shape.tokens, position = before_of(op) + from;
    struct block b = {.from = from, .count = hy_min(tokens - from, most), .position = position};
    b.strips = hy_lanes_up(b.count) / STRIP;
    b.keys = hy_lanes_up(keys_of(op, before_of(op)));
    b.first = hy_window_low(op->attr, position) / HY_LANES * HY_LANES;
    return b;
}

/* Keys from b->first on that the i-th strip sees, as whole vectors. */
static int64_t seen(const struct block *b, int64_t i)
{
    return hy_min(hy_lanes_up(b->position + (i + 1) * STRIP), b->keys) - b->first;
}

static void cap_scores(hy_real *p, int64_t n, hy_real cap)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        p[j] = hy_attention_capped(p[j], cap);
}

/* Scores of the i-th strip, -infinity where a query does not look. */
static void score(const struct hy_attention *a, const struct space *s, const struct block *b,
                  int64_t i)
{
    const int64_t n = seen(b, i);
    const struct hy_left q = {s->q + i * STRIP * s->key_width, s->key_width, 1};
    hy_real *p = s->p + i * STRIP * s->ld;
    hy_micro_mul(s->precision, STRIP, n, s->key_width, q, s->k_turned + b->first, s->ld, NULL, NULL,
                 p, s->ld);
    for (int64_t row = 0; row < STRIP; row++, p += s->ld) {
        const int64_t t = b->position + i * STRIP + row;
        const int64_t high = hy_window_high(a, t) - b->first, low = hy_window_low(a, t) - b->first;
        if (a->cap > 0)
            cap_scores(p, n, (hy_real)a->cap);
        for (int64_t j = high; j < n; j++)
            p[j] = -INFINITY;
        for (int64_t j = 0; j < low; j++)
            p[j] = -INFINITY;
    }
}

/* The lengths of the loops over keys are multiples of the vector, which the compiler is told. */
static int64_t whole_vectors(int64_t n)
{
    return n / HY_LANES * HY_LANES;
}

static void forward_strip(const struct hy_attention *a, const struct space *s,
                          const struct block *b, const struct hy_rows *o, const struct hy_rows *lse,
                          const struct hy_rows *excess)
{
    hy_real sums[STRIP];
    const int64_t n = seen(b, 0);
    score(a, s, b, 0);
    for (int64_t i = 0; i < STRIP; i++) {
        hy_real max;
        sums[i] = hy_attention_exponentials(s->p + i * s->ld, n, &max);
        const hy_real above = (hy_real)log((double)sums[i]);
        if (i < b->count)
            *hy_row(lse, b->from + i) = max + above;
        if (i < b->count && excess->data)
            *hy_row(excess, b->from + i) = above;
    }
    hy_micro_mul(s->precision, STRIP, s->value_width, n, (struct hy_left){s->p, s->ld, 1},
                 s->v + b->first * s->value_width, s->value_width, NULL, NULL, s->o,
                 s->value_width);
    for (int64_t i = 0; i < b->count; i++)
        hy_unpack(s->o + i * s->value_width, s->value_width, 1 / sums[i], 1, a->value_width, 0,
                  hy_row(o, b->from + i), o->ld);
}

/* One head's columns of an output, from the sequence's first row on. */
static struct hy_rows output_of(const struct hy_op *op, int r, int i, int64_t row, int64_t head,
                                int width)
{
    const struct hy_tensor *t = op->out[i];
    return (struct hy_rows){.data = hy_head_of(t, r, row, head, width), .ld = t ? t->ld : 0};
}

static void attention_forward(const struct hy_op *op, int r)
{
    const struct hy_attention *a = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t group = a->heads / a->kv_heads;
    struct space s;
    lay_out(op, hy_real_data(op->scratch, r), &s);
    if (op->in[3] && !a->window)
        hy_check_index("attention: the last position", op->graph->position + shape->tokens - 1,
                       shape->context);
    if (decodes(op)) {
        hy_attention_once(op, r, s.p, s.ld);
        return;
    }
    for (int64_t head = 0; head < shape->batch * a->heads; head++) {
        const int64_t batch = head / a->heads, h = head % a->heads, row = batch * shape->tokens;
        const hy_real *q = hy_head_of(op->in[0], r, row, h, a->key_width);
        const struct hy_rows o = output_of(op, r, HY_ATTENTION_O, row, h, a->value_width),
                             lse = output_of(op, r, HY_ATTENTION_LSE, row, h, 1),
                             excess = output_of(op, r, HY_ATTENTION_EXCESS, row, h, 1);
        if (h % group == 0)
            pack_keys(op, r, batch, h / group, &s);
        for (int64_t from = 0; from < shape->tokens; from += STRIP) {
            const struct block b = block_at(op, from, STRIP);
            hy_pack(q + from * op->in[0]->ld, op->in[0]->ld, b.count, a->key_width,
                    (hy_real)a->scale, STRIP, s.key_width, s.q);
            forward_strip(a, &s, &b, &o, &lse, &excess);
        }
    }
    if (op->in[3])
        hy_attention_append(op, r);
}

/* Scores become P = e^(score - lse), dP becomes dS = P (dP - sum P dP + dlse). */
static void differentiate_row(hy_real *p, hy_real *dp, int64_t n, hy_real lse, hy_real dlse)
{
    hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        p[j] = hy_exp(p[j] - lse);
        sum += p[j] * dp[j];
    }
    sum -= dlse;
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        dp[j] = p[j] * (dp[j] - sum);
}

/* The same of capped scores, whose slope is 1 - (score / cap)^2; masked ones are beyond the cap. */
static void differentiate_capped_row(hy_real *p, hy_real *dp, int64_t n, hy_real lse, hy_real dlse,
                                     hy_real cap)
{
    hy_real sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += hy_exp(p[j] - lse) * dp[j];
    sum -= dlse;
    for (int64_t j = 0; j < n; j++) {
        const hy_real share = p[j] < -cap ? 1 : p[j] / cap;
        p[j] = hy_exp(p[j] - lse);
        dp[j] = p[j] * (dp[j] - sum) * (1 - share * share);
    }
}

/* What backward knows of a query: log sum exp of its scores, the gradient of that, and the part of
 * it that the largest score does not get. */
struct query {
    hy_real lse, dlse, dexcess;
};

/* The first of the largest of n scores, whose number is a multiple of the vector. */
static int64_t largest(const hy_real *p, int64_t n)
{
    hy_real max = -INFINITY;
    int64_t at = 0;
#pragma omp simd reduction(max : max)
    for (int64_t j = 0; j < n; j++)
        max = p[j] > max ? p[j] : max;
    while (at < n - 1 && p[at] != max)
        at++;
    return at;
}

/* What a score's cap multiplies its gradient by. */
static hy_real slope(const struct hy_attention *a, hy_real score)
{
    const hy_real share = a->cap > 0 ? score / (hy_real)a->cap : 0;
    return 1 - share * share;
}

/* The i-th strip: P in the place of scores, dS in that of dP = dO V'. */
static void differentiate_strip(const struct hy_attention *a, const struct space *s,
                                const struct block *b, int64_t i, const struct query *queries)
{
    const int64_t n = whole_vectors(seen(b, i));
    const struct hy_left d_o = {s->d_o + i * STRIP * s->value_width, s->value_width, 1};
    hy_real *p = s->p + i * STRIP * s->ld, *dp = s->dp + i * STRIP * s->ld;
    score(a, s, b, i);
    hy_micro_mul(s->precision, STRIP, n, s->value_width, d_o, s->v_turned + b->first, s->ld, NULL,
                 NULL, dp, s->ld);
    for (int64_t row = 0; row < STRIP; row++, p += s->ld, dp += s->ld) {
        const struct query *query = &queries[i * STRIP + row];
        const int64_t top = query->dexcess != 0 ? largest(p, n) : 0;
        const hy_real highest = p[top];
        if (a->cap > 0)
            differentiate_capped_row(p, dp, n, query->lse, query->dlse, (hy_real)a->cap);
        else
            differentiate_row(p, dp, n, query->lse, query->dlse);
        if (query->dexcess != 0)
            dp[top] -= query->dexcess * slope(a, highest);
    }
}

/* out += p' x over the strips of a block; p [BLOCK, ld], x [BLOCK, width], out by keys. */
static void add_by_key(const struct space *s, const struct block *b, const hy_real *p,
                       const hy_real *x, int64_t width, hy_real *out)
{
    for (int64_t i = 0, low = 0; i < b->strips; i++) {
        /* These keys are seen from the i-th strip on. */
        const int64_t high = seen(b, i);
        if (high == low)
            continue;
        const struct hy_left turned = {p + i * STRIP * s->ld + low, 1, s->ld};
        hy_real *to = out + (b->first + low) * width;
        hy_micro_mul(s->precision, high - low, width, (b->strips - i) * STRIP, turned,
                     x + i * STRIP * width, width, to, NULL, to, width);
        low = high;
    }
}

static void backward_block(const struct hy_attention *a, const struct space *s,
                           const struct block *b, const struct query *queries)
{
    for (int64_t i = 0; i < b->strips; i++) {
        differentiate_strip(a, s, b, i, queries);
        hy_micro_mul(s->precision, STRIP, s->key_width, seen(b, i),
                     (struct hy_left){s->dp + i * STRIP * s->ld, s->ld, 1},
                     s->k + b->first * s->key_width, s->key_width, NULL, NULL,
                     s->dq + i * STRIP * s->key_width, s->key_width);
    }
    add_by_key(s, b, s->p, s->d_o, s->value_width, s->dv);
    add_by_key(s, b, s->dp, s->q, s->key_width, s->dk);
}

static void backward_head(const struct hy_op *op, int r, int64_t batch, int64_t h,
                          const struct space *s)
{
    const struct hy_attention *a = op->attr;
    const struct hy_tensor *q = op->in[0], *d_o = op->dout[0], *dq = op->din[0];
    const struct hy_tensor *lse = op->out[HY_ATTENTION_LSE], *dlse = op->dout[HY_ATTENTION_LSE];
    const struct hy_tensor *dexcess = op->dout[HY_ATTENTION_EXCESS];
    for (int64_t from = 0; from < op->graph->shape.tokens; from += BLOCK) {
        const struct block b = block_at(op, from, BLOCK);
        const int64_t row = batch * op->graph->shape.tokens + from;
        struct query queries[BLOCK] = {{0}};
        for (int64_t i = 0; i < b.count; i++) {
            queries[i].lse = *hy_head_of(lse, r, row + i, h, 1);
            queries[i].dexcess = dexcess ? *hy_head_of(dexcess, r, row + i, h, 1) : 0;
            queries[i].dlse = queries[i].dexcess;
            queries[i].dlse += dlse ? *hy_head_of(dlse, r, row + i, h, 1) : 0;
        }
        hy_pack(hy_head_of(q, r, row, h, a->key_width), q->ld, b.count, a->key_width,
                (hy_real)a->scale, b.strips * STRIP, s->key_width, s->q);
        if (!d_o)
            memset(s->d_o, 0, (size_t)(b.strips * STRIP * s->value_width) * sizeof *s->d_o);
        else
            hy_pack(hy_head_of(d_o, r, row, h, a->value_width), d_o->ld, b.count, a->value_width, 1,
                    b.strips * STRIP, s->value_width, s->d_o);
        backward_block(a, s, &b, queries);
        if (dq)
            hy_unpack(s->dq, s->key_width, (hy_real)a->scale, b.count, a->key_width, hy_adds(op, 0),
                      hy_head_of(dq, r, row, h, a->key_width), dq->ld);
    }
}

/* The gradient of one head's keys (i = 1) or values (i = 2) in a sequence, of which x has those
 * that are seen. */
static void give_keys(const struct hy_op *op, int r, int i, int64_t batch, int64_t head,
                      const hy_real *x, int64_t padded_width, int width)
{
    const struct hy_tensor *d = op->din[i];
    const int64_t tokens = op->graph->shape.tokens, keys = keys_of(op, 0);
    if (!d)
        return;
    hy_real *to = hy_head_of(d, r, batch * tokens, head, width);
    hy_unpack(x, padded_width, 1, keys, width, hy_adds(op, i), to, d->ld);
    for (int64_t j = keys; !hy_adds(op, i) && j < tokens; j++)
        memset(to + j * d->ld, 0, (size_t)width * sizeof *to);
}

static void attention_backward(const struct hy_op *op, int r)
{
    const struct hy_attention *a = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t group = a->heads / a->kv_heads;
    struct space s;
    lay_out(op, hy_real_data(op->scratch, r), &s);
    for (int64_t kv = 0; kv < shape->batch * a->kv_heads; kv++) {
        const int64_t batch = kv / a->kv_heads, head = kv % a->kv_heads;
        pack_keys(op, r, batch, head, &s);
        memset(s.dk, 0, (size_t)(s.keys * s.key_width) * sizeof *s.dk);
        memset(s.dv, 0, (size_t)(s.keys * s.value_width) * sizeof *s.dv);
        for (int64_t h = head * group; h < (head + 1) * group; h++)
            backward_head(op, r, batch, h, &s);
        give_keys(op, r, 1, batch, head, s.dk, s.key_width, a->key_width);
        give_keys(op, r, 2, batch, head, s.dv, s.value_width, a->value_width);
    }
}

/* Pairs of a query and a key that it sees, over all heads and sequences. */
static double pairs_of(const struct hy_op *op)
{
    const struct hy_attention *s = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t before = most_before(op);
    double pairs = 0;
    for (int64_t t = 0; t < shape->tokens; t++) {
        const int64_t at = before + t;
        pairs += (double)(hy_window_high(s, at) - hy_window_low(s, at));
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
        {.heads = 2, .kv_heads = 1, .key_width = 3, .value_width = 4, .scale = 1, .cap = 2},
        {.heads = 2, .kv_heads = 1, .key_width = 3, .value_width = 4, .scale = 1, .first = 5},
        {.heads = 2,
         .kv_heads = 1,
         .key_width = 2,
         .value_width = 3,
         .scale = 1,
         .window = 4,
         .terraced = 1},
        {.heads = 2, .kv_heads = 1, .key_width = 3, .value_width = 2, .scale = 1, .window = 5},
        {.heads = 4,
         .kv_heads = 2,
         .key_width = 3,
         .value_width = 2,
         .scale = 1,
         .window = 3,
         .terraced = 1,
         .cap = 2},
        {.heads = 2, .kv_heads = 2, .key_width = 3, .value_width = 4, .scale = 1, .first = 1},
    };
    enum { WITH_EXCESS = 5 }; /* from this case on */
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const struct hy_attention *s = &cases[index];
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t widths[] = {s->heads * s->key_width, s->kv_heads * s->key_width,
                              s->kv_heads * s->value_width};
    struct hy_tensor *t[3], *excess;
    hy_graph_split(g, hy_graph_leaf(g, "qkv", rows, widths[0] + widths[1] + widths[2], -2, 2), 3,
                   widths, t);
    if (index >= WITH_EXCESS)
        hy_attention_excess(g, t[0], t[1], t[2], s, NULL, NULL, &excess);
    else
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
