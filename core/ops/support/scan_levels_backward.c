#include <string.h>

#include "core/ops/support/scan_levels.h"

/* ---- Products ---- */

/* dlambda of the levels within the chunk; dpair = do v' * Lambda, 0 above the diagonal. */
static void backward_mixed(const struct hy_level_work *w, const struct hy_scan_span *at)
{
    const struct hy_scan_lower tri = hy_level_lower(w, at, w->plan.precision);
    const int64_t C = w->C, vp = w->plan.vp;
    hy_micro_transpose(at->size, vp, w->v, vp, w->turned_values, C);
    hy_scan_mul_into_lower(&tri, vp, hy_left_plain(w->o, vp), w->turned_values, C, NULL, w->dpair);
    for (int64_t i = 0; i < at->size; i++) {
        hy_real *d = w->dpair + i * C;
        const hy_real *pair = w->pair + i * C;
        for (int l = 0; l <= w->within && l < w->levels; l++) {
            const struct hy_level_columns at_level = hy_level_columns_of(i, l);
            hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = at_level.first; j < at_level.first + at_level.count; j++)
                sum += d[j] * pair[j];
            w->dlambda[l * C + i] = sum;
        }
        for (int64_t j = 0; j <= i; j++)
            d[j] *= w->spread[i * C + j];
        for (int64_t j = i + 1; j < at->size; j++)
            d[j] = 0;
    }
}

/* dlambda of a slot, and its share of dread. */
static void backward_read(const struct hy_level_work *w, const struct hy_scan_span *at,
                          int64_t head, int slot)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t C = w->C, level = w->within + 1 + slot;
    hy_micro_mul(p->precision, p->kp, at->size, p->vp,
                 hy_left_plain(hy_level_state(w, at->sequence, head, at->chunk, slot), p->vp),
                 w->turned_values, C, NULL, NULL, w->seen, C);
    for (int64_t i = 0; i < at->size; i += B) {
        const hy_vec lambda = hy_vec_load(w->lambda + level * C + i);
        hy_vec sum = {0};
        for (int64_t c = i; c < p->kp * C; c += C) {
            const hy_vec seen = hy_vec_load(w->seen + c);
            sum += hy_vec_load(w->turned_read + c) * seen;
            hy_vec_store(w->turned_dread + c, hy_vec_load(w->turned_dread + c) + lambda * seen);
        }
        hy_vec_store(w->dlambda + level * C + i, sum);
    }
}

/* What went into slot `slot` of the next chunk: dv, dwrite, derase; dstate becomes the gradient of
 * the states that did, but for what the chunk itself reads of them. */
static void backward_advance(const struct hy_level_work *w, const struct hy_scan_span *at,
                             int64_t head, int slot, hy_real *dstate)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t C = w->C, vp = p->vp, size = at->size;
    const int own = slot == hy_level_merge(at);
    const hy_real *sources = hy_level_sources(w, at, head, slot);
    const hy_real *written = hy_level_written(w, at, sources, own);
    if (written) {
        hy_micro_mul(p->precision, size, vp, p->kp, hy_left_plain(w->write, p->kp), dstate, vp,
                     NULL, NULL, w->recalled, vp);
        hy_micro_transpose(size, vp, written, vp, w->turned_values, C);
        hy_micro_mul(p->precision, p->kp, size, vp, hy_left_plain(dstate, vp), w->turned_values, C,
                     w->turned_dwrite, NULL, w->turned_dwrite, C);
    }
    for (int64_t i = 0; own && i < size * vp; i += B)
        hy_vec_store(w->dv + i, hy_vec_load(w->dv + i) + hy_vec_load(w->recalled + i));
    if (!sources)
        return;
    if (!p->delta) {
        hy_scan_scale_rows(p->kp, vp, w->decays.through, dstate, dstate);
        return;
    }
    hy_micro_transpose(size, vp, w->recalled, vp, w->turned_values, C);
    hy_micro_mul(p->precision, p->kp, size, vp, hy_left_plain(sources, vp), w->turned_values, C,
                 w->turned_derase, NULL, w->turned_derase, C);
    hy_micro_mul(p->precision, p->kp, vp, size, hy_left_turned(w->erase, p->kp), w->recalled, vp,
                 dstate, w->decays.through, dstate, vp);
}

static hy_real *dstate_of(const struct hy_level_work *w, int64_t head, int slot)
{
    const struct hy_scan_plan *p = &w->plan;
    return w->dstates + (head % p->sharing * w->slots + slot) * p->state;
}

