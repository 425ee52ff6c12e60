#include "core/ops/support/scan.h"

#include <string.h>

#include "core/ops/support/pair.h"
#include "core/ops/support/vec.h"

enum { B = HY_LANES, DEFAULT_CHUNK = 64 };

enum decay { DECAY_NONE, DECAY_CONSTANT, DECAY_HEAD, DECAY_CHANNEL };

/* What is fixed for an op; widths with a p are padded to whole lanes. */
struct plan {
    const struct hy_op *op;
    int replica;
    enum decay decay;
    int delta;
    int64_t heads, batch, tokens, chunk, chunks,
        blocks;                  /* chunks of a sequence, blocks of a chunk */
    int64_t k, v, kp, vp, state; /* state: elements of a padded state */
    hy_real scale;
};

/* The part of a tensor that belongs to a head: columns [head * width, ...) from row `row`. */
struct part {
    hy_real *data;
    int64_t ld;
};

/* A block of B rows; rows beyond `rows` are zero and decay nothing. */
struct block {
    int rows;
    int64_t row;      /* in the sequences' tensors */
    hy_real *q, *k;   /* [B, kp], q scaled */
    hy_real *w;       /* [B, vp] what is written to the state */
    hy_real *y;       /* [B, vp] delta: the errors */
    hy_real *beta;    /* [B] delta */
    hy_real *step;    /* [B, kp] decay of each row */
    hy_real *in;      /* [B, kp] decay from the block's entry to the row, the row's own included */
    hy_real *rest;    /* [B, kp] decay from the row to the block's end */
    hy_real *between; /* [B, B] where channels decay alike, see pair.h */
    hy_real *state;   /* [kp, vp] entering */
};

struct work {
    struct block *blocks;     /* of a chunk; forward uses one */
    hy_real *ones;            /* [kp] */
    hy_real *read;            /* [2B, kp] I q and, below, I k */
    hy_real *write;           /* [B, kp] R k */
    hy_real *values;          /* [2B, vp] forward: o, then what k reads; backward: do, then -dz */
    hy_real *turned_k;        /* [kp, B] */
    hy_real *pair_q, *pair_k; /* [B, B] */
    /* Backward only. */
    hy_real *dstate;         /* [kp, vp] of the leaving state */
    hy_real *dw;             /* [B, vp] */
    hy_real *turned_w;       /* [vp, B] */
    hy_real *turned_values;  /* [vp, 2B] */
    hy_real *turned_read;    /* [kp, 2B] */
    hy_real *turned_write;   /* [kp, B] */
    hy_real *dread, *dwrite; /* [2B, kp] dq and dk as reader; [B, kp] dk as writer */
    hy_real *carry;          /* [kp] gradient of the log decay summed over later rows */
    hy_real *rates;          /* [B] dbeta, dg of a block */
};

static struct plan make_plan(const struct hy_op *op, int replica)
{
    const struct hy_scan *s = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const struct hy_tensor *decay = op->in[HY_SCAN_DECAY];
    struct plan p = {
        .op = op,
        .replica = replica,
        .delta = op->in[HY_SCAN_BETA] != NULL,
        .heads = s->heads,
        .batch = shape->batch,
        .tokens = shape->tokens,
        .chunk = s->chunk,
        .k = s->key_width,
        .v = s->value_width,
        .kp = hy_lanes_up(s->key_width),
        .vp = hy_lanes_up(s->value_width),
        .scale = (hy_real)s->scale,
    };
    p.chunks = (p.tokens + p.chunk - 1) / p.chunk;
    p.blocks = ((p.chunk < p.tokens ? p.chunk : p.tokens) + B - 1) / B;
    p.state = p.kp * p.vp;
    if (decay && decay->cols == p.heads)
        p.decay = decay->rows == op->in[HY_SCAN_Q]->rows ? DECAY_HEAD : DECAY_CONSTANT;
    else if (decay)
        p.decay = DECAY_CHANNEL;
    return p;
}

/* ---- Scratch ---- */

/* Counts, and where there is memory hands out, whole vectors; one more between arrays keeps arrays
 * of 4 KiB from sharing the low bits of their addresses, which would stall loads behind stores. */
static hy_real *take(hy_real *base, int64_t *used, int64_t count)
{
    hy_real *at = base ? base + *used : NULL;
    *used += hy_lanes_up(count) + B;
    return at;
}

