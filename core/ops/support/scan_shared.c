/* scan_shared.c - the gated scan of heads that share q and k and decay all channels alike, as in
 * Mamba-2: a chunk at a time for all of them, instead of a block at a time for each.
 *
 * What q and k have among themselves is made once for all heads. L is the decay between two rows:
 *     G = q k',  P = G * L,  o = I (q S) + P v,  S <- F S + k' (R v)
 * Backward, where the heads' shares of dq and dk are summed:
 *     dv = R (k dS) + P' do,  dP = do v',  dG = sum of dP * L
 *     dq = sum of (I do) S' + dG k,  dk = sum of (R v) dS' + dG' q
 *     dS <- F dS + q' (I do)
 * dg is as in scan.h, with q dq = q ((I do) S') + rowsum(dP * P), and v dv in place of k dk: either
 * is what the loss takes from all that a token writes. This is the chunkwise form of arXiv
 * 2405.21060, walked in order. */
#include "core/ops/support/scan_shared.h"

#include <string.h>

#include "core/ops/support/vec.h"

/* Rows of a triangular product that are multiplied at a time: fewer leave out more of what lies
 * beyond the diagonal, more keep the product fast. */
enum { STRIP = 2 * B };

/* For chunks of C rows at most, in whole blocks. */
struct shared {
    const struct hy_scan_plan *plan;
    int64_t C;
    hy_real *states;      /* [sharing, kp, vp] where training does not keep them */
    hy_real *q, *k;       /* [C, kp], q scaled */
    hy_real *turned_k;    /* [kp, C] */
    hy_real *gram;        /* [C, C] G */
    hy_real *step;        /* [C] decay of each row */
    hy_real *into, *rest; /* [C] from the chunk's entry; to its end, without the row's */
    hy_real *through;     /* [kp] of the chunk, for each row of the state */
    hy_real *between;     /* [C, C] L, 0 above the diagonal */
    hy_real *pair;        /* [C, C] P */
    hy_real *v, *o;       /* [C, vp]; backward: o is do */
    /* Backward only. */
    hy_real *dstates;               /* [sharing, kp, vp] */
    hy_real *dv;                    /* [C, vp] */
    hy_real *dpair, *dgram;         /* [C, C] */
    hy_real *rates;                 /* [C] q dq - v dv, then dg */
    hy_real *turned_v, *turned_o;   /* [vp, C] */
    hy_real *turned_q;              /* [kp, C] */
    hy_real *turned_dq, *turned_dk; /* [kp, C] */
    hy_real *turned_read;           /* [kp, C] a head's (I do) S' */
    hy_real *dq, *dk;               /* [C, kp] */
};

/* A chunk; rows beyond `rows` are zero and decay nothing. */
struct span {
    int64_t sequence, chunk;
    int64_t first, rows; /* in the tensors */
    int64_t size;        /* in whole blocks */
};

/* Returns the number of elements. base NULL: only counts. */
static int64_t take_shared(const struct hy_scan_plan *p, hy_real *base, struct shared *s)
{
    const int64_t C = p->blocks * B, kp = p->kp, vp = p->vp;
    const int64_t states = p->sharing * p->state;
    int64_t used = 0;
    *s = (struct shared){.plan = p, .C = C};
    s->states = hy_scan_take(base, &used, p->op->out[HY_SCAN_STATES] ? 0 : states);
    s->q = hy_scan_take(base, &used, C * kp);
    s->k = hy_scan_take(base, &used, C * kp);
    s->turned_k = hy_scan_take(base, &used, C * kp);
    s->gram = hy_scan_take(base, &used, C * C);
    s->step = hy_scan_take(base, &used, C);
    s->into = hy_scan_take(base, &used, C);
    s->rest = hy_scan_take(base, &used, C);
    s->through = hy_scan_take(base, &used, kp);
    s->between = hy_scan_take(base, &used, C * C);
    s->pair = hy_scan_take(base, &used, C * C);
    s->v = hy_scan_take(base, &used, C * vp);
    s->o = hy_scan_take(base, &used, C * vp);
    if (p->op->pass == HY_BACKWARD) {
        s->dstates = hy_scan_take(base, &used, states);
        s->dv = hy_scan_take(base, &used, C * vp);
        s->dpair = hy_scan_take(base, &used, C * C);
        s->dgram = hy_scan_take(base, &used, C * C);
        s->rates = hy_scan_take(base, &used, C);
        s->turned_v = hy_scan_take(base, &used, C * vp);
        s->turned_o = hy_scan_take(base, &used, C * vp);
        s->turned_q = hy_scan_take(base, &used, C * kp);
        s->turned_dq = hy_scan_take(base, &used, C * kp);
        s->turned_dk = hy_scan_take(base, &used, C * kp);
        s->turned_read = hy_scan_take(base, &used, C * kp);
        s->dq = hy_scan_take(base, &used, C * kp);
        s->dk = hy_scan_take(base, &used, C * kp);
    }
    return used;
}

