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
#include "core/ops/scan/scan_shared.h"

#include <string.h>

#include "core/ops/scan/scan_chunk.h"

/* For chunks of C rows at most, in whole blocks. */
struct shared {
    const struct hy_scan_plan *plan;
    int64_t C;
    hy_real *states;              /* [sharing, kp, vp] where training does not keep them */
    hy_real *q, *k;               /* [C, kp], q scaled */
    hy_real *turned_k;            /* [kp, C] */
    hy_real *gram;                /* [C, C] G */
    struct hy_scan_decays decays; /* L: between */
    hy_real *pair;                /* [C, C] P */
    hy_real *v, *o;               /* [C, vp]; backward: o is do */
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
    hy_scan_take_decays(p, base, &used, &s->decays);
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

/* What the heads have in common. */
static void load_keys(const struct shared *s, const struct hy_scan_span *at, int64_t key_head)
{
    const struct hy_scan_plan *p = s->plan;
    hy_scan_load_rows(p, at, p->op->in[HY_SCAN_Q], key_head, p->k, p->scale, s->q);
    hy_scan_load_rows(p, at, p->op->in[HY_SCAN_K], key_head, p->k, 1, s->k);
    hy_micro_transpose(at->size, p->kp, s->k, p->kp, s->turned_k, s->C);
    hy_micro_mul(p->precision, at->size, at->size, p->kp, hy_left_plain(s->q, p->kp), s->turned_k,
                 s->C, NULL, NULL, s->gram, s->C);
}

static struct hy_scan_lower triangle(const struct shared *s, const struct hy_scan_span *at)
{
    return (struct hy_scan_lower){s->plan->precision, at->size, s->C};
}

/* ---- Forward ---- */

static void forward_head(const struct shared *s, const struct hy_scan_span *at, int64_t head,
                         const hy_real *before, hy_real *after)
{
    const struct hy_scan_plan *p = s->plan;
    const int64_t vp = p->vp;
    const struct hy_scan_lower tri = triangle(s, at);
    hy_scan_load_decays(p, at, head, &s->decays, s->gram, s->pair);
    const struct hy_tensor *v = p->op->in[HY_SCAN_V];
    hy_scan_load_rows(p, at, v, head, p->v, 1, s->v);
    hy_scan_fetch_rows(p, at, v, head + 1, p->v, 0);
    hy_micro_mul(p->precision, at->size, vp, p->kp, hy_left_plain(s->q, p->kp), before, vp, NULL,
                 NULL, s->o, vp);
    hy_scan_fetch_rows(p, at, v, head + 1, p->v, 1);
    hy_scan_mul_lower(&tri, vp, s->pair, s->v, vp, s->o, s->decays.into, s->o, vp);
    hy_scan_store(hy_scan_part_of(p, p->op->out[HY_SCAN_O], at->first, head, p->v), s->o, vp,
                  at->rows, p->v, 1, 0);
    hy_scan_scale_rows(at->size, vp, s->decays.rest, s->v, s->v);
    hy_micro_mul(p->precision, p->kp, vp, at->size, hy_left_turned(s->k, p->kp), s->v, vp, before,
                 s->decays.through, after, vp);
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
        const struct hy_scan_span at = hy_scan_span_of(p, sequence, chunk);
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
static void backward_pairs(const struct shared *s, const struct hy_scan_span *at)
{
    const int64_t vp = s->plan->vp;
    const struct hy_scan_lower tri = triangle(s, at);
    hy_scan_mul_into_lower(&tri, vp, hy_left_plain(s->o, vp), s->turned_v, s->C, NULL, s->dpair);
    for (int64_t i = 0; i < at->size; i++) {
        hy_vec sum = {0};
        for (int64_t j = 0; j <= i; j += B) {
            const int64_t ij = i * s->C + j;
            const hy_vec d = hy_vec_load(s->dpair + ij);
            sum += d * hy_vec_load(s->pair + ij);
            hy_vec_store(s->dgram + ij,
                         hy_vec_load(s->dgram + ij) + d * hy_vec_load(s->decays.between + ij));
        }
        for (int64_t c = i * vp; c < (i + 1) * vp; c += B)
            sum -= hy_vec_load(s->v + c) * hy_vec_load(s->dv + c);
        s->rates[i] = hy_vec_sum(sum);
    }
}

/* turned_dq += S (I do)', rates += q of that; turned_dk += dS (R v)'. */
static void backward_keys(const struct shared *s, const struct hy_scan_span *at,
                          const hy_real *state, const hy_real *dstate)
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
        const hy_vec rest = hy_vec_load(s->decays.rest + i);
        for (int64_t c = i; c < vp * C; c += C)
            hy_vec_store(s->turned_v + c, rest * hy_vec_load(s->turned_v + c));
    }
    hy_micro_mul(p->precision, p->kp, at->size, vp, hy_left_plain(dstate, vp), s->turned_v, C,
                 s->turned_dk, NULL, s->turned_dk, C);
}