static void take_block(const struct plan *p, hy_real *base, int64_t *used, struct block *b)
{
    b->q = take(base, used, B * p->kp);
    b->k = take(base, used, B * p->kp);
    b->w = take(base, used, B * p->vp);
    b->y = p->delta ? take(base, used, B * p->vp) : NULL;
    b->beta = p->delta ? take(base, used, B) : NULL;
    b->step = take(base, used, B * p->kp);
    b->in = take(base, used, B * p->kp);
    b->rest = take(base, used, B * p->kp);
    b->between = p->decay == DECAY_CHANNEL ? NULL : take(base, used, B * B);
    b->state = take(base, used, p->state);
}

/* Returns the number of elements. base NULL: only counts. */
static int64_t take_work(const struct plan *p, hy_real *base, struct work *w)
{
    const int backward = p->op->pass == HY_BACKWARD;
    const int64_t count = backward ? p->blocks : 1;
    int64_t used = 0;
    w->blocks = (struct block *)take(
        base, &used,
        (count * (int64_t)sizeof *w->blocks + (int64_t)sizeof *base - 1) / (int64_t)sizeof *base);
    for (int64_t i = 0; i < count; i++) {
        struct block unplaced;
        take_block(p, base, &used, base ? &w->blocks[i] : &unplaced);
    }
    w->ones = take(base, &used, p->kp > B ? p->kp : B);
    w->read = take(base, &used, 2 * B * p->kp);
    w->write = take(base, &used, B * p->kp);
    w->values = take(base, &used, 2 * B * p->vp);
    w->turned_k = take(base, &used, B * p->kp);
    w->pair_q = take(base, &used, B * B);
    w->pair_k = take(base, &used, B * B);
    if (backward) {
        w->dstate = take(base, &used, p->state);
        w->dw = take(base, &used, B * p->vp);
        w->turned_w = take(base, &used, B * p->vp);
        w->turned_values = take(base, &used, 2 * B * p->vp);
        w->turned_read = take(base, &used, 2 * B * p->kp);
        w->turned_write = take(base, &used, B * p->kp);
        w->dread = take(base, &used, 2 * B * p->kp);
        w->dwrite = take(base, &used, B * p->kp);
        w->carry = take(base, &used, p->kp);
        w->rates = take(base, &used, B);
    }
    for (int64_t c = 0; base && c < (p->kp > B ? p->kp : B); c++)
        w->ones[c] = 1;
    return used;
}

size_t hy_scan_scratch(const struct hy_op *op)
{
    const struct plan p = make_plan(op, 0);
    struct work w;
    return (size_t)take_work(&p, NULL, &w) * sizeof(hy_real);
}

/* ---- Moving blocks in and out ---- */

static struct part part_of(const struct plan *p, const struct hy_tensor *t, int64_t row,
                           int64_t head, int64_t width)
{
    if (!t)
        return (struct part){0};
    return (struct part){hy_real_data(t, p->replica) + row * t->ld + head * width, t->ld};
}

/* to[B, padded] = scale * from[rows, cols], zero elsewhere. */
static void load(hy_real *restrict to, int64_t padded, struct part from, int rows, int64_t cols,
                 hy_real scale)
{
    for (int i = 0; i < rows; i++) {
        const hy_real *restrict row = from.data + i * from.ld;
        for (int64_t c = 0; c < cols; c++)
            to[i * padded + c] = scale * row[c];
        for (int64_t c = cols; c < padded; c++)
            to[i * padded + c] = 0;
    }
    memset(to + rows * padded, 0, (size_t)((B - rows) * padded) * sizeof *to);
}

static void store(struct part to, const hy_real *restrict from, int64_t padded, int64_t rows,
                  int64_t cols, hy_real scale, int add)
{
    for (int64_t i = 0; i < rows; i++) {
        hy_real *restrict row = to.data + i * to.ld;
        if (add)
            for (int64_t c = 0; c < cols; c++)
                row[c] += scale * from[i * padded + c];
        else
            for (int64_t c = 0; c < cols; c++)
                row[c] = scale * from[i * padded + c];
    }
}

/* A state of the tensors h0 and ht, or of their gradients; t NULL: zero. */
static void load_state(const struct plan *p, const struct hy_tensor *t, int64_t sequence,
                       int64_t head, hy_real *state)
{
    memset(state, 0, (size_t)p->state * sizeof *state);
    const struct part from = part_of(p, t, (sequence * p->heads + head) * p->k, 0, 0);
    for (int64_t c = 0; t && c < p->k; c++)
        memcpy(state + c * p->vp, from.data + c * from.ld, (size_t)p->v * sizeof *state);
}