int64_t hy_scan_shared_elements(const struct hy_scan_plan *p)
{
    struct shared s;
    return take_shared(p, NULL, &s);
}

static struct span span_of(const struct hy_scan_plan *p, int64_t sequence, int64_t chunk)
{
    const int64_t first = chunk * p->chunk, left = p->tokens - first;
    struct span at = {.sequence = sequence, .chunk = chunk, .first = sequence * p->tokens + first};
    at.rows = left < p->chunk ? left : p->chunk;
    at.size = hy_lanes_up(at.rows);
    return at;
}

/* ---- Rows ---- */

/* to[size, padded] = scale * the columns of a head, zero elsewhere and where there is no tensor. */
static void load(const struct shared *s, const struct span *at, const struct hy_tensor *t,
                 int64_t head, int64_t width, hy_real scale, hy_real *to)
{
    const int64_t padded = hy_lanes_up(width);
    for (int64_t i = 0; i < at->size; i += B) {
        const int64_t left = at->rows - i;
        hy_scan_load(to + i * padded, padded,
                     hy_scan_part_of(s->plan, t, at->first + i, head, width),
                     t ? (int)(left < B ? left : B) : 0, width, scale);
    }
}

/* Asks for half the rows of a head before they are due. Between products, as few can be under way
 * at a time. */
static void fetch(const struct shared *s, const struct span *at, const struct hy_tensor *t,
                  int64_t head, int half)
{
    const int64_t middle = at->size / 2 / B * B;
    for (int64_t i = half ? middle : 0; head < s->plan->heads && i < (half ? at->size : middle);
         i += B)
        hy_scan_fetch(s->plan, t, at->first + i, head, s->plan->v);
}

static void store(const struct shared *s, const struct span *at, int input, int64_t head,
                  int64_t width, hy_real scale, const hy_real *from)
{
    const struct hy_tensor *t = s->plan->op->din[input];
    if (t)
        hy_scan_store(hy_scan_part_of(s->plan, t, at->first, head, width), from, hy_lanes_up(width),
                      at->rows, width, scale, hy_adds(s->plan->op, input));
}

static void scale_rows(int64_t rows, int64_t width, const hy_real *factors, hy_real *x)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c += B)
            hy_vec_store(x + i * width + c, factors[i] * hy_vec_load(x + i * width + c));
}

/* What the heads have in common. */
static void load_keys(const struct shared *s, const struct span *at, int64_t key_head)
{
    const struct hy_scan_plan *p = s->plan;
    load(s, at, p->op->in[HY_SCAN_Q], key_head, p->k, p->scale, s->q);
    load(s, at, p->op->in[HY_SCAN_K], key_head, p->k, 1, s->k);
    hy_micro_transpose(at->size, p->kp, s->k, p->kp, s->turned_k, s->C);
    hy_micro_mul(p->precision, at->size, at->size, p->kp, hy_left_plain(s->q, p->kp), s->turned_k,
                 s->C, NULL, NULL, s->gram, s->C);
}

/* The decays of a head, and with them L and P. */
static void load_decays(const struct shared *s, const struct span *at, int64_t head)
{
    const struct hy_scan_plan *p = s->plan;
    const int constant = p->decay == DECAY_CONSTANT;
    const struct hy_scan_part from =
        hy_scan_part_of(p, p->op->in[HY_SCAN_DECAY], constant ? 0 : at->first, head, 1);
    hy_real into = 1, rest = 1;
    for (int64_t i = 0; i < at->size; i++)
        s->step[i] = from.data && i < at->rows ? from.data[constant ? 0 : i * from.ld] : 0;
#pragma omp simd
    for (int64_t i = 0; i < at->size; i++)
        s->step[i] = hy_exp(s->step[i]);
    for (int64_t i = 0; i < at->size; i++)
        s->into[i] = into *= s->step[i];
    for (int64_t i = at->size - 1; i >= 0; i--) {
        s->rest[i] = rest;
        rest *= s->step[i];
    }
    for (int64_t c = 0; c < p->kp; c++)
        s->through[c] = into;
    for (int64_t j = 0; j < at->size; j += B) {
        hy_vec decay = {0};
        for (int64_t i = 0; i < at->size; i++) {
            decay = decay * s->step[i] + hy_vec_only(hy_vec_all(1), (int)(i - j));
            hy_vec_store(s->between + i * s->C + j, decay);
            hy_vec_store(s->pair + i * s->C + j, decay * hy_vec_load(s->gram + i * s->C + j));
        }
    }
}

