/* linear_passes.c - the two passes of linear attention on the CPU. */
#include <string.h>

#include "core/ops/features/linear_chunks.h"
#include "core/ops/scan/scan_chunk.h"
#include "core/ops/support/pack.h"
#include "core/ops/support/tile.h"

/* Products are float32 whatever the graph's precision: of operands as small as a chunk's, rounding
 * costs more than it saves. */

/* count <= 0: there is no such chunk. */
struct chunk {
    int64_t first, count; /* tokens of the sequence */
    int64_t size;         /* in whole vectors */
    int64_t period;
    int opens; /* begins its period */
};

static struct chunk chunk_of(const struct hy_linear_chunks *c, int64_t index)
{
    const int64_t period = index / c->each, within = index % c->each;
    const int64_t begin = period * c->period + within * c->size - c->offset;
    const int64_t end =
        hy_min(hy_min(begin + c->size, (period + 1) * c->period - c->offset), c->tokens);
    struct chunk chunk = {.first = begin < 0 ? 0 : begin, .period = period};
    chunk.count = end - chunk.first;
    chunk.size = hy_lanes_up(chunk.count);
    chunk.opens = within == 0 && begin >= 0;
    return chunk;
}

/* ---- Work ---- */

/* Scratch for one head: rows of a chunk, widths padded to whole vectors. A column of ones stands
 * beside v, so that d comes out behind n, and the features' sum behind the state. */
struct work {
    const struct hy_op *op;
    const struct hy_linear_attention *s;
    int replica;
    struct hy_linear_chunks chunks;
    int64_t sequence, head;
    int64_t fp, wp, state;  /* features, value_width + 1, both padded; their product */
    int64_t rows, ld;       /* of a chunk at most; of its pairs */
    hy_real *f, *g, *v, *o; /* backward: o is the gradient of n and d */
    hy_real *turned_g, *turned_v;
    hy_real *pairs, *dpairs; /* [rows, ld] f g', and its gradient */
    hy_real *df, *dg, *dv;
    hy_real *running;          /* [fp, wp] the state of the keys that have come */
    hy_real *seen;             /* [fp, wp] what queries see of it */
    hy_real *drunning, *dseen; /* backward: their gradients */
    hy_real *turned, *dturned; /* backward: [wp, fp] seen and drunning transposed */
};

/* Carves the op's scratch; returns how many elements that takes. base NULL: only counts. */
static int64_t lay_out(const struct hy_op *op, hy_real *base, struct work *w)
{
    const struct hy_linear_attention *s = op->attr;
    const int64_t fp = hy_lanes_up(s->features), wp = hy_lanes_up(s->value_width + 1);
    const int64_t rows = hy_lanes_up(hy_min(op->graph->shape.tokens, HY_LINEAR_CHUNK));
    int64_t used = 0;
    *w = (struct work){.op = op, .s = s, .fp = fp, .wp = wp, .state = fp * wp, .rows = rows};
    w->ld = rows + HY_LANES;
    w->f = hy_scan_take(base, &used, rows * fp);
    w->g = hy_scan_take(base, &used, rows * fp);
    w->v = hy_scan_take(base, &used, rows * wp);
    w->o = hy_scan_take(base, &used, rows * wp);
    w->turned_g = hy_scan_take(base, &used, fp * w->ld);
    w->pairs = hy_scan_take(base, &used, rows * w->ld);
    if (op->pass == HY_FORWARD) {
        w->running = hy_scan_take(base, &used, w->state);
        w->seen = hy_scan_take(base, &used, w->state);
        return used;
    }
    w->turned_v = hy_scan_take(base, &used, wp * w->ld);
    w->dpairs = hy_scan_take(base, &used, rows * w->ld);
    w->df = hy_scan_take(base, &used, rows * fp);
    w->dg = hy_scan_take(base, &used, rows * fp);
    w->dv = hy_scan_take(base, &used, rows * wp);
    w->drunning = hy_scan_take(base, &used, w->state);
    w->dseen = hy_scan_take(base, &used, w->state);
    w->turned = hy_scan_take(base, &used, w->state);
    w->dturned = hy_scan_take(base, &used, w->state);
    return used;
}