/* Where training keeps the state entering a chunk; chunk == chunks: the last one. */
static hy_real *kept_state(const struct plan *p, int64_t sequence, int64_t head, int64_t chunk)
{
    const struct hy_tensor *t = p->op->out[HY_SCAN_STATES];
    const int64_t index = (sequence * p->heads + head) * (p->chunks + 1) + chunk;
    return hy_real_data(t, p->replica) + index * p->state;
}

static void keep_state(const struct plan *p, int64_t sequence, int64_t head, int64_t chunk,
                       const hy_real *state)
{
    if (p->op->out[HY_SCAN_STATES])
        memcpy(kept_state(p, sequence, head, chunk), state, (size_t)p->state * sizeof *state);
}

/* step = e^g, 1 where there is no decay. */
static void load_steps(const struct plan *p, struct block *b, int64_t head)
{
    const int64_t width = p->decay == DECAY_CHANNEL ? p->k : 1;
    const struct part from =
        part_of(p, p->op->in[HY_SCAN_DECAY], p->decay == DECAY_CONSTANT ? 0 : b->row, head, width);
    const int64_t ld = p->decay == DECAY_CONSTANT ? 0 : from.ld;
    for (int i = 0; i < B; i++) {
        hy_real *restrict step = b->step + i * p->kp;
        if (p->decay == DECAY_CHANNEL && i < b->rows) {
            const hy_real *restrict g = from.data + i * ld;
            for (int64_t c = 0; c < p->k; c++)
                step[c] = hy_exp(g[c]);
            for (int64_t c = p->k; c < p->kp; c++)
                step[c] = 1;
        } else {
            const hy_real all =
                p->decay != DECAY_NONE && i < b->rows ? hy_exp(from.data[i * ld]) : 1;
            for (int64_t c = 0; c < p->kp; c++)
                step[c] = all;
        }
    }
}

static void load_block(const struct plan *p, struct block *b, int64_t row, int rows, int64_t head)
{
    const struct hy_op *op = p->op;
    b->row = row;
    b->rows = rows;
    load(b->q, p->kp, part_of(p, op->in[HY_SCAN_Q], row, head, p->k), rows, p->k, p->scale);
    load(b->k, p->kp, part_of(p, op->in[HY_SCAN_K], row, head, p->k), rows, p->k, 1);
    if (p->delta)
        load(b->beta, 1, part_of(p, op->in[HY_SCAN_BETA], row, head, 1), rows, 1, 1);
    load_steps(p, b, head);
    for (int64_t c = 0; c < p->kp; c += B) {
        hy_vec in = hy_vec_all(1), rest = in;
        for (int i = 0; i < B; i++) {
            in *= hy_vec_load(b->step + i * p->kp + c);
            hy_vec_store(b->in + i * p->kp + c, in);
        }
        for (int i = B - 1; i >= 0; i--) {
            hy_vec_store(b->rest + i * p->kp + c, rest);
            rest *= hy_vec_load(b->step + i * p->kp + c);
        }
    }
    if (b->between)
        hy_pair_between(p->kp, b->step, b->between);
}

/* ---- The block ---- */

static struct hy_left plain(const hy_real *data, int64_t ld)
{
    return (struct hy_left){data, ld, 1};
}

static struct hy_left turned(const hy_real *data, int64_t ld)
{
    return (struct hy_left){data, 1, ld};
}

static struct hy_pair pair_of(const struct plan *p, const struct block *b)
{
    return (struct hy_pair){p->kp, b->step, b->between};
}

/* z[B, width] = x * y, elementwise; z may be x or y. */
static void multiply(int64_t width, const hy_real *x, const hy_real *y, hy_real *z)
{
    for (int64_t i = 0; i < B * width; i += B)
        hy_vec_store(z + i, hy_vec_load(x + i) * hy_vec_load(y + i));
}

/* to = F from + (R k)' w: the state that leaves the block. to may be from. */
static void advance(const struct plan *p, const struct work *w, const struct block *b,
                    const hy_real *from, hy_real *to)
{
    if (to != from)
        memcpy(to, from, (size_t)p->state * sizeof *to);
    hy_micro_mul(p->kp, p->vp, B, turned(w->write, p->kp), b->w, p->vp, b->in + (B - 1) * p->kp, to,
                 p->vp);
}