/* ---- Triangular products ---- */

static int64_t strip(int64_t size, int64_t i)
{
    return size - i < STRIP ? size - i : STRIP;
}

/* c[size, n] = keep * c + a b; a [size, size] is 0 above the diagonal. */
static void mul_lower(const struct shared *s, int64_t size, int64_t n, const hy_real *a,
                      const hy_real *b, const hy_real *keep, hy_real *c)
{
    for (int64_t i = 0; i < size; i += STRIP) {
        const int64_t rows = strip(size, i);
        hy_micro_mul(s->plan->precision, rows, n, i + rows, hy_left_plain(a + i * s->C, s->C), b, n,
                     c + i * n, keep ? keep + i : NULL, c + i * n, n);
    }
}

/* c[size, n] = keep * c + a' b. */
static void mul_lower_turned(const struct shared *s, int64_t size, int64_t n, const hy_real *a,
                             const hy_real *b, const hy_real *keep, hy_real *c)
{
    for (int64_t j = 0; j < size; j += STRIP)
        hy_micro_mul(s->plan->precision, strip(size, j), n, size - j,
                     hy_left_turned(a + j * s->C + j, s->C), b + j * n, n, c + j * n,
                     keep ? keep + j : NULL, c + j * n, n);
}

/* c[size, size] = a b, as far as the strips of its lower half reach. */
static void mul_into_lower(const struct shared *s, int64_t size, int64_t k, const hy_real *a,
                           const hy_real *b, hy_real *c)
{
    for (int64_t i = 0; i < size; i += STRIP) {
        const int64_t rows = strip(size, i);
        hy_micro_mul(s->plan->precision, rows, i + rows, k, hy_left_plain(a + i * k, k), b, s->C,
                     NULL, NULL, c + i * s->C, s->C);
    }
}

/* ---- Forward ---- */

static void forward_head(const struct shared *s, const struct span *at, int64_t head,
                         const hy_real *before, hy_real *after)
{
    const struct hy_scan_plan *p = s->plan;
    const int64_t vp = p->vp;
    load_decays(s, at, head);
    const struct hy_tensor *v = p->op->in[HY_SCAN_V];
    load(s, at, v, head, p->v, 1, s->v);
    fetch(s, at, v, head + 1, 0);
    hy_micro_mul(p->precision, at->size, vp, p->kp, hy_left_plain(s->q, p->kp), before, vp, NULL,
                 NULL, s->o, vp);
    fetch(s, at, v, head + 1, 1);
    mul_lower(s, at->size, vp, s->pair, s->v, s->into, s->o);
    hy_scan_store(hy_scan_part_of(p, p->op->out[HY_SCAN_O], at->first, head, p->v), s->o, vp,
                  at->rows, p->v, 1, 0);
    scale_rows(at->size, vp, s->rest, s->v);
    hy_micro_mul(p->precision, p->kp, vp, at->size, hy_left_turned(s->k, p->kp), s->v, vp, before,
                 s->through, after, vp);
}

/* The state of a head that enters a chunk. */
static hy_real *state_of(const struct shared *s, int64_t sequence, int64_t head, int64_t chunk)
{
    hy_real *kept = hy_scan_kept_state(s->plan, sequence, head, chunk);
    return kept ? kept : s->states + head % s->plan->sharing * s->plan->state;
}

static void forward_group(const struct shared *s, int64_t sequence, int64_t group)
{
    const struct hy_scan_plan *p = s->plan;
    const int64_t first = group * p->sharing, end = first + p->sharing;
    for (int64_t h = first; h < end; h++)
        hy_scan_load_state(p, p->op->in[HY_SCAN_H0], sequence, h, state_of(s, sequence, h, 0));
    for (int64_t chunk = 0; chunk < p->chunks; chunk++) {
        const struct span at = span_of(p, sequence, chunk);
        load_keys(s, &at, group);
        for (int64_t h = first; h < end; h++)
            forward_head(s, &at, h, state_of(s, sequence, h, chunk),
                         state_of(s, sequence, h, chunk + 1));
    }
    for (int64_t h = first; h < end; h++)
        hy_scan_store_state(p, p->op->out[HY_SCAN_HT], sequence, h,
                            state_of(s, sequence, h, p->chunks), 0);
}