/* Gradients of the states that enter the chunk, from those of the states that leave it. */
static void backward_states(const struct hy_level_work *w, const struct hy_scan_span *at,
                            int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t next = at->chunk + 1 < p->chunks ? at->chunk + 1 : 0;
    const int merge = hy_level_merge(at);
    for (int slot = 0; next >> slot; slot++)
        if (next >> slot & 1)
            backward_advance(w, at, head, slot, dstate_of(w, head, slot));
    for (int slot = 0; at->chunk >> slot; slot++) {
        if (!(at->chunk >> slot & 1))
            continue;
        const hy_real *from = dstate_of(w, head, slot < merge ? merge : slot);
        hy_scan_scale_rows(at->size, p->vp, w->lambda + (w->within + 1 + slot) * w->C, w->o,
                           w->scaled);
        hy_micro_mul(p->precision, p->kp, p->vp, at->size, hy_left_turned(w->read, p->kp),
                     w->scaled, p->vp, next ? from : NULL, NULL, dstate_of(w, head, slot), p->vp);
    }
}

/* ---- Within the chunk ---- */

/* rates_i += <x_i, y_i> times sign; rows of width. */
static void add_rates(int64_t rows, int64_t width, hy_real sign, const hy_real *x, const hy_real *y,
                      hy_real *rates)
{
    for (int64_t i = 0; i < rows; i++) {
        hy_vec sum = {0};
        for (int64_t c = i * width; c < (i + 1) * width; c += B)
            sum += hy_vec_load(x + c) * hy_vec_load(y + c);
        rates[i] += sign * hy_vec_sum(sum);
    }
}

/* rates += rowsum(d * pair) - the sums of its columns; dgram += d * L. Of d nothing above the
 * diagonal is read. */
static void backward_gram(const struct hy_level_work *w, const struct hy_scan_span *at,
                          const hy_real *d, const hy_real *pair, hy_real *dgram)
{
    const int64_t C = w->C;
    for (int64_t i = 0; i < at->size; i++) {
        hy_real sum = 0;
        for (int64_t j = 0; j <= i; j++) {
            const hy_real both = d[i * C + j] * pair[i * C + j];
            sum += both;
            w->rates[j] -= both;
            dgram[i * C + j] += d[i * C + j] * w->decays.between[i * C + j];
        }
        w->rates[i] += sum;
    }
}

/* to += factors * x, by rows, and sign. */
static void add_rows(int64_t rows, int64_t width, hy_real sign, const hy_real *factors,
                     const hy_real *x, hy_real *to)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = i * width; c < (i + 1) * width; c += B)
            hy_vec_store(to + c, hy_vec_load(to + c) + sign * factors[i] * hy_vec_load(x + c));
}

/* From dpair, dread, derase and dwrite back through P, read and write: dpair_q, dpair_k, derase,
 * drested and dbeta. */
static void backward_delta(const struct hy_level_work *w, const struct hy_scan_span *at)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_scan_lower exact = hy_level_lower(w, at, HY_PRECISION_FLOAT32);
    const struct hy_scan_lower tri = hy_level_lower(w, at, p->precision);
    const int64_t C = w->C, kp = p->kp, size = at->size;
    hy_micro_transpose(kp, size, w->turned_derase, C, w->derase, kp);
    hy_scan_mul_into_lower(&tri, kp, hy_left_plain(w->dread, kp), w->turned_erase, C, w->dpair,
                           w->dpair);
    hy_scan_mul_lower_turned(&tri, kp, w->pair, w->dread, kp, w->derase, NULL, w->derase, kp);
    hy_scan_mul_lower(&tri, kp, w->x, w->dwrite, kp, NULL, NULL, w->drested, kp);

    hy_micro_transpose(size, size, w->x, C, w->turned_x, C);
    hy_scan_mul_lower(&exact, size, w->dpair, w->turned_x, C, NULL, NULL, w->dpair_q, C);
    hy_scan_mul_lower_turned(&exact, size, w->pair_q, w->dpair, C, NULL, NULL, w->dx, C);
    hy_micro_mul(tri.precision, size, size, kp, hy_left_plain(w->rested, kp), w->turned_dwrite, C,
                 w->dx, NULL, w->dx, C);
    hy_scan_mul_lower_turned(&exact, size, w->inverse, w->dx, C, NULL, NULL, w->solved, C);
    /* dx is done with: it takes A X. */
    hy_scan_mul_lower(&exact, size, w->pair_k, w->x, C, NULL, NULL, w->dx, C);
    for (int64_t i = 0; i < size; i++) {
        hy_real sum = w->solved[i * C + i];
        for (int64_t j = 0; j <= i; j++)
            sum -= w->solved[i * C + j] * w->dx[i * C + j];
        w->dbeta[i] = sum;
    }
    hy_scan_mul_lower(&exact, size, w->solved, w->turned_x, C, NULL, NULL, w->dpair_k, C);
    for (int64_t i = 0; i < size; i++) {
        for (int64_t j = 0; j < i; j++)
            w->dpair_k[i * C + j] *= w->minus_beta[i];
        w->dpair_k[i * C + i] = 0;
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
    const int add = hy_adds(p->op, HY_LEVEL_LAMBDA);
    const struct hy_scan_part to =
        hy_scan_part_of(p, p->op->din[HY_LEVEL_LAMBDA], at->first, head, w->levels);
    for (int64_t i = 0; to.data && i < at->rows; i++)
        for (int l = 0; l < w->levels; l++) {
            hy_real *d = to.data + i * to.ld + l;
            *d = (add ? *d : 0) + w->dlambda[l * w->C + i];
        }
}

