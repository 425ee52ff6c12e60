#include "core/ops/features/transfer.h"

#include "core/ops/features/transfer_query.h"
#include "core/ops/support/build.h"
#include "core/ops/support/pack.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"
#include "core/ops/support/window.h"

/* Queries whose weights exist at a time: a strip, and in backward a block of strips. */
enum { STRIP = HY_LANES, STRIPS = 4, BLOCK = STRIPS * STRIP };

enum { TQ, TK, Q, K, F, G, FACTOR, INPUTS };
enum { Y, KEPT };

/* Scratch: what one head needs, packed, rows and widths padded with zeros to whole vectors. */
struct space {
    enum hy_precision precision;
    int64_t key_width, features; /* padded */
    int64_t keys;                /* padded, */
    int64_t ld;                  /* and one vector more, so that rows meet different cache sets */
    int same;                    /* the student's scores are the teacher's */
    int near;                    /* the window's scores are needed */
    hy_real *tk_turned, *k_turned, *g_turned; /* [key_width, ld] twice, [features, ld] */
    hy_real *k, *g;                           /* [keys, key_width], [keys, features] */
    hy_real *tq, *q;                          /* [STRIP, key_width], times scale */
    hy_real *f;                               /* [BLOCK, features] */
    hy_real *p, *l;                           /* [STRIP, ld] scores: the teacher's, the student's */
    hy_real *u;                               /* [BLOCK, ld] f g' */
    hy_real *dq, *dk, *df, *dg, *dfactor;     /* [STRIP, ...], [keys, ...], likewise; [heads] */
};

/* Queries [from, from + count): their keys outside the window are below `far`, those in it from
 * `first` on, and all below `seen`; whole vectors. */
struct strip {
    int64_t from, count, far, first, seen;
};

/* Lays s out from base on; returns how many numbers it takes. */
static int64_t lay_out(const struct hy_op *op, hy_real *base, struct space *s)
{
    const struct hy_transfer *a = op->attr;
    const int backward = op->pass == HY_BACKWARD, strips = backward ? STRIPS : 1;
    const int64_t keys = hy_lanes_up(op->graph->shape.tokens), ld = keys + HY_LANES;
    const int64_t kw = hy_lanes_up(a->key_width), fw = hy_lanes_up(a->features);
    hy_real *next = base;
    *s = (struct space){.precision = hy_precision_of(op->graph),
                        .key_width = kw,
                        .features = fw,
                        .keys = keys,
                        .ld = ld,
                        .same = op->in[TQ] == op->in[Q] && op->in[TK] == op->in[K],
                        .near = a->window && (!backward || op->din[Q] || op->din[K])};
    s->tk_turned = hy_carve(&next, kw * ld);
    s->g_turned = hy_carve(&next, fw * ld);
    s->k = hy_carve(&next, keys * kw);
    s->g = hy_carve(&next, keys * fw);
    s->tq = hy_carve(&next, STRIP * kw);
    s->f = hy_carve(&next, strips * STRIP * fw);
    s->p = hy_carve(&next, STRIP * ld);
    s->u = hy_carve(&next, strips * STRIP * ld);
    if (s->near) {
        s->k_turned = s->same ? s->tk_turned : hy_carve(&next, kw * ld);
        s->q = s->same ? s->tq : hy_carve(&next, STRIP * kw);
        s->l = hy_carve(&next, STRIP * ld);
    }
    if (backward) {
        s->dq = hy_carve(&next, STRIP * kw);
        s->dk = hy_carve(&next, s->near ? keys * kw : 0);
        s->df = hy_carve(&next, STRIP * fw);
        s->dg = hy_carve(&next, keys * fw);
        s->dfactor = hy_carve(&next, a->heads);
    }
    return next - base;
}

static size_t transfer_scratch(const struct hy_op *op)
{
    static hy_real origin[1];
    struct space s;
    return (size_t)lay_out(op, origin, &s) * sizeof(hy_real);
}

static struct hy_transfer_mix mix_of(const struct hy_op *op, int r, int64_t h)
{
    const struct hy_transfer *a = op->attr;
    struct hy_transfer_mix m = {1, 0, 1, 0};
    if (op->in[FACTOR]) {
        const hy_real factor = hy_real_data(op->in[FACTOR], r)[h];
        m.gamma = hy_sigmoid(factor);
        m.log_gamma = hy_log_sigmoid(factor);
        m.lin = a->affine ? hy_sigmoid(-factor) : 1;
        m.log_lin = a->affine ? hy_log_sigmoid(-factor) : 0;
    }
    return m;
}