static void backward_head(const struct shared *s, const struct hy_scan_span *at, int64_t head)
{
    const struct hy_scan_plan *p = s->plan;
    const int64_t vp = p->vp;
    const struct hy_scan_lower tri = triangle(s, at);
    const hy_real *state = hy_scan_kept_state(p, at->sequence, head, at->chunk);
    hy_real *dstate = s->dstates + head % p->sharing * p->state;
    hy_scan_load_decays(p, at, head, &s->decays, s->gram, s->pair);
    const struct hy_tensor *v = p->op->in[HY_SCAN_V], *d_o = p->op->dout[HY_SCAN_O];
    hy_scan_load_rows(p, at, v, head, p->v, 1, s->v);
    hy_scan_load_rows(p, at, d_o, head, p->v, 1, s->o);
    hy_micro_transpose(at->size, vp, s->v, vp, s->turned_v, s->C);
    hy_scan_fetch_rows(p, at, p->op->din[HY_SCAN_V], head, p->v, 0);
    hy_micro_mul(p->precision, at->size, vp, p->kp, hy_left_plain(s->k, p->kp), dstate, vp, NULL,
                 NULL, s->dv, vp);
    hy_scan_fetch_rows(p, at, p->op->din[HY_SCAN_V], head, p->v, 1);
    hy_scan_mul_lower_turned(&tri, vp, s->pair, s->o, vp, s->dv, s->decays.rest, s->dv, vp);
    hy_scan_fetch_rows(p, at, v, head + 1, p->v, 0);
    backward_pairs(s, at);
    hy_scan_store_rows(p, at, HY_SCAN_V, head, p->v, 1, s->dv);
    hy_scan_scale_rows(at->size, vp, s->decays.into, s->o, s->o);
    hy_scan_fetch_rows(p, at, v, head + 1, p->v, 1);
    backward_keys(s, at, state, dstate);
    hy_scan_fetch_rows(p, at, d_o, head + 1, p->v, 0);
    if (p->op->din[HY_SCAN_DECAY])
        hy_scan_store_decays(
            p, at, head,
            hy_scan_state_dot(p, hy_scan_kept_state(p, at->sequence, head, at->chunk + 1), dstate),
            s->rates);
    hy_micro_mul(p->precision, p->kp, vp, at->size, hy_left_turned(s->q, p->kp), s->o, vp, dstate,
                 s->decays.through, dstate, vp);
    hy_scan_fetch_rows(p, at, d_o, head + 1, p->v, 1);
}

static void backward_chunk(const struct shared *s, const struct hy_scan_span *at, int64_t group)
{
    const struct hy_scan_plan *p = s->plan;
    const int64_t C = s->C, kp = p->kp;
    const struct hy_scan_lower tri = triangle(s, at);
    load_keys(s, at, group);
    hy_micro_transpose(at->size, kp, s->q, kp, s->turned_q, C);
    memset(s->dgram, 0, (size_t)(C * C) * sizeof *s->dgram);
    memset(s->turned_dq, 0, (size_t)(C * kp) * sizeof *s->turned_dq);
    memset(s->turned_dk, 0, (size_t)(C * kp) * sizeof *s->turned_dk);
    for (int64_t h = group * p->sharing; h < (group + 1) * p->sharing; h++)
        backward_head(s, at, h);
    hy_micro_transpose(kp, at->size, s->turned_dq, C, s->dq, kp);
    hy_micro_transpose(kp, at->size, s->turned_dk, C, s->dk, kp);
    hy_scan_mul_lower(&tri, kp, s->dgram, s->k, kp, s->dq, NULL, s->dq, kp);
    hy_scan_mul_lower_turned(&tri, kp, s->dgram, s->q, kp, s->dk, NULL, s->dk, kp);
    hy_scan_store_rows(p, at, HY_SCAN_Q, group, p->k, p->scale, s->dq);
    hy_scan_store_rows(p, at, HY_SCAN_K, group, p->k, 1, s->dk);
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
                const struct hy_scan_span at = hy_scan_span_of(p, sequence, chunk);
                backward_chunk(&s, &at, group);
            }
            for (int64_t i = 0; i < p->sharing; i++)
                hy_scan_store_state(p, p->op->din[HY_SCAN_H0], sequence, group * p->sharing + i,
                                    s.dstates + i * p->state, hy_adds(p->op, HY_SCAN_H0));
        }
}