/* y_i -= sum over j < i of pair_ij w_j, with w_j = beta_j y_j. */
static void substitute(int64_t width, const hy_real *pair, const hy_real *beta, hy_real *y,
                       hy_real *w)
{
    for (int64_t c = 0; c < width; c += B) {
        hy_vec error[B];
#pragma GCC unroll 16
        for (int i = 0; i < B; i++)
            error[i] = hy_vec_load(y + i * width + c);
#pragma GCC unroll 16
        for (int j = 0; j < B; j++) {
            const hy_vec written = error[j] * beta[j];
            hy_vec_store(y + j * width + c, error[j]);
            hy_vec_store(w + j * width + c, written);
#pragma GCC unroll 16
            for (int i = j + 1; i < B; i++)
                error[i] -= pair[i * B + j] * written;
        }
    }
}

/* dw_j -= sum over i > j of pair_ij dz_i, with dz_i = beta_i dw_i; minus_dz = -dz. */
static void substitute_back(int64_t width, const hy_real *pair, const hy_real *beta, hy_real *dw,
                            hy_real *minus_dz)
{
    for (int64_t c = 0; c < width; c += B) {
        hy_vec grad[B];
#pragma GCC unroll 16
        for (int i = 0; i < B; i++)
            grad[i] = hy_vec_load(dw + i * width + c);
#pragma GCC unroll 16
        for (int i = B - 1; i >= 0; i--) {
            const hy_vec passed = grad[i] * -beta[i];
            hy_vec_store(dw + i * width + c, grad[i]);
            hy_vec_store(minus_dz + i * width + c, passed);
#pragma GCC unroll 16
            for (int j = 0; j < i; j++)
                grad[j] += pair[i * B + j] * passed;
        }
    }
}

static void forward_block(const struct plan *p, struct work *w, struct block *b, int64_t head)
{
    const struct hy_op *op = p->op;
    const struct hy_pair pair = pair_of(p, b);
    hy_real *o = w->values, *from_k = w->values + B * p->vp;
    multiply(p->kp, b->in, b->q, w->read);
    multiply(p->kp, b->rest, b->k, w->write);
    if (p->delta)
        multiply(p->kp, b->in, b->k, w->read + B * p->kp);
    hy_micro_transpose(B, p->kp, b->k, p->kp, w->turned_k, B);
    hy_pair_forward(&pair, b->q, w->turned_k, w->pair_q);
    hy_micro_mul(p->delta ? 2 * B : B, p->vp, p->kp, plain(w->read, p->kp), b->state, p->vp, NULL,
                 o, p->vp);
    const struct part v = part_of(p, op->in[HY_SCAN_V], b->row, head, p->v);
    if (p->delta) {
        hy_pair_forward(&pair, b->k, w->turned_k, w->pair_k);
        load(b->y, p->vp, v, b->rows, p->v, 1);
        for (int64_t i = 0; i < B * p->vp; i++)
            b->y[i] -= from_k[i];
        substitute(p->vp, w->pair_k, b->beta, b->y, b->w);
        if (op->out[HY_SCAN_ERRORS])
            store(part_of(p, op->out[HY_SCAN_ERRORS], b->row, head, p->v), b->y, p->vp, b->rows,
                  p->v, 1, 0);
    } else {
        load(b->w, p->vp, v, b->rows, p->v, 1);
    }
    hy_micro_mul(B, p->vp, B, plain(w->pair_q, B), b->w, p->vp, w->ones, o, p->vp);
    store(part_of(p, op->out[HY_SCAN_O], b->row, head, p->v), o, p->vp, b->rows, p->v, 1, 0);
    advance(p, w, b, b->state, b->state);
}

/* One token per sequence: the recurrence itself, one walk over the state (two with the delta step).
 */
static void forward_token(const struct plan *p, struct work *w, struct block *b, int64_t head)
{
    const int64_t vp = p->vp;
    hy_real *restrict o = w->values, *restrict state = b->state, *restrict written = b->w;
    load(written, vp, part_of(p, p->op->in[HY_SCAN_V], b->row, head, p->v), 1, p->v, 1);
    if (p->delta) {
        for (int64_t c = 0; c < p->k; c++) {
            const hy_real k = b->k[c] * b->step[c];
            for (int64_t v = 0; v < vp; v++)
                written[v] -= k * state[c * vp + v];
        }
        for (int64_t v = 0; v < vp; v++)
            written[v] *= b->beta[0];
    }
    memset(o, 0, (size_t)vp * sizeof *o);
    for (int64_t c = 0; c < p->k; c++) {
        const hy_real q = b->q[c], k = b->k[c], step = b->step[c];
        for (int64_t v = 0; v < vp; v++) {
            const hy_real s = step * state[c * vp + v] + k * written[v];
            state[c * vp + v] = s;
            o[v] += q * s;
        }
    }
    store(part_of(p, p->op->out[HY_SCAN_O], b->row, head, p->v), o, vp, 1, p->v, 1, 0);
}