size_t hy_linear_scratch(const struct hy_op *op)
{
    struct work w;
    return (size_t)lay_out(op, NULL, &w) * sizeof(hy_real);
}

static struct work work_of(const struct hy_op *op, int replica)
{
    const struct hy_tensor *dropped = op->in[HY_LINEAR_DROPPED];
    struct work w;
    lay_out(op, hy_real_data(op->scratch, replica), &w);
    w.replica = replica;
    w.chunks = hy_linear_chunks_of(op, dropped && *hy_real_data(dropped, replica) != 0);
    return w;
}

/* A head's columns of some rows of a tensor; data NULL where there is no tensor. */
struct part {
    hy_real *data;
    int64_t ld, width;
};

static struct part part_of(const struct work *w, const struct hy_tensor *t, int64_t row,
                           int64_t head, int64_t width)
{
    if (!t)
        return (struct part){.width = width};
    return (struct part){hy_real_data(t, w->replica) + row * t->ld + head * width, t->ld, width};
}

/* The rows of a chunk's queries. */
static struct part queries(const struct work *w, const struct hy_tensor *t, const struct chunk *c,
                           int64_t width)
{
    return part_of(w, t, w->sequence * w->chunks.tokens + c->first, w->head, width);
}

/* The rows of a chunk's keys, of a tensor of so many heads; they may begin before the first. */
static struct part keys(const struct work *w, const struct hy_tensor *t, const struct chunk *c,
                        int64_t heads, int64_t width)
{
    return part_of(w, t, w->sequence * w->chunks.tokens + c->first - w->chunks.lag,
                   w->head / (w->s->heads / heads), width);
}

/* Of a chunk's keys, how many are from before the first token. */
static int64_t lead_of(const struct work *w, const struct chunk *c)
{
    const struct hy_graph *g = w->op->graph;
    const int64_t lag = g->shape.mode == HY_CACHED ? w->s->lag - g->position : w->chunks.lag;
    const int64_t lead = lag - c->first;
    return lead < 0 ? 0 : hy_min(lead, c->count);
}

/* to[size, padded] = rows `lead` to count of from, zero elsewhere. */
static void load(const struct chunk *c, int64_t lead, struct part from, int64_t padded, hy_real *to)
{
    const int64_t zeros = from.data ? lead : c->size;
    memset(to, 0, (size_t)(zeros * padded) * sizeof *to);
    if (from.data)
        hy_pack(from.data + lead * from.ld, from.ld, c->count - lead, from.width, 1, c->size - lead,
                padded, to + lead * padded);
}

static void store(const struct chunk *c, int64_t lead, const hy_real *from, int64_t padded, int add,
                  struct part to)
{
    if (to.data)
        hy_unpack(from + lead * padded, padded, 1, c->count - lead, to.width, add,
                  to.data + lead * to.ld, to.ld);
}

static void load_keys(const struct work *w, const struct chunk *c)
{
    const struct hy_linear_attention *s = w->s;
    struct hy_tensor *const *in = w->op->in;
    const int64_t lead = lead_of(w, c);
    load(c, lead, keys(w, in[HY_LINEAR_G], c, s->key_heads, s->features), w->fp, w->g);
    load(c, lead, keys(w, in[HY_LINEAR_V], c, s->value_heads, s->value_width), w->wp, w->v);
    for (int64_t i = lead; i < c->count; i++)
        w->v[i * w->wp + s->value_width] = 1;
}

/* ---- States ---- */

/* A head's state in h0, ht or their gradients; of a terraced lag the one that is seen (which: 0),
 * or the running one (1). */
static struct part state_part(const struct work *w, const struct hy_tensor *t, int which)
{
    const int64_t sequence = w->chunks.terraced ? 2 * w->sequence + which : w->sequence;
    return part_of(w, t, (sequence * w->s->heads + w->head) * w->s->features, 0,
                   w->s->value_width + 1);
}

static void load_state(const struct work *w, const struct hy_tensor *t, int which, hy_real *state)
{
    const struct chunk rows = {.count = w->s->features, .size = w->fp};
    load(&rows, 0, state_part(w, t, which), w->wp, state);
}

static void store_state(const struct work *w, const hy_real *state, int add,
                        const struct hy_tensor *t, int which)
{
    const struct chunk rows = {.count = w->s->features};
    store(&rows, 0, state, w->wp, add, state_part(w, t, which));
}

