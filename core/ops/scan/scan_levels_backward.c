#include <string.h>

#include "core/ops/scan/scan_levels.h"

/* ---- Between values and what the chunk reads and writes ---- */

/* dlambda of row i for the levels within its own block; part: its row of do v' * P there. The
 * columns at a level are the neighbour of as many columns around i. */
static void weigh_block(const struct hy_level_work *w, int levels, int64_t i, hy_vec part)
{
    hy_real sums[HY_BLOCK_LEVEL][B]; /* of 2^l columns each */
    const int row = (int)(i % B);
    w->dlambda[i] = part[row];
#pragma GCC unroll 4
    for (int l = 0; l < HY_BLOCK_LEVEL; l++) {
        hy_vec_store(sums[l], part);
        part += hy_vec_shuffle(part, part, hy_lane_numbers ^ 1 << l);
    }
    for (int l = 1; l <= HY_BLOCK_LEVEL && l < levels; l++)
        w->dlambda[l * w->C + i] = row >> (l - 1) & 1 ? sums[l - 1][row ^ 1 << (l - 1)] : 0;
}

/* dlambda of row i for the levels within the chunk; its row of dpair, do v', is weighed. */
static void weigh_row(const struct hy_level_work *w, int levels, int64_t i)
{
    const int64_t C = w->C, own = i / B * B;
    hy_vec part = {0};
    for (int64_t j = 0; j <= own; j += B) {
        const int64_t ij = i * C + j;
        const hy_vec d = hy_vec_load(w->dpair + ij);
        part += d * hy_vec_load(w->pair + ij);
        hy_vec_store(w->dpair + ij, d * hy_vec_load(w->spread + ij));
        if (j == own) {
            weigh_block(w, levels, i, part);
            break;
        }
        const int l = hy_level_of_blocks(i, j);
        if (j + B < own && l == hy_level_of_blocks(i, j + B))
            continue; /* the level goes on */
        if (l < levels)
            w->dlambda[l * C + i] = hy_vec_sum(part);
        part = (hy_vec){0};
    }
}

/* dlambda of the levels within the chunk; dpair = do v' * Lambda. */
static void backward_mixed(const struct hy_level_work *w, const struct hy_scan_span *at)
{
    const struct hy_scan_lower tri = hy_level_lower(w, at, w->plan.precision);
    const int64_t vp = w->plan.vp;
    hy_scan_mul_into_lower(&tri, vp, hy_left_plain(w->o, vp), w->turned_v, w->C, NULL, w->dpair);
    for (int64_t i = 0; i < at->size; i++) {
        weigh_row(w, hy_level_count(w, at), i);
        for (int64_t j = (i / B + 1) * B; j < at->size; j += B)
            hy_vec_store(w->dpair + i * w->C + j, (hy_vec){0});
    }
}

/* dlambda of a slot, and its share of turned_dread; gated: of turned_dq. */
static void backward_read(const struct hy_level_work *w, const struct hy_scan_span *at,
                          int64_t head, int slot)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t C = w->C, level = w->within + 1 + slot;
    hy_real *to = p->delta ? w->turned_dread : w->turned_dq;
    hy_micro_mul(p->precision, p->kp, at->size, p->vp,
                 hy_left_plain(hy_level_state(w, at->sequence, head, at->chunk, slot), p->vp),
                 w->turned_o, C, NULL, NULL, w->seen, C);
    for (int64_t i = 0; i < at->size; i += B) {
        const hy_vec weights = hy_vec_load(w->weights + slot * C + i);
        hy_vec sum = {0};
        for (int64_t c = i; c < p->kp * C; c += C) {
            const hy_vec seen = hy_vec_load(w->seen + c);
            sum += hy_vec_load(w->turned_read + c) * seen;
            hy_vec_store(to + c, hy_vec_load(to + c) + weights * seen);
        }
        if (!p->delta)
            sum *= hy_vec_load(w->decays.into + i);
        hy_vec_store(w->dlambda + level * C + i, sum);
    }
}

/* turned_d += dstate written'. */
static void backward_write(const struct hy_level_work *w, const struct hy_scan_span *at,
                           const hy_real *dstate, const hy_real *turned_written, hy_real *turned_d)
{
    const struct hy_scan_plan *p = &w->plan;
    hy_micro_mul(p->precision, p->kp, at->size, p->vp, hy_left_plain(dstate, p->vp), turned_written,
                 w->C, turned_d, NULL, turned_d, w->C);
}