/* ---- Terms ---- */

/* Adds to rows of the gradient of in[i]. */
static void give(const struct hy_op *op, int i, int r, int64_t row, int64_t head, int width,
                 int64_t rows, const hy_real *from, int64_t padded_width, hy_real factor)
{
    const struct hy_tensor *d = op->din[i];
    if (d)
        hy_unpack(from, padded_width, factor, rows, width, 1, hy_head_of(d, r, row, head, width),
                  d->ld);
}

/* Keys of one sequence and head by rows, and turned. */
static void pack_keys(const struct hy_op *op, int i, int r, int64_t row, int64_t head, int width,
                      int64_t padded_width, const struct space *s, hy_real *to, hy_real *turned)
{
    const struct hy_tensor *t = op->in[i];
    hy_pack(hy_head_of(t, r, row, head, width), t->ld, op->graph->shape.tokens, width, 1, s->keys,
            padded_width, to);
    hy_micro_transpose(s->keys, padded_width, to, padded_width, turned, s->ld);
}

/* What head h of a sequence reads that the head before it did not. */
static void pack_head(const struct hy_op *op, int r, int64_t row, int64_t h, const struct space *s)
{
    const struct hy_transfer *a = op->attr;
    const int64_t group = a->heads / a->kv_heads, g_group = a->heads / a->g_heads;
    if (h % group == 0) {
        pack_keys(op, TK, r, row, h / group, a->key_width, s->key_width, s, s->k, s->tk_turned);
        if (s->near && !s->same)
            pack_keys(op, K, r, row, h / group, a->key_width, s->key_width, s, s->k, s->k_turned);
    }
    if (h % g_group == 0)
        pack_keys(op, G, r, row, h / g_group, a->features, s->features, s, s->g, s->g_turned);
}

/* The first key of the window of token t; behind t where there is none. */
static int64_t window_of(const struct hy_transfer *a, int64_t t)
{
    return a->window ? hy_window_first(a->window, a->terraced, t) : t + 1;
}

static struct strip strip_at(const struct hy_op *op, int64_t from)
{
    const int64_t count = hy_min(op->graph->shape.tokens - from, STRIP);
    struct strip p = {.from = from, .count = count, .seen = hy_lanes_up(from + count)};
    p.far = hy_lanes_up(window_of(op->attr, from + count - 1));
    p.first = window_of(op->attr, from) / HY_LANES * HY_LANES;
    return p;
}

/* The terms of the strip's i-th query; its u is the row-th. */
static struct hy_transfer_terms terms_of(const struct hy_op *op, const struct space *s,
                                         const struct strip *p, int64_t i, int64_t row)
{
    const int64_t t = p->from + i;
    return (struct hy_transfer_terms){(int32_t)window_of(op->attr, t), (int32_t)t + 1,
                                      s->p + i * s->ld, s->near ? s->l + i * s->ld : NULL,
                                      s->u + row * s->ld};
}

static void load_queries(const struct hy_op *op, int i, int r, int64_t row, int64_t h, int width,
                         int64_t count, hy_real factor, int64_t padded_width, hy_real *to)
{
    const struct hy_tensor *t = op->in[i];
    hy_pack(hy_head_of(t, r, row, h, width), t->ld, count, width, factor, STRIP, padded_width, to);
}

/* out = q k' for a strip of queries and the keys [from, to). */
static void score(const struct space *s, const hy_real *q, int64_t width, const hy_real *turned,
                  int64_t from, int64_t to, hy_real *out)
{
    if (from < to)
        hy_micro_mul(s->precision, STRIP, to - from, width, (struct hy_left){q, width, 1},
                     turned + from, s->ld, NULL, NULL, out + from, s->ld);
}

/* Makes p of keys below `teacher`, l in the window and u outside it; f and u go to the row-th row
 * of the block. */
static void make_terms(const struct hy_op *op, int r, int64_t first_row, int64_t h,
                       const struct space *s, const struct strip *p, int64_t teacher, int64_t row)
{
    const struct hy_transfer *a = op->attr;
    const int64_t at = first_row + p->from;
    hy_real *f = s->f + row * s->features;
    load_queries(op, TQ, r, at, h, a->key_width, p->count, (hy_real)a->scale, s->key_width, s->tq);
    load_queries(op, F, r, at, h, a->features, p->count, 1, s->features, f);
    score(s, s->tq, s->key_width, s->tk_turned, 0, teacher, s->p);
    score(s, f, s->features, s->g_turned, 0, p->far, s->u + row * s->ld);
    if (!s->near)
        return;
    if (!s->same) {
        load_queries(op, Q, r, at, h, a->key_width, p->count, (hy_real)a->scale, s->key_width,
                     s->q);
        score(s, s->q, s->key_width, s->k_turned, p->first, p->seen, s->l);
        return;
    }
    for (int64_t i = 0; i < STRIP; i++)
        memcpy(s->l + i * s->ld + p->first, s->p + i * s->ld + p->first,
               (size_t)(p->seen - p->first) * sizeof *s->l);
}