/* Where training keeps what the chunks of a period read; else NULL. */
static hy_real *kept_state(const struct work *w, int64_t period)
{
    const struct hy_tensor *t = w->op->out[HY_LINEAR_STATES];
    const int64_t head = w->sequence * w->s->heads + w->head;
    return t ? hy_real_data(t, w->replica) + (head * hy_linear_periods(w->op) + period) * w->state
             : NULL;
}

/* ---- Forward ---- */

static struct hy_scan_lower lower_of(const struct work *w, const struct chunk *c)
{
    return (struct hy_scan_lower){HY_PRECISION_FLOAT32, c->size, w->ld};
}

/* x [size, ld] is 0 where a query does not see a key; of what lies above the diagonal only that is
 * cleared which products with a triangle read. */
static void mask(const struct work *w, const struct chunk *c, hy_real *x)
{
    enum { READ = 2 * HY_LANES };
    for (int64_t i = 0; i < c->size; i++) {
        const int64_t high = w->chunks.terraced ? i / w->s->lag * w->s->lag : i + 1;
        const int64_t end = hy_min((i / READ + 1) * READ, c->size);
        memset(x + i * w->ld + high, 0, (size_t)(end - high) * sizeof *x);
    }
}

static void forward_chunk(const struct work *w, const struct chunk *c)
{
    const struct hy_op *op = w->op;
    const struct hy_scan_lower lower = lower_of(w, c);
    load(c, 0, queries(w, op->in[HY_LINEAR_F], c, w->s->features), w->fp, w->f);
    load_keys(w, c);
    hy_micro_mul(HY_PRECISION_FLOAT32, c->size, w->wp, w->fp, hy_left_plain(w->f, w->fp), w->seen,
                 w->wp, NULL, NULL, w->o, w->wp);
    if (w->chunks.pairs) {
        hy_micro_transpose(c->size, w->fp, w->g, w->fp, w->turned_g, w->ld);
        hy_scan_mul_into_lower(&lower, w->fp, hy_left_plain(w->f, w->fp), w->turned_g, w->ld, NULL,
                               w->pairs);
        mask(w, c, w->pairs);
        hy_scan_mul_lower(&lower, w->wp, w->pairs, w->v, w->wp, w->o, NULL, w->o, w->wp);
    }
    hy_micro_mul(HY_PRECISION_FLOAT32, w->fp, w->wp, c->size, hy_left_turned(w->g, w->fp), w->v,
                 w->wp, w->running, NULL, w->running, w->wp);
    store(c, 0, w->o, w->wp, 0, queries(w, op->out[HY_LINEAR_N], c, w->s->value_width));
    store(c, 0, w->o + w->s->value_width, w->wp, 0, queries(w, op->out[HY_LINEAR_D], c, 1));
}

static void forward_head(struct work *w)
{
    const struct hy_op *op = w->op;
    const int64_t count = w->chunks.periods * w->chunks.each;
    hy_real *own = w->seen;
    load_state(w, op->in[HY_LINEAR_H0], 0, w->seen);
    load_state(w, op->in[HY_LINEAR_H0], w->chunks.terraced, w->running);
    for (int64_t i = 0; i < count; i++) {
        const struct chunk c = chunk_of(&w->chunks, i);
        if (c.count <= 0)
            continue;
        if (c.opens) {
            hy_real *kept = kept_state(w, c.period);
            w->seen = kept ? kept : own;
            memcpy(w->seen, w->running, (size_t)w->state * sizeof *w->seen);
        }
        forward_chunk(w, &c);
    }
    if (w->chunks.terraced)
        store_state(w, w->seen, 0, op->out[HY_LINEAR_HT], 0);
    store_state(w, w->running, 0, op->out[HY_LINEAR_HT], w->chunks.terraced);
    w->seen = own;
}

/* to = from + g v', o += f times what is seen; of one feature. */
static void step(int64_t width, hy_real f, hy_real g, const hy_real *v, const hy_real *from,
                 int sees_own, const hy_real *seen, hy_real *to, hy_real *o)
{
#pragma omp simd
    for (int64_t k = 0; k < width; k++) {
        const hy_real s = from[k] + g * v[k];
        o[k] += f * (sees_own ? s : seen[k]);
        to[k] = s;
    }
}