/* What went into a slot of the next chunk beside the chunk's own: dwrite, derase, and in dstate the
 * gradient of its sources, but for what the chunk itself reads of them. own: dv too. */
static void backward_erase(const struct hy_level_work *w, const struct hy_scan_span *at,
                           const hy_real *sources, int own, hy_real *dstate)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t C = w->C, vp = p->vp, size = at->size;
    const hy_real *written = hy_level_written(w, at, sources, own);
    hy_real *recalled = own ? w->dv : w->recalled;
    hy_micro_mul(p->precision, size, vp, p->kp, hy_left_plain(w->write, p->kp), dstate, vp, NULL,
                 NULL, recalled, vp);
    hy_micro_transpose(size, vp, written, vp, w->turned_values, C);
    backward_write(w, at, dstate, w->turned_values, w->turned_dwrite);
    hy_micro_transpose(size, vp, recalled, vp, w->turned_values, C);
    hy_micro_mul(p->precision, p->kp, size, vp, hy_left_plain(sources, vp), w->turned_values, C,
                 w->turned_derase, NULL, w->turned_derase, C);
    hy_micro_mul(p->precision, p->kp, vp, size, hy_left_turned(w->erase, p->kp), recalled, vp,
                 dstate, w->decays.through, dstate, vp);
}

/* Where the chunk's own writing alone goes into a slot: dv, dwrite; gated: R is due to dv, dk. */
static void backward_own(const struct hy_level_work *w, const struct hy_scan_span *at,
                         const hy_real *dstate)
{
    const struct hy_scan_plan *p = &w->plan;
    hy_micro_mul(p->precision, at->size, p->vp, p->kp, hy_left_plain(w->write, p->kp), dstate,
                 p->vp, NULL, NULL, w->dv, p->vp);
    for (int64_t i = 0; !p->delta && i < at->size; i += B) {
        const hy_vec rest = hy_vec_load(w->decays.rest + i);
        for (int64_t c = i; c < p->vp * w->C; c += w->C)
            hy_vec_store(w->turned_v + c, rest * hy_vec_load(w->turned_v + c));
    }
    backward_write(w, at, dstate, w->turned_v, p->delta ? w->turned_dwrite : w->turned_dk);
}

/* What went into a slot of the next chunk; dstate becomes the gradient of its sources, but for what
 * the chunk itself reads of them: of the gated scan they only decay. */
static void backward_advance(const struct hy_level_work *w, const struct hy_scan_span *at,
                             int64_t head, int slot, hy_real *dstate)
{
    const struct hy_scan_plan *p = &w->plan;
    const int own = slot == hy_level_merge(at);
    const hy_real *sources = hy_level_sources(w, at, head, slot);
    if (p->delta && sources) {
        backward_erase(w, at, sources, own, dstate);
        return;
    }
    if (own)
        backward_own(w, at, dstate);
    if (sources)
        hy_scan_scale_rows(p->kp, p->vp, w->decays.through, dstate, dstate);
}

static hy_real *dstate_of(const struct hy_level_work *w, int64_t head, int slot)
{
    const struct hy_scan_plan *p = &w->plan;
    return w->dstates + (head % p->sharing * w->slots + slot) * p->state;
}

/* The chunk after this one; 0: there is none. */
static int64_t next_of(const struct hy_level_work *w, const struct hy_scan_span *at)
{
    return at->chunk + 1 < w->plan.chunks ? at->chunk + 1 : 0;
}

/* Gradients of the states that enter the chunk, from those of the states that leave it; dv from
 * those. */
static void backward_states(const struct hy_level_work *w, const struct hy_scan_span *at,
                            int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t next = next_of(w, at);
    const int merge = hy_level_merge(at);
    for (int slot = 0; next >> slot; slot++)
        if (next >> slot & 1)
            backward_advance(w, at, head, slot, dstate_of(w, head, slot));
    for (int slot = 0; at->chunk >> slot; slot++) {
        if (!(at->chunk >> slot & 1))
            continue;
        const hy_real *from = dstate_of(w, head, slot < merge ? merge : slot);
        hy_scan_scale_rows(at->size, p->vp, w->weights + slot * w->C, w->o, w->scaled);
        hy_micro_mul(p->precision, p->kp, p->vp, at->size, hy_left_turned(w->read, p->kp),
                     w->scaled, p->vp, next ? from : NULL, NULL, dstate_of(w, head, slot), p->vp);
    }
}

/* ---- Between those and q, k, beta and the decays ---- */