static int rows_of_block(const struct plan *p, int64_t chunk, int64_t block)
{
    const int64_t end = (chunk + 1) * p->chunk < p->tokens ? (chunk + 1) * p->chunk : p->tokens;
    const int64_t left = end - chunk * p->chunk - block * B;
    return (int)(left < 0 ? 0 : left < B ? left : B);
}

static void forward_head(const struct plan *p, struct work *w, int64_t sequence, int64_t head)
{
    const struct hy_op *op = p->op;
    struct block *b = &w->blocks[0];
    const int one_by_one = p->tokens == 1 && !op->out[HY_SCAN_ERRORS];
    load_state(p, op->in[HY_SCAN_H0], sequence, head, b->state);
    for (int64_t chunk = 0; chunk < p->chunks; chunk++) {
        keep_state(p, sequence, head, chunk, b->state);
        for (int64_t i = 0; i < p->blocks; i++) {
            const int rows = rows_of_block(p, chunk, i);
            if (rows == 0)
                break;
            load_block(p, b, sequence * p->tokens + chunk * p->chunk + i * B, rows, head);
            (one_by_one ? forward_token : forward_block)(p, w, b, head);
        }
    }
    keep_state(p, sequence, head, p->chunks, b->state);
    if (op->out[HY_SCAN_HT])
        store(part_of(p, op->out[HY_SCAN_HT], (sequence * p->heads + head) * p->k, 0, 0), b->state,
              p->vp, p->k, p->v, 1, 0);
}

void hy_scan_forward(const struct hy_op *op, int replica)
{
    const struct plan p = make_plan(op, replica);
    struct work w;
    take_work(&p, hy_real_data(op->scratch, replica), &w);
    for (int64_t sequence = 0; sequence < p.batch; sequence++)
        for (int64_t head = 0; head < p.heads; head++)
            forward_head(&p, &w, sequence, head);
}

/* ---- Backward ---- */

/* w->dw, w->values (do, -dz), and for the delta rule dbeta: what flows into the written values. */
static void backward_values(const struct plan *p, struct work *w, struct block *b, int64_t head)
{
    const struct hy_op *op = p->op;
    const struct hy_pair pair = pair_of(p, b);
    hy_real *minus_dz = w->values + B * p->vp;
    hy_micro_transpose(B, p->kp, b->k, p->kp, w->turned_k, B);
    hy_pair_forward(&pair, b->q, w->turned_k, w->pair_q);
    hy_micro_mul(B, p->vp, p->kp, plain(w->write, p->kp), w->dstate, p->vp, NULL, w->dw, p->vp);
    hy_micro_mul(B, p->vp, B, turned(w->pair_q, B), w->values, p->vp, w->ones, w->dw, p->vp);
    if (!p->delta)
        return;
    hy_pair_forward(&pair, b->k, w->turned_k, w->pair_k);
    substitute_back(p->vp, w->pair_k, b->beta, w->dw, minus_dz);
    for (int i = 0; i < B; i++) {
        hy_vec sum = {0};
        for (int64_t c = 0; c < p->vp; c += B)
            sum += hy_vec_load(b->y + i * p->vp + c) * hy_vec_load(w->dw + i * p->vp + c);
        w->rates[i] = hy_vec_sum(sum);
    }
    if (op->din[HY_SCAN_BETA])
        store(part_of(p, op->din[HY_SCAN_BETA], b->row, head, 1), w->rates, 1, b->rows, 1, 1,
              hy_adds(op, HY_SCAN_BETA));
}