/* A single token (decoding) walks the state once, where it is. */
static void forward_token(const struct work *w)
{
    const struct hy_op *op = w->op;
    const int64_t width = w->s->value_width + 1;
    const int terraced = w->chunks.terraced;
    const struct chunk c = chunk_of(&w->chunks, w->chunks.offset / w->chunks.size);
    const struct part from = state_part(w, op->in[HY_LINEAR_H0], terraced);
    const struct part to = state_part(w, op->out[HY_LINEAR_HT], terraced);
    const struct part seen = state_part(w, op->in[HY_LINEAR_H0], terraced && c.opens);
    const struct part shown = state_part(w, op->out[HY_LINEAR_HT], 0);
    load(&c, 0, queries(w, op->in[HY_LINEAR_F], &c, w->s->features), w->fp, w->f);
    load_keys(w, &c);
    memset(w->o, 0, (size_t)w->wp * sizeof *w->o);
    for (int64_t k = 0; k < w->s->features; k++) {
        const hy_real *before = seen.data + k * seen.ld;
        if (terraced) {
            memmove(shown.data + k * shown.ld, before, (size_t)width * sizeof *before);
            before = shown.data + k * shown.ld;
        }
        step(width, w->f[k], w->g[k], w->v, from.data + k * from.ld, !terraced, before,
             to.data + k * to.ld, w->o);
    }
    store(&c, 0, w->o, w->wp, 0, queries(w, op->out[HY_LINEAR_N], &c, w->s->value_width));
    store(&c, 0, w->o + w->s->value_width, w->wp, 0, queries(w, op->out[HY_LINEAR_D], &c, 1));
}

void hy_linear_forward(const struct hy_op *op, int replica)
{
    struct work w = work_of(op, replica);
    const int decodes = op->graph->shape.mode == HY_CACHED && w.chunks.tokens == 1 &&
                        op->in[HY_LINEAR_H0] && op->out[HY_LINEAR_HT];
    for (w.sequence = 0; w.sequence < op->graph->shape.batch; w.sequence++)
        for (w.head = 0; w.head < w.s->heads; w.head++) {
            if (decodes)
                forward_token(&w);
            else
                forward_head(&w);
        }
}

/* ---- Backward ---- */

/* The gradients by what is within a chunk: of f g', and by it of f, g and v. */
static void backward_pairs(const struct work *w, const struct chunk *c)
{
    const struct hy_scan_lower lower = lower_of(w, c);
    hy_micro_transpose(c->size, w->fp, w->g, w->fp, w->turned_g, w->ld);
    hy_micro_transpose(c->size, w->wp, w->v, w->wp, w->turned_v, w->ld);
    hy_scan_mul_into_lower(&lower, w->fp, hy_left_plain(w->f, w->fp), w->turned_g, w->ld, NULL,
                           w->pairs);
    hy_scan_mul_into_lower(&lower, w->wp, hy_left_plain(w->o, w->wp), w->turned_v, w->ld, NULL,
                           w->dpairs);
    mask(w, c, w->pairs);
    mask(w, c, w->dpairs);
    hy_scan_mul_lower(&lower, w->fp, w->dpairs, w->g, w->fp, w->df, NULL, w->df, w->fp);
    hy_scan_mul_lower_turned(&lower, w->fp, w->dpairs, w->f, w->fp, w->dg, NULL, w->dg, w->fp);
    hy_scan_mul_lower_turned(&lower, w->wp, w->pairs, w->o, w->wp, w->dv, NULL, w->dv, w->wp);
}

static void load_backward(const struct work *w, const struct chunk *c)
{
    const struct hy_op *op = w->op;
    load(c, 0, queries(w, op->in[HY_LINEAR_F], c, w->s->features), w->fp, w->f);
    load_keys(w, c);
    load(c, 0, queries(w, op->dout[HY_LINEAR_N], c, w->s->value_width), w->wp, w->o);
    const struct part d = queries(w, op->dout[HY_LINEAR_D], c, 1);
    for (int64_t i = 0; d.data && i < c->count; i++)
        w->o[i * w->wp + w->s->value_width] = d.data[i * d.ld];
}