/* turned_to += sign * factors * turned_x, of [kp, C]. */
static void add_keys(const struct hy_level_work *w, const struct hy_scan_span *at, hy_real sign,
                     const hy_real *factors, const hy_real *turned_x, hy_real *turned_to)
{
    for (int64_t i = 0; i < at->size; i += B) {
        const hy_vec factor = sign * hy_vec_load(factors + i);
        for (int64_t c = i; c < w->plan.kp * w->C; c += w->C)
            hy_vec_store(turned_to + c,
                         hy_vec_load(turned_to + c) + factor * hy_vec_load(turned_x + c));
    }
}

/* rates += sign * <x_i, y_i>, of [kp, C]. */
static void add_rates(const struct hy_level_work *w, const struct hy_scan_span *at, hy_real sign,
                      const hy_real *turned_x, const hy_real *turned_y)
{
    for (int64_t i = 0; i < at->size; i += B) {
        hy_vec sum = {0};
        for (int64_t c = i; c < w->plan.kp * w->C; c += w->C)
            sum += hy_vec_load(turned_x + c) * hy_vec_load(turned_y + c);
        hy_vec_store(w->rates + i, hy_vec_load(w->rates + i) + sign * sum);
    }
}

/* dgram += d * L. Of d nothing above the diagonal is read but what L makes 0. */
static void add_gram(const struct hy_level_work *w, const struct hy_scan_span *at, const hy_real *d,
                     hy_real *dgram)
{
    for (int64_t i = 0; i < at->size; i++)
        for (int64_t j = 0; j <= i; j += B) {
            const int64_t ij = i * w->C + j;
            hy_vec_store(dgram + ij, hy_vec_load(dgram + ij) +
                                         hy_vec_load(d + ij) * hy_vec_load(w->decays.between + ij));
        }
}

/* rates -= the sums of the columns of d * pair; reads: += the sums of its rows. pair is 0 above the
 * diagonal. */
static void add_pair_rates(const struct hy_level_work *w, const struct hy_scan_span *at,
                           const hy_real *d, const hy_real *pair, int reads)
{
    for (int64_t i = 0; i < at->size; i++) {
        hy_vec sum = {0};
        for (int64_t j = 0; j <= i; j += B) {
            const int64_t ij = i * w->C + j;
            const hy_vec both = hy_vec_load(d + ij) * hy_vec_load(pair + ij);
            sum += both;
            hy_vec_store(w->rates + j, hy_vec_load(w->rates + j) - both);
        }
        if (reads)
            w->rates[i] += hy_vec_sum(sum);
    }
}

/* From dpair, dread, derase and dwrite back through P, read and write: dpair_q, dpair_k, derase,
 * drested and dbeta. */
static void backward_delta(const struct hy_level_work *w, const struct hy_scan_span *at)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_scan_lower exact = hy_level_lower(w, at, HY_PRECISION_FLOAT32);
    const struct hy_scan_lower tri = hy_level_lower(w, at, p->precision);
    const int64_t C = w->C, kp = p->kp, size = at->size;
    hy_micro_transpose(size, size, w->x, C, w->turned_x, C);
    hy_scan_mul_into_lower(&tri, kp, hy_left_turned(w->turned_dread, C), w->turned_erase, C,
                           w->dpair, w->dpair);
    hy_scan_mul_by_lower(&tri, kp, w->turned_dread, C, w->pair, w->turned_derase, w->turned_derase);
    hy_scan_mul_by_upper(&tri, kp, w->turned_dwrite, C, w->turned_x, NULL, w->turned_drested);

    hy_scan_mul_lower(&exact, size, w->dpair, w->turned_x, C, NULL, NULL, w->dpair_q, C);
    hy_scan_mul_lower_turned(&exact, size, w->pair_q, w->dpair, C, NULL, NULL, w->dx, C);
    hy_micro_mul(tri.precision, size, size, kp, hy_left_plain(w->rested, kp), w->turned_dwrite, C,
                 w->dx, NULL, w->dx, C);
    hy_scan_mul_lower_turned(&exact, size, w->inverse, w->dx, C, NULL, NULL, w->solved, C);
    /* dx is done with: it takes A X. */
    hy_scan_mul_lower(&exact, size, w->pair_k, w->x, C, NULL, NULL, w->dx, C);
    for (int64_t i = 0; i < size; i++) {
        hy_vec sum = {0};
        for (int64_t j = 0; j <= i; j += B)
            sum += hy_vec_load(w->solved + i * C + j) * hy_vec_load(w->dx + i * C + j);
        w->dbeta[i] = w->solved[i * C + i] - hy_vec_sum(sum);
    }
    hy_scan_mul_lower(&exact, size, w->solved, w->turned_x, C, NULL, NULL, w->dpair_k, C);
    hy_scan_scale_rows(size, C, w->minus_beta, w->dpair_k, w->dpair_k);
    for (int64_t i = 0; i < size; i++)
        w->dpair_k[i * C + i] = 0;
}