/* w->dread and w->dwrite: gradients of q and k by what they read, and of k by what it writes. */
static void backward_keys(const struct plan *p, struct work *w, struct block *b)
{
    const int sides = p->delta ? 2 : 1;
    const int64_t kp = p->kp, vp = p->vp;
    const struct hy_pair pair = pair_of(p, b);
    /* Products with a transposed state: the block is turned instead, and its result turned back. */
    hy_micro_transpose(B, vp, b->w, vp, w->turned_w, B);
    for (int side = 0; side < sides; side++)
        hy_micro_transpose(B, vp, w->values + side * B * vp, vp, w->turned_values + side * B,
                           sides * B);
    hy_micro_mul(kp, sides * B, vp, plain(b->state, vp), w->turned_values, sides * B, NULL,
                 w->turned_read, sides * B);
    hy_micro_mul(kp, B, vp, plain(w->dstate, vp), w->turned_w, B, NULL, w->turned_write, B);
    for (int side = 0; side < sides; side++) {
        hy_real *dread = w->dread + side * B * kp;
        hy_micro_transpose(kp, B, w->turned_read + side * B, sides * B, dread, kp);
        multiply(kp, b->in, dread, dread);
    }
    hy_micro_transpose(kp, B, w->turned_write, B, w->dwrite, kp);
    multiply(kp, b->rest, w->dwrite, w->dwrite);

    hy_micro_mul(B, B, vp, plain(w->values, vp), w->turned_w, B, NULL, w->pair_q, B);
    hy_pair_backward(&pair, w->pair_q, b->q, b->k, w->dread, w->dwrite);
    if (!p->delta)
        return;
    hy_micro_mul(B, B, vp, plain(w->values + B * vp, vp), w->turned_w, B, NULL, w->pair_k, B);
    for (int i = 0; i < B; i++)
        w->pair_k[i * B + i] = 0; /* a token does not read what it writes itself */
    hy_pair_backward(&pair, w->pair_k, b->k, b->k, w->dread + B * kp, w->dwrite);
}

/* dg, from the end of the block to its start; also turns w->dread, w->dwrite into dq and dk. */
static void backward_decay(const struct plan *p, struct work *w, struct block *b, int64_t head,
                           double *constant)
{
    const struct hy_op *op = p->op;
    const int64_t kp = p->kp;
    hy_real *dq = w->dread, *dk_read = w->dread + B * kp, *dk = w->dwrite;
    const struct hy_tensor *ddecay = op->din[HY_SCAN_DECAY];
    for (int i = B - 1; i >= 0; i--) {
        hy_vec sum = {0};
        for (int64_t c = 0; c < kp; c += B) {
            const int64_t at = i * kp + c;
            const hy_vec k = hy_vec_load(b->k + at);
            hy_vec carry = hy_vec_load(w->carry + c);
            hy_vec key = hy_vec_load(dk + at);
            carry += hy_vec_load(b->q + at) * hy_vec_load(dq + at) - k * key;
            if (p->delta) {
                const hy_vec read = hy_vec_load(dk_read + at);
                carry += k * read;
                key += read;
                hy_vec_store(dk + at, key);
            }
            hy_vec_store(w->carry + c, carry);
            sum += carry;
            if (p->decay == DECAY_CHANNEL)
                hy_vec_store(dk_read + at, carry);
        }
        w->rates[i] = hy_vec_sum(sum);
    }
    if (!ddecay)
        return;
    const int add = hy_adds(op, HY_SCAN_DECAY);
    if (p->decay == DECAY_CHANNEL)
        store(part_of(p, ddecay, b->row, head, p->k), dk_read, kp, b->rows, p->k, 1, add);
    else if (p->decay == DECAY_HEAD)
        store(part_of(p, ddecay, b->row, head, 1), w->rates, 1, b->rows, 1, 1, add);
    else
        for (int i = 0; i < b->rows; i++)
            *constant += w->rates[i];
}

static void backward_block(const struct plan *p, struct work *w, struct block *b, int64_t head,
                           double *constant)
{
    const struct hy_op *op = p->op;
    const int64_t kp = p->kp, vp = p->vp;
    const struct hy_tensor *d_o = op->dout[HY_SCAN_O], *const *din = (const void *)op->din;
    load(w->values, vp, part_of(p, d_o, b->row, head, p->v), d_o ? b->rows : 0, p->v, 1);
    multiply(kp, b->in, b->q, w->read);
    multiply(kp, b->rest, b->k, w->write);
    if (p->delta)
        multiply(kp, b->in, b->k, w->read + B * kp);
    backward_values(p, w, b, head);
    backward_keys(p, w, b);
    backward_decay(p, w, b, head, constant);
    /* Below the B rows of do lie those of -dz, and below I q lies I k: one product. */
    hy_micro_mul(kp, vp, p->delta ? 2 * B : B, turned(w->read, kp), w->values, vp,
                 b->in + (B - 1) * kp, w->dstate, vp);
    if (din[HY_SCAN_Q])
        store(part_of(p, din[HY_SCAN_Q], b->row, head, p->k), w->dread, kp, b->rows, p->k, p->scale,
              hy_adds(op, HY_SCAN_Q));
    if (din[HY_SCAN_K])
        store(part_of(p, din[HY_SCAN_K], b->row, head, p->k), w->dwrite, kp, b->rows, p->k, 1,
              hy_adds(op, HY_SCAN_K));
    if (din[HY_SCAN_V])
        store(part_of(p, din[HY_SCAN_V], b->row, head, p->v), p->delta ? w->values + B * vp : w->dw,
              vp, b->rows, p->v, p->delta ? -1 : 1, hy_adds(op, HY_SCAN_V));
}