void hy_scan_shared_forward(const struct hy_scan_plan *p)
{
    struct shared s;
    take_shared(p, hy_real_data(p->op->scratch, p->replica), &s);
    for (int64_t sequence = 0; sequence < p->batch; sequence++)
        for (int64_t group = 0; group < p->heads / p->sharing; group++)
            forward_group(&s, sequence, group);
}

/* ---- Backward ---- */

/* dgram += dP * L; rates = rowsum(dP * P) - v dv. */
static void backward_pairs(const struct shared *s, const struct span *at)
{
    const int64_t vp = s->plan->vp;
    mul_into_lower(s, at->size, vp, s->o, s->turned_v, s->dpair);
    for (int64_t i = 0; i < at->size; i++) {
        hy_vec sum = {0};
        for (int64_t j = 0; j <= i; j += B) {
            const int64_t ij = i * s->C + j;
            const hy_vec d = hy_vec_load(s->dpair + ij);
            sum += d * hy_vec_load(s->pair + ij);
            hy_vec_store(s->dgram + ij,
                         hy_vec_load(s->dgram + ij) + d * hy_vec_load(s->between + ij));
        }
        for (int64_t c = i * vp; c < (i + 1) * vp; c += B)
            sum -= hy_vec_load(s->v + c) * hy_vec_load(s->dv + c);
        s->rates[i] = hy_vec_sum(sum);
    }
}

/* turned_dq += S (I do)', rates += q of that; turned_dk += dS (R v)'. */
static void backward_keys(const struct shared *s, const struct span *at, const hy_real *state,
                          const hy_real *dstate)
{
    const struct hy_scan_plan *p = s->plan;
    const int64_t C = s->C, vp = p->vp;
    hy_micro_transpose(at->size, vp, s->o, vp, s->turned_o, C);
    hy_micro_mul(p->precision, p->kp, at->size, vp, hy_left_plain(state, vp), s->turned_o, C, NULL,
                 NULL, s->turned_read, C);
    for (int64_t i = 0; i < at->size; i += B) {
        hy_vec rates = hy_vec_load(s->rates + i);
        for (int64_t c = i; c < p->kp * C; c += C) {
            const hy_vec read = hy_vec_load(s->turned_read + c);
            rates += hy_vec_load(s->turned_q + c) * read;
            hy_vec_store(s->turned_dq + c, hy_vec_load(s->turned_dq + c) + read);
        }
        hy_vec_store(s->rates + i, rates);
    }
    for (int64_t i = 0; i < at->size; i += B) {
        const hy_vec rest = hy_vec_load(s->rest + i);
        for (int64_t c = i; c < vp * C; c += C)
            hy_vec_store(s->turned_v + c, rest * hy_vec_load(s->turned_v + c));
    }
    hy_micro_mul(p->precision, p->kp, at->size, vp, hy_left_plain(dstate, vp), s->turned_v, C,
                 s->turned_dk, NULL, s->turned_dk, C);
}

/* <S, dS> where the chunk ends. */
static hy_real carried(const struct hy_scan_plan *p, const hy_real *state, const hy_real *dstate)
{
    hy_vec sum = {0};
    for (int64_t i = 0; i < p->state; i += B)
        sum += hy_vec_load(state + i) * hy_vec_load(dstate + i);
    return hy_vec_sum(sum);
}

/* dg of a row: `carry`, and the rates from the row to the chunk's end. */
static void backward_decay(const struct shared *s, const struct span *at, int64_t head,
                           hy_real carry)
{
    const struct hy_scan_plan *p = s->plan;
    for (int64_t i = at->size - 1; i >= 0; i--)
        s->rates[i] = carry += s->rates[i];
    if (p->decay == DECAY_HEAD) {
        hy_scan_store(hy_scan_part_of(p, p->op->din[HY_SCAN_DECAY], at->first, head, 1), s->rates,
                      1, at->rows, 1, 1, hy_adds(p->op, HY_SCAN_DECAY));
        return;
    }
    double sum = 0;
    for (int64_t i = 0; i < at->rows; i++)
        sum += s->rates[i];
    hy_real *d = hy_scan_part_of(p, p->op->din[HY_SCAN_DECAY], 0, head, 1).data;
    const int first = at->sequence == 0 && at->chunk == p->chunks - 1;
    *d = (hy_real)(sum + (first && !hy_adds(p->op, HY_SCAN_DECAY) ? 0 : *d));
}