/* rates of a row: what q, in all that it reads, takes from the loss is what the weights do; what a
 * token of the gated scan writes is v, and takes what v does. */
static void backward_rates(const struct hy_level_work *w, const struct hy_scan_span *at)
{
    const int64_t vp = w->plan.vp;
    memset(w->rates, 0, (size_t)w->C * sizeof *w->rates);
    for (int l = 0; l < hy_level_count(w, at); l++)
        for (int64_t i = 0; i < at->size; i++)
            w->rates[i] += w->lambda[l * w->C + i] * w->dlambda[l * w->C + i];
    if (w->plan.delta) {
        add_rates(w, at, 1, w->turned_erase, w->turned_derase);
        add_rates(w, at, -1, w->turned_rested, w->turned_drested);
        add_pair_rates(w, at, w->dpair_k, w->pair_k, 1);
        add_pair_rates(w, at, w->dpair_q, w->pair_q, 0);
        return;
    }
    for (int64_t i = 0; i < at->size; i++) {
        hy_vec sum = {0};
        for (int64_t c = i * vp; c < (i + 1) * vp; c += B)
            sum += hy_vec_load(w->v + c) * hy_vec_load(w->dv + c);
        w->rates[i] -= hy_vec_sum(sum);
    }
}

/* ---- A head ---- */

static void store_beta(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_tensor *t = p->op->din[HY_SCAN_BETA];
    if (t)
        hy_scan_store(hy_scan_part_of(p, t, at->first, head, 1), w->dbeta, 1, at->rows, 1, 1,
                      hy_adds(p->op, HY_SCAN_BETA));
}

static void store_lambda(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const int add = hy_adds(p->op, HY_LEVEL_LAMBDA), levels = hy_level_count(w, at);
    const struct hy_scan_part to =
        hy_scan_part_of(p, p->op->din[HY_LEVEL_LAMBDA], at->first, head, w->levels);
    for (int64_t i = 0; to.data && i < at->rows; i++) {
        hy_real *d = to.data + i * to.ld;
        if (!add)
            memset(d, 0, (size_t)w->levels * sizeof *d);
        for (int l = 0; l < levels; l++)
            d[l] += w->dlambda[l * w->C + i];
    }
}

/* <S, dS> over all states that leave the chunk. */
static hy_real carry_of(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head)
{
    const int64_t next = next_of(w, at);
    hy_real carry = 0;
    for (int slot = 0; next >> slot; slot++)
        if (next >> slot & 1)
            carry += hy_scan_state_dot(&w->plan, hy_level_state(w, at->sequence, head, next, slot),
                                       dstate_of(w, head, slot));
    return carry;
}

static void load_head(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t C = w->C, kp = p->kp, vp = p->vp, size = at->size;
    hy_level_load_head(w, at, head);
    hy_scan_load_rows(p, at, p->op->dout[HY_SCAN_O], head, p->v, 1, w->o);
    hy_micro_transpose(size, vp, w->v, vp, w->turned_v, C);
    hy_micro_transpose(size, vp, w->o, vp, w->turned_o, C);
    memset(w->dlambda, 0, (size_t)(hy_level_count(w, at) * C) * sizeof *w->dlambda);
    if (!p->delta)
        return;
    memset(w->turned_dread, 0, (size_t)(kp * C) * sizeof *w->turned_dread);
    memset(w->turned_dwrite, 0, (size_t)(kp * C) * sizeof *w->turned_dwrite);
    memset(w->turned_derase, 0, (size_t)(kp * C) * sizeof *w->turned_derase);
    hy_micro_transpose(size, kp, w->read, kp, w->turned_read, C);
    hy_micro_transpose(size, kp, w->erase, kp, w->turned_erase, C);
    hy_micro_transpose(size, kp, w->rested, kp, w->turned_rested, C);
}