/* Loads a chunk's blocks and rebuilds the states between them. Returns the number of blocks. */
static int64_t rebuild_chunk(const struct plan *p, struct work *w, int64_t sequence, int64_t head,
                             int64_t chunk)
{
    const struct hy_op *op = p->op;
    int64_t i = 0;
    for (int rows; i < p->blocks && (rows = rows_of_block(p, chunk, i)) > 0; i++) {
        struct block *b = &w->blocks[i];
        load_block(p, b, sequence * p->tokens + chunk * p->chunk + i * B, rows, head);
        if (p->delta) {
            load(b->y, p->vp, part_of(p, op->out[HY_SCAN_ERRORS], b->row, head, p->v), rows, p->v,
                 1);
            for (int r = 0; r < B; r++)
                for (int64_t c = 0; c < p->vp; c++)
                    b->w[r * p->vp + c] = b->beta[r] * b->y[r * p->vp + c];
        } else {
            load(b->w, p->vp, part_of(p, op->in[HY_SCAN_V], b->row, head, p->v), rows, p->v, 1);
        }
        if (i == 0) {
            memcpy(b->state, kept_state(p, sequence, head, chunk),
                   (size_t)p->state * sizeof *b->state);
        } else {
            const struct block *before = b - 1;
            multiply(p->kp, before->rest, before->k, w->write);
            advance(p, w, before, before->state, b->state);
        }
    }
    return i;
}

/* carry_c = <S, dS> of key channel c. */
static void start_carry(const struct plan *p, struct work *w, const hy_real *state)
{
    for (int64_t c = 0; c < p->kp; c++) {
        hy_vec sum = {0};
        for (int64_t v = 0; v < p->vp; v += B)
            sum += hy_vec_load(state + c * p->vp + v) * hy_vec_load(w->dstate + c * p->vp + v);
        w->carry[c] = hy_vec_sum(sum);
    }
}

static void backward_head(const struct plan *p, struct work *w, int64_t sequence, int64_t head)
{
    const struct hy_op *op = p->op;
    double constant = 0;
    load_state(p, op->dout[HY_SCAN_HT], sequence, head, w->dstate);
    for (int64_t chunk = p->chunks - 1; chunk >= 0; chunk--) {
        const int64_t blocks = rebuild_chunk(p, w, sequence, head, chunk);
        start_carry(p, w, kept_state(p, sequence, head, chunk + 1));
        for (int64_t i = blocks - 1; i >= 0; i--)
            backward_block(p, w, &w->blocks[i], head, &constant);
    }
    if (op->din[HY_SCAN_H0])
        store(part_of(p, op->din[HY_SCAN_H0], (sequence * p->heads + head) * p->k, 0, 0), w->dstate,
              p->vp, p->k, p->v, 1, hy_adds(op, HY_SCAN_H0));
    if (op->din[HY_SCAN_DECAY] && p->decay == DECAY_CONSTANT) {
        hy_real *ddecay = part_of(p, op->din[HY_SCAN_DECAY], 0, head, 1).data;
        const int add = sequence > 0 || hy_adds(op, HY_SCAN_DECAY);
        *ddecay = (hy_real)(constant + (add ? *ddecay : 0));
    }
}

void hy_scan_backward(const struct hy_op *op, int replica)
{
    const struct plan p = make_plan(op, replica);
    struct work w;
    take_work(&p, hy_real_data(op->scratch, replica), &w);
    for (int64_t sequence = 0; sequence < p.batch; sequence++)
        for (int64_t head = 0; head < p.heads; head++)
            backward_head(&p, &w, sequence, head);
}

/* ---- Building ---- */