/* ---- Forward ---- */

static void transfer_forward(const struct hy_op *op, int r)
{
    const struct hy_transfer *a = op->attr;
    const int64_t tokens = op->graph->shape.tokens;
    struct space s;
    lay_out(op, hy_real_data(op->scratch, r), &s);
    for (int64_t head = 0; head < op->graph->shape.batch * a->heads; head++) {
        const int64_t h = head % a->heads, row = head / a->heads * tokens;
        const struct hy_transfer_mix m = mix_of(op, r, h);
        pack_head(op, r, row, h, &s);
        for (int64_t from = 0; from < tokens; from += STRIP) {
            const struct strip p = strip_at(op, from);
            make_terms(op, r, row, h, &s, &p, p.seen, 0);
            for (int64_t i = 0; i < p.count; i++) {
                const struct hy_transfer_terms w = terms_of(op, &s, &p, i, i);
                *hy_head_of(op->out[Y], r, row + from + i, h, 1) = hy_transfer_query(
                    &w, &m, hy_head_of(op->out[KEPT], r, row + from + i, h, HY_TOLD));
            }
        }
    }
}

/* ---- Backward ---- */

/* The strip's u and l become gradients; of queries that there are not, 0. Returns what it adds to
 * the gradient of the head's factor. */
static hy_real differentiate_strip(const struct hy_op *op, int r, int64_t first_row, int64_t h,
                                   const struct space *s, const struct strip *p, int64_t row)
{
    const struct hy_transfer *a = op->attr;
    const struct hy_transfer_mix m = mix_of(op, r, h);
    hy_real pull = 0;
    for (int64_t i = 0; i < STRIP; i++) {
        const struct hy_transfer_terms w = terms_of(op, s, p, i, row + i);
        if (i >= p->count) {
            memset(w.u, 0, (size_t)p->far * sizeof *w.u);
            if (s->near)
                memset(w.l + p->first, 0, (size_t)(p->seen - p->first) * sizeof *w.l);
            continue;
        }
        const hy_real *told = hy_head_of(op->out[KEPT], r, first_row + p->from + i, h, HY_TOLD);
        const hy_real dy = *hy_head_of(op->dout[Y], r, first_row + p->from + i, h, 1);
        hy_transfer_query_far(&w, &m, told, dy, p->far);
        if (s->near)
            hy_transfer_query_window(&w, &m, told, dy, p->first, p->seen);
        pull += dy * told[HY_TOLD_PULL];
    }
    /* Weights do not change when all raw ones are scaled, so lin pulls as much the other way. */
    return a->affine ? pull : pull * (1 - m.gamma);
}

/* out = d x for a strip and the keys [from, to); d [STRIP, ld], x by keys. */
static void sum_by_query(const struct space *s, const hy_real *d, int64_t from, int64_t to,
                         const hy_real *x, int64_t width, hy_real *out)
{
    hy_micro_mul(s->precision, STRIP, width, to - from, (struct hy_left){d + from, s->ld, 1},
                 x + from * width, width, NULL, NULL, out, width);
}

/* out += d' x for the keys [from, to) and `queries` rows of d and x; out by keys. */
static void add_by_key(const struct space *s, const hy_real *d, int64_t from, int64_t to,
                       const hy_real *x, int64_t queries, int64_t width, hy_real *out)
{
    hy_real *at = out + from * width;
    if (from < to)
        hy_micro_mul(s->precision, to - from, width, queries, (struct hy_left){d + from, 1, s->ld},
                     x, width, at, NULL, at, width);
}

/* From the window's scores to q and k. */
static void backward_window(const struct hy_op *op, int r, int64_t first_row, int64_t h,
                            const struct space *s, const struct strip *p)
{
    const struct hy_transfer *a = op->attr;
    sum_by_query(s, s->l, p->first, p->seen, s->k, s->key_width, s->dq);
    give(op, Q, r, first_row + p->from, h, a->key_width, p->count, s->dq, s->key_width,
         (hy_real)a->scale);
    add_by_key(s, s->l, p->first, p->seen, s->q, STRIP, s->key_width, s->dk);
}