static void backward_head(const struct hy_level_work *w, const struct hy_scan_span *at,
                          int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_op *op = p->op;
    const struct hy_scan_lower tri = hy_level_lower(w, at, p->precision);
    const struct hy_tensor *v = op->in[HY_SCAN_V], *d_o = op->dout[HY_SCAN_O];
    const hy_real carry = op->din[HY_SCAN_DECAY] ? carry_of(w, at, head) : 0;
    load_head(w, at, head);
    backward_mixed(w, at);
    hy_level_fetch_lambda(w, at, op->in[HY_LEVEL_LAMBDA], head + 1);
    hy_scan_fetch_rows(p, at, v, head + 1, p->v, 0);
    for (int slot = 0; at->chunk >> slot; slot++)
        if (at->chunk >> slot & 1)
            backward_read(w, at, head, slot);
    hy_scan_fetch_rows(p, at, v, head + 1, p->v, 1);
    backward_states(w, at, head);
    hy_level_fetch_lambda(w, at, op->din[HY_LEVEL_LAMBDA], head);
    hy_scan_fetch_rows(p, at, d_o, head + 1, p->v, 0);
    hy_scan_mul_lower_turned(&tri, p->vp, w->mixed, w->o, p->vp, next_of(w, at) ? w->dv : NULL,
                             p->delta ? NULL : w->decays.rest, w->dv, p->vp);
    hy_scan_fetch_rows(p, at, d_o, head + 1, p->v, 1);
    if (p->delta) {
        backward_delta(w, at);
        add_gram(w, at, w->dpair_k, w->dgram_k);
        add_keys(w, at, 1, w->decays.into, w->turned_dread, w->turned_dq);
        add_keys(w, at, 1, w->decays.rest, w->turned_drested, w->turned_dk);
        add_keys(w, at, -1, w->decays.into, w->turned_derase, w->turned_dk);
        store_beta(w, at, head);
    }
    add_gram(w, at, p->delta ? w->dpair_q : w->dpair, w->dgram_q);
    hy_scan_store_rows(p, at, HY_SCAN_V, head, p->v, 1, w->dv);
    store_lambda(w, at, head);
    if (op->din[HY_SCAN_DECAY]) {
        backward_rates(w, at);
        hy_scan_store_decays(p, at, head, carry, w->rates);
    }
}

static void backward_chunk(const struct hy_level_work *w, const struct hy_scan_span *at,
                           int64_t group)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_scan_lower tri = hy_level_lower(w, at, p->precision);
    const int64_t C = w->C, kp = p->kp;
    hy_level_load_keys(w, at, group);
    if (!p->delta)
        hy_micro_transpose(at->size, kp, w->q, kp, w->turned_read, C);
    memset(w->turned_dq, 0, (size_t)(C * kp) * sizeof *w->turned_dq);
    memset(w->turned_dk, 0, (size_t)(C * kp) * sizeof *w->turned_dk);
    memset(w->dgram_q, 0, (size_t)(C * C) * sizeof *w->dgram_q);
    if (p->delta)
        memset(w->dgram_k, 0, (size_t)(C * C) * sizeof *w->dgram_k);
    for (int64_t h = group * p->sharing; h < (group + 1) * p->sharing; h++)
        backward_head(w, at, h);
    hy_micro_transpose(kp, at->size, w->turned_dq, C, w->dq, kp);
    hy_micro_transpose(kp, at->size, w->turned_dk, C, w->dk, kp);
    hy_scan_mul_lower(&tri, kp, w->dgram_q, w->k, kp, w->dq, NULL, w->dq, kp);
    hy_scan_mul_lower_turned(&tri, kp, w->dgram_q, w->q, kp, w->dk, NULL, w->dk, kp);
    if (p->delta) {
        hy_scan_mul_lower(&tri, kp, w->dgram_k, w->k, kp, w->dk, NULL, w->dk, kp);
        hy_scan_mul_lower_turned(&tri, kp, w->dgram_k, w->k, kp, w->dk, NULL, w->dk, kp);
    }
    hy_scan_store_rows(p, at, HY_SCAN_Q, group, p->k, p->scale, w->dq);
    hy_scan_store_rows(p, at, HY_SCAN_K, group, p->k, 1, w->dk);
}

void hy_scan_levels_backward(const struct hy_op *op, int replica)
{
    struct hy_level_work w;
    hy_level_work_of(op, replica, &w);
    const struct hy_scan_plan *p = &w.plan;
    for (int64_t sequence = 0; sequence < p->batch; sequence++)
        for (int64_t group = 0; group < p->heads / p->sharing; group++)
            for (int64_t chunk = p->chunks - 1; chunk >= 0; chunk--) {
                const struct hy_scan_span at = hy_scan_span_of(p, sequence, chunk);
                backward_chunk(&w, &at, group);
            }
}