/* Heads that share a head of g or v add to the gradient that the first of them wrote. */
static int adds(const struct work *w, int input, int64_t heads)
{
    return hy_adds(w->op, input) || w->head % (w->s->heads / heads) != 0;
}

static void backward_chunk(const struct work *w, const struct chunk *c, const hy_real *seen,
                           hy_real *dseen)
{
    struct hy_tensor *const *din = w->op->din;
    const struct hy_linear_attention *s = w->s;
    const int64_t lead = lead_of(w, c);
    load_backward(w, c);
    hy_micro_transpose(w->fp, w->wp, seen, w->wp, w->turned, w->fp);
    hy_micro_transpose(w->fp, w->wp, w->drunning, w->wp, w->dturned, w->fp);
    hy_micro_mul(HY_PRECISION_FLOAT32, c->size, w->fp, w->wp, hy_left_plain(w->o, w->wp), w->turned,
                 w->fp, NULL, NULL, w->df, w->fp);
    hy_micro_mul(HY_PRECISION_FLOAT32, c->size, w->fp, w->wp, hy_left_plain(w->v, w->wp),
                 w->dturned, w->fp, NULL, NULL, w->dg, w->fp);
    hy_micro_mul(HY_PRECISION_FLOAT32, c->size, w->wp, w->fp, hy_left_plain(w->g, w->fp),
                 w->drunning, w->wp, NULL, NULL, w->dv, w->wp);
    if (w->chunks.pairs)
        backward_pairs(w, c);
    hy_micro_mul(HY_PRECISION_FLOAT32, w->fp, w->wp, c->size, hy_left_turned(w->f, w->fp), w->o,
                 w->wp, dseen, NULL, dseen, w->wp);
    store(c, 0, w->df, w->fp, hy_adds(w->op, HY_LINEAR_F),
          queries(w, din[HY_LINEAR_F], c, s->features));
    store(c, lead, w->dg, w->fp, adds(w, HY_LINEAR_G, s->key_heads),
          keys(w, din[HY_LINEAR_G], c, s->key_heads, s->features));
    store(c, lead, w->dv, w->wp, adds(w, HY_LINEAR_V, s->value_heads),
          keys(w, din[HY_LINEAR_V], c, s->value_heads, s->value_width));
}

/* The gradient of an input is 0 for the last keys, which come to no query. */
static void clear_unseen(const struct work *w, int input, int64_t heads, int64_t width)
{
    const int64_t count = hy_min(w->chunks.lag, w->chunks.tokens);
    const struct part to =
        part_of(w, w->op->din[input], (w->sequence + 1) * w->chunks.tokens - count,
                w->head / (w->s->heads / heads), width);
    for (int64_t i = 0; to.data && !adds(w, input, heads) && i < count; i++)
        memset(to.data + i * to.ld, 0, (size_t)width * sizeof *to.data);
}

static void backward_head(const struct work *w)
{
    const struct hy_linear_attention *s = w->s;
    hy_real *dseen = w->chunks.each > 1 ? w->dseen : w->drunning;
    load_state(w, w->op->dout[HY_LINEAR_HT], 0, w->drunning);
    memset(w->dseen, 0, (size_t)w->state * sizeof *w->dseen);
    for (int64_t i = w->chunks.periods * w->chunks.each - 1; i >= 0; i--) {
        const struct chunk c = chunk_of(&w->chunks, i);
        if (c.count <= 0)
            continue;
        backward_chunk(w, &c, kept_state(w, c.period), dseen);
        for (int64_t k = 0; c.opens && dseen != w->drunning && k < w->state; k++) {
            w->drunning[k] += dseen[k];
            dseen[k] = 0;
        }
    }
    clear_unseen(w, HY_LINEAR_G, s->key_heads, s->features);
    clear_unseen(w, HY_LINEAR_V, s->value_heads, s->value_width);
    store_state(w, w->drunning, hy_adds(w->op, HY_LINEAR_H0), w->op->din[HY_LINEAR_H0], 0);
}

void hy_linear_backward(const struct hy_op *op, int replica)
{
    struct work w = work_of(op, replica);
    for (w.sequence = 0; w.sequence < op->graph->shape.batch; w.sequence++)
        for (w.head = 0; w.head < w.s->heads; w.head++)
            backward_head(&w);
}