static void backward_block(const struct hy_op *op, int r, int64_t first_row, int64_t h,
                           const struct space *s, int64_t from)
{
    const struct hy_transfer *a = op->attr;
    const int64_t strips = hy_min((op->graph->shape.tokens - from + STRIP - 1) / STRIP, STRIPS);
    int64_t far[STRIPS + 1] = {0};
    for (int64_t i = 0; i < strips; i++) {
        const struct strip p = strip_at(op, from + i * STRIP);
        make_terms(op, r, first_row, h, s, &p, s->near ? p.seen : p.far, i * STRIP);
        s->dfactor[h] += differentiate_strip(op, r, first_row, h, s, &p, i * STRIP);
        if (op->din[F])
            sum_by_query(s, s->u + i * STRIP * s->ld, 0, p.far, s->g, s->features, s->df);
        give(op, F, r, first_row + p.from, h, a->features, p.count, s->df, s->features, 1);
        if (s->near)
            backward_window(op, r, first_row, h, s, &p);
        far[i + 1] = p.far;
    }
    for (int64_t i = 0; op->din[G] && i < strips; i++) /* these keys are far from the i-th on */
        add_by_key(s, s->u + i * STRIP * s->ld, far[i], far[i + 1], s->f + i * STRIP * s->features,
                   (strips - i) * STRIP, s->features, s->dg);
}

/* Sums over the heads that share keys begin with the first of them and end with the last. */
static void backward_head(const struct hy_op *op, int r, int64_t row, int64_t h,
                          const struct space *s)
{
    const struct hy_transfer *a = op->attr;
    const int64_t tokens = op->graph->shape.tokens;
    const int64_t group = a->heads / a->kv_heads, g_group = a->heads / a->g_heads;
    pack_head(op, r, row, h, s);
    if (s->near && h % group == 0)
        memset(s->dk, 0, (size_t)(s->keys * s->key_width) * sizeof *s->dk);
    if (h % g_group == 0)
        memset(s->dg, 0, (size_t)(s->keys * s->features) * sizeof *s->dg);
    for (int64_t from = 0; from < tokens; from += BLOCK)
        backward_block(op, r, row, h, s, from);
    if (s->near && (h + 1) % group == 0)
        give(op, K, r, row, h / group, a->key_width, tokens, s->dk, s->key_width, 1);
    if ((h + 1) % g_group == 0)
        give(op, G, r, row, h / g_group, a->features, tokens, s->dg, s->features, 1);
}

static void transfer_backward(const struct hy_op *op, int r)
{
    const struct hy_transfer *a = op->attr;
    struct space s;
    lay_out(op, hy_real_data(op->scratch, r), &s);
    /* Two inputs may be one tensor, whose gradient gets parts of both in an order of their own. */
    for (int i = TQ; i < FACTOR; i++)
        hy_clear_din(op, i, r);
    memset(s.dfactor, 0, (size_t)a->heads * sizeof *s.dfactor);
    for (int64_t head = 0; head < op->graph->shape.batch * a->heads; head++)
        backward_head(op, r, head / a->heads * op->graph->shape.tokens, head % a->heads, &s);
    hy_fold_din(op, FACTOR, r, s.dfactor);
}

/* Pairs of a query and a key outside its window, or in it, over all heads and sequences. */
static double pairs_of(const struct hy_op *op, int in_window)
{
    const struct hy_transfer *a = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    double pairs = 0;
    for (int64_t t = 0; t < shape->tokens; t++) {
        const int64_t low = window_of(a, t);
        pairs += (double)(in_window ? t + 1 - low : low);
    }
    return pairs * a->heads * shape->batch;
}

static void transfer_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const struct hy_transfer *a = op->attr;
    const double far = pairs_of(op, 0), near = pairs_of(op, 1);
    const int same = op->in[TQ] == op->in[Q] && op->in[TK] == op->in[K];
    if (op->pass == HY_FORWARD)
        cost->flops = (far + near) * (2 * a->key_width + 4) + far * (2 * a->features + 5) +
                      near * ((same ? 0 : 2 * a->key_width) + 6);
    else
        cost->flops = far * (2 * a->features * (!!op->din[F] + !!op->din[G]) + 6) +
                      near * (2 * a->key_width * (!!op->din[Q] + !!op->din[K]) + 6);
    cost->bytes = hy_op_bytes(op);
}