static void backward_head(const struct shared *s, const struct span *at, int64_t head)
{
    const struct hy_scan_plan *p = s->plan;
    const int64_t vp = p->vp;
    const hy_real *state = hy_scan_kept_state(p, at->sequence, head, at->chunk);
    hy_real *dstate = s->dstates + head % p->sharing * p->state;
    load_decays(s, at, head);
    const struct hy_tensor *v = p->op->in[HY_SCAN_V], *d_o = p->op->dout[HY_SCAN_O];
    load(s, at, v, head, p->v, 1, s->v);
    load(s, at, d_o, head, p->v, 1, s->o);
    hy_micro_transpose(at->size, vp, s->v, vp, s->turned_v, s->C);
    fetch(s, at, p->op->din[HY_SCAN_V], head, 0);
    hy_micro_mul(p->precision, at->size, vp, p->kp, hy_left_plain(s->k, p->kp), dstate, vp, NULL,
                 NULL, s->dv, vp);
    fetch(s, at, p->op->din[HY_SCAN_V], head, 1);
    mul_lower_turned(s, at->size, vp, s->pair, s->o, s->rest, s->dv);
    fetch(s, at, v, head + 1, 0);
    backward_pairs(s, at);
    store(s, at, HY_SCAN_V, head, p->v, 1, s->dv);
    scale_rows(at->size, vp, s->into, s->o);
    fetch(s, at, v, head + 1, 1);
    backward_keys(s, at, state, dstate);
    fetch(s, at, d_o, head + 1, 0);
    if (p->op->din[HY_SCAN_DECAY])
        backward_decay(
            s, at, head,
            carried(p, hy_scan_kept_state(p, at->sequence, head, at->chunk + 1), dstate));
    hy_micro_mul(p->precision, p->kp, vp, at->size, hy_left_turned(s->q, p->kp), s->o, vp, dstate,
                 s->through, dstate, vp);
    fetch(s, at, d_o, head + 1, 1);
}

static void backward_chunk(const struct shared *s, const struct span *at, int64_t group)
{
    const struct hy_scan_plan *p = s->plan;
    const int64_t C = s->C, kp = p->kp;
    load_keys(s, at, group);
    hy_micro_transpose(at->size, kp, s->q, kp, s->turned_q, C);
    memset(s->dgram, 0, (size_t)(C * C) * sizeof *s->dgram);
    memset(s->turned_dq, 0, (size_t)(C * kp) * sizeof *s->turned_dq);
    memset(s->turned_dk, 0, (size_t)(C * kp) * sizeof *s->turned_dk);
    for (int64_t h = group * p->sharing; h < (group + 1) * p->sharing; h++)
        backward_head(s, at, h);
    hy_micro_transpose(kp, at->size, s->turned_dq, C, s->dq, kp);
    hy_micro_transpose(kp, at->size, s->turned_dk, C, s->dk, kp);
    mul_lower(s, at->size, kp, s->dgram, s->k, NULL, s->dq);
    mul_lower_turned(s, at->size, kp, s->dgram, s->q, NULL, s->dk);
    store(s, at, HY_SCAN_Q, group, p->k, p->scale, s->dq);
    store(s, at, HY_SCAN_K, group, p->k, 1, s->dk);
}

void hy_scan_shared_backward(const struct hy_scan_plan *p)
{
    struct shared s;
    take_shared(p, hy_real_data(p->op->scratch, p->replica), &s);
    for (int64_t sequence = 0; sequence < p->batch; sequence++)
        for (int64_t group = 0; group < p->heads / p->sharing; group++) {
            for (int64_t i = 0; i < p->sharing; i++)
                hy_scan_load_state(p, p->op->dout[HY_SCAN_HT], sequence, group * p->sharing + i,
                                   s.dstates + i * p->state);
            for (int64_t chunk = p->chunks - 1; chunk >= 0; chunk--) {
                const struct span at = span_of(p, sequence, chunk);
                backward_chunk(&s, &at, group);
            }
            for (int64_t i = 0; i < p->sharing; i++)
                hy_scan_store_state(p, p->op->din[HY_SCAN_H0], sequence, group * p->sharing + i,
                                    s.dstates + i * p->state, hy_adds(p->op, HY_SCAN_H0));
        }
}