void hy_scan_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const struct plan p = make_plan(op, 0);
    const double rows = (double)(p.batch * p.tokens * p.heads);
    const double k = (double)p.k, v = (double)p.v, decays = p.decay == DECAY_CHANNEL ? k : 1;
    const int backward = op->pass == HY_BACKWARD;
    /* Products with the state, then those within a block, of which half is above the diagonal. */
    const double products = backward ? (p.delta ? 6 : 4) : (p.delta ? 3 : 2);
    const double within = backward ? 2 * (k + v) : k + v;
    cost->flops = rows * (products * 2 * k * v + (p.delta ? 2 : 1) * B * within);
    cost->bytes = (backward ? 2 : 1) * rows * (2 * k + 2 * v + decays) * sizeof(hy_real);
}

static void *fail_shape(struct hy_graph *g, const char *op, const char *what,
                        const struct hy_tensor *t, int64_t rows, int64_t cols)
{
    return hy_graph_fail(g, "%s: %s is [%lld, %lld] where [%lld, %lld] is due", op, what,
                         (long long)t->rows, (long long)t->cols, (long long)rows, (long long)cols);
}

static int check_shapes(struct hy_graph *g, const char *op, const struct hy_scan *s,
                        struct hy_tensor *const *in)
{
    static const char *const names[HY_SCAN_INPUTS] = {"q", "k", "v", "decay", "beta", "h0"};
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t keys = (int64_t)s->heads * s->key_width;
    const int64_t due[HY_SCAN_INPUTS][2] = {
        {rows, keys},
        {rows, keys},
        {rows, (int64_t)s->heads * s->value_width},
        {rows, in[HY_SCAN_DECAY] && in[HY_SCAN_DECAY]->cols == s->heads ? s->heads : keys},
        {rows, s->heads},
        {g->shape.batch * keys, s->value_width},
    };
    if (s->heads < 1 || s->key_width < 1 || s->value_width < 1 || s->chunk < 0) {
        hy_graph_fail(g, "%s: %d heads of widths %d and %d in chunks of %d", op, s->heads,
                      s->key_width, s->value_width, s->chunk);
        return 0;
    }
    for (int i = 0; i < HY_SCAN_INPUTS; i++) {
        const struct hy_tensor *t = in[i];
        const int constant = i == HY_SCAN_DECAY && t && t->rows == 1 && t->cols == s->heads;
        if (t && !constant && (t->rows != due[i][0] || t->cols != due[i][1])) {
            fail_shape(g, op, names[i], t, due[i][0], due[i][1]);
            return 0;
        }
    }
    return 1;
}

struct hy_tensor *hy_scan_build(struct hy_graph *g, const struct hy_op_kind *kind,
                                const struct hy_scan *s, struct hy_tensor *const *in,
                                struct hy_tensor **ht)
{
    if (!in[HY_SCAN_Q] || !in[HY_SCAN_K] || !in[HY_SCAN_V] || !check_shapes(g, kind->name, s, in))
        return NULL;
    struct hy_scan attr = *s;
    attr.chunk = s->chunk ? s->chunk : DEFAULT_CHUNK;
    const struct hy_tensor *v = in[HY_SCAN_V];
    const int64_t state_rows = (int64_t)g->shape.batch * s->heads * s->key_width;
    struct hy_tensor *out[HY_SCAN_OUTPUTS] = {hy_graph_tensor(g, v->rows, v->cols)};
    if (ht && !*ht)
        *ht = hy_graph_tensor(g, state_rows, s->value_width);
    if (ht) {
        if (*ht && ((*ht)->rows != state_rows || (*ht)->cols != s->value_width))
            return fail_shape(g, kind->name, "ht", *ht, state_rows, s->value_width);
        out[HY_SCAN_HT] = *ht;
    }
    if (g->shape.mode == HY_TRAIN) {
        const int64_t chunks = (g->shape.tokens + attr.chunk - 1) / attr.chunk;
        out[HY_SCAN_STATES] =
            hy_graph_tensor(g, g->shape.batch * s->heads * (chunks + 1) * hy_lanes_up(s->key_width),
                            hy_lanes_up(s->value_width));
        if (in[HY_SCAN_BETA])
            out[HY_SCAN_ERRORS] = hy_graph_tensor(g, v->rows, v->cols);
    }
    if (!hy_graph_op(g, kind, HY_SCAN_INPUTS, in, HY_SCAN_OUTPUTS, out, &attr, sizeof attr))
        return NULL;
    for (int i = HY_SCAN_STATES; i <= HY_SCAN_ERRORS; i++)
        if (out[i])
            out[i]->differentiable = 0; /* between this op's two passes only */
    return out[HY_SCAN_O];
}