static void backward_head(const struct hy_level_work *w, const struct hy_scan_span *at,
                          int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_op *op = p->op;
    const struct hy_scan_lower tri = hy_level_lower(w, at, p->precision);
    const int64_t C = w->C, kp = p->kp, vp = p->vp, size = at->size;
    const int64_t next = at->chunk + 1 < p->chunks ? at->chunk + 1 : 0;
    hy_real carry = 0;
    for (int slot = 0; op->din[HY_SCAN_DECAY] && next >> slot; slot++)
        if (next >> slot & 1)
            carry += hy_scan_state_dot(p, hy_level_state(w, at->sequence, head, next, slot),
                                       dstate_of(w, head, slot));
    hy_level_load_head(w, at, head);
    hy_scan_load_rows(p, at, op->dout[HY_SCAN_O], head, p->v, 1, w->o);
    memset(w->dlambda, 0, (size_t)(w->levels * C) * sizeof *w->dlambda);
    memset(w->turned_dread, 0, (size_t)(kp * C) * sizeof *w->turned_dread);
    memset(w->turned_dwrite, 0, (size_t)(kp * C) * sizeof *w->turned_dwrite);
    hy_micro_transpose(size, kp, w->read, kp, w->turned_read, C);
    if (p->delta) {
        memset(w->turned_derase, 0, (size_t)(kp * C) * sizeof *w->turned_derase);
        hy_micro_transpose(size, kp, w->erase, kp, w->turned_erase, C);
    }

    backward_mixed(w, at);
    hy_scan_mul_lower_turned(&tri, vp, w->mixed, w->o, vp, NULL, NULL, w->dv, vp);
    hy_micro_transpose(size, vp, w->o, vp, w->turned_values, C);
    for (int slot = 0; at->chunk >> slot; slot++)
        if (at->chunk >> slot & 1)
            backward_read(w, at, head, slot);
    backward_states(w, at, head);

    hy_micro_transpose(kp, size, w->turned_dread, C, w->dread, kp);
    hy_micro_transpose(kp, size, w->turned_dwrite, C, w->dwrite, kp);
    memset(w->rates, 0, (size_t)C * sizeof *w->rates);
    if (p->delta) {
        backward_delta(w, at);
        backward_gram(w, at, w->dpair_k, w->pair_k, w->dgram_k);
        add_rates(size, kp, 1, w->erase, w->derase, w->rates);
        add_rows(size, kp, -1, w->decays.into, w->derase, w->dk);
        store_beta(w, at, head);
    }
    backward_gram(w, at, p->delta ? w->dpair_q : w->dpair, w->pair_q, w->dgram_q);
    /* read is I q and more; what it has of q alone is what dq and the decays are due. */
    add_rows(size, kp, 1, w->decays.into, w->dread, w->dq);
    add_rows(size, kp, 1, w->decays.rest, p->delta ? w->drested : w->dwrite, w->dk);
    hy_scan_scale_rows(size, kp, w->decays.into, w->q, w->read);
    add_rates(size, kp, 1, w->read, w->dread, w->rates);
    add_rates(size, kp, -1, w->rested, p->delta ? w->drested : w->dwrite, w->rates);
    hy_scan_store_rows(p, at, HY_SCAN_V, head, p->v, 1, w->dv);
    store_lambda(w, at, head);
    if (op->din[HY_SCAN_DECAY])
        hy_scan_store_decays(p, at, head, carry, w->rates);
}

static void backward_chunk(const struct hy_level_work *w, const struct hy_scan_span *at,
                           int64_t group)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_scan_lower tri = hy_level_lower(w, at, p->precision);
    const int64_t C = w->C, kp = p->kp;
    hy_level_load_keys(w, at, group);
    memset(w->dq, 0, (size_t)(C * kp) * sizeof *w->dq);
    memset(w->dk, 0, (size_t)(C * kp) * sizeof *w->dk);
    memset(w->dgram_q, 0, (size_t)(C * C) * sizeof *w->dgram_q);
    if (p->delta)
        memset(w->dgram_k, 0, (size_t)(C * C) * sizeof *w->dgram_k);
    for (int64_t h = group * p->sharing; h < (group + 1) * p->sharing; h++)
        backward_head(w, at, h);
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