static int transfer_example(struct hy_graph *g, int index)
{
    static const struct hy_transfer cases[] = {
        {2, 2, 2, 3, 4, 0.5, 0, 0, 0}, {2, 2, 2, 3, 4, 0.5, 3, 0, 0}, {2, 1, 1, 3, 4, 0.5, 2, 1, 0},
        {4, 2, 4, 3, 2, 0.5, 3, 0, 1}, {4, 1, 2, 3, 2, 0.5, 5, 1, 1}, {2, 2, 2, 3, 4, 0.5, 3, 0, 0},
    };
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const struct hy_transfer *a = &cases[index];
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t qs = (int64_t)a->heads * a->key_width, ks = (int64_t)a->kv_heads * a->key_width;
    struct hy_tensor *views[2];
    struct hy_transfer_in in = {.tq = hy_graph_input(g, "tq", HY_REAL, rows, qs),
                                .tk = hy_graph_input(g, "tk", HY_REAL, rows, ks)};
    hy_graph_split(
        g, hy_graph_leaf(g, "fg", rows, (int64_t)(a->heads + a->g_heads) * a->features, 0.1, 1), 2,
        (int64_t[]){(int64_t)a->heads * a->features, (int64_t)a->g_heads * a->features}, views);
    in.f = views[0];
    in.g = views[1];
    if (index == 5) { /* the student's scores are the teacher's */
        in.q = in.tq;
        in.k = in.tk;
    } else if (a->window) {
        hy_graph_split(g, hy_graph_leaf(g, "qk", rows, qs + ks, -2, 2), 2, (int64_t[]){qs, ks},
                       views);
        in.q = views[0];
        in.k = views[1];
    }
    if (a->window && index != 2)
        in.factor = hy_graph_leaf(g, "factor", 1, a->heads, -3, 1);
    hy_transfer(g, &in, a);
    return 1;
}

const struct hy_op_kind hy_op_transfer = {
    .name = "transfer",
    .forward = transfer_forward,
    .backward = transfer_backward,
    .cost = transfer_cost,
    .scratch = transfer_scratch,
    .backward_in = (1u << INPUTS) - 1,
    .backward_out = 1u << KEPT,
    .example = transfer_example,
};

/* Do the inputs have the shapes that a implies? */
static int fits(struct hy_graph *g, struct hy_tensor *const *in, const struct hy_transfer *a)
{
    static const char *const names[] = {"the teacher's q", "the teacher's k", "q", "k", "f", "g"};
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t qs = (int64_t)a->heads * a->key_width, ks = (int64_t)a->kv_heads * a->key_width;
    const int64_t cols[] = {
        qs, ks, qs, ks, (int64_t)a->heads * a->features, (int64_t)a->g_heads * a->features};
    for (int i = 0; i <= G; i++)
        if (in[i] && !hy_has_shape(g, "transfer", names[i], in[i], rows, cols[i]))
            return 0;
    return !in[FACTOR] || hy_has_shape(g, "transfer", "factor", in[FACTOR], 1, a->heads);
}

struct hy_tensor *hy_transfer(struct hy_graph *g, const struct hy_transfer_in *in,
                              const struct hy_transfer *s)
{
    struct hy_tensor *ins[INPUTS] = {in->tq, in->tk, NULL, NULL, in->f, in->g, NULL};
    if (!in->tq || !in->tk || !in->f || !in->g || (s->window && (!in->q || !in->k)))
        return hy_graph_fail(g, "transfer: an input is missing");
    if (g->shape.mode == HY_CACHED)
        return hy_graph_fail(g, "transfer: a cached graph has no teacher");
    if (s->heads < 1 || s->kv_heads < 1 || s->g_heads < 1 || s->heads % s->kv_heads ||
        s->heads % s->g_heads || s->key_width < 1 || s->features < 1 || s->window < 0)
        return hy_graph_fail(g, "transfer: %d heads, %d of keys, %d of features, window %d",
                             s->heads, s->kv_heads, s->g_heads, s->window);
    if (s->window) {
        ins[Q] = in->q;
        ins[K] = in->k;
        ins[FACTOR] = in->factor;
    }
    if (!fits(g, ins, s))
        return NULL;
    struct hy_tensor *out[] = {hy_graph_tensor(g, in->tq->rows, s->heads),
                               hy_graph_tensor(g, in->tq->rows, (int64_t)s->heads * HY_TOLD)};
    if (!out[KEPT] || !hy_graph_op(g, &hy_op_transfer, INPUTS, ins, 2, out, s, sizeof *s))
        return NULL;
    out[KEPT]->differentiable = 0; /* for backward alone */
    return out[Y];
}
