#include "core/ops/scan/scan_levels.h"

#include <string.h>

#include "core/ops/support/vec.h"

int64_t hy_level_kept(int64_t chunk)
{
    int64_t kept = 0;
    for (int bit = 0; chunk >> bit; bit++) {
        const int64_t half = INT64_C(1) << bit, rest = chunk & (2 * half - 1);
        kept += (chunk >> (bit + 1)) * half + (rest > half ? rest - half : 0);
    }
    return kept;
}

/* ---- Scratch ---- */

static struct hy_level_work work_of(const struct hy_op *op, int replica)
{
    const struct hy_level_scan *s = op->attr;
    struct hy_level_work w = {.plan = hy_scan_plan_of(op, replica), .levels = s->levels};
    w.C = w.plan.blocks * B;
    w.within = hy_bits_of(w.plan.chunk) - 1;
    w.slots = hy_bits_of(w.plan.chunks - 1);
    return w;
}

static void take_backward(struct hy_level_work *w, hy_real *base, int64_t *used)
{
    const int64_t C = w->C, keys = C * w->plan.kp, values = C * w->plan.vp;
    w->dstates = hy_scan_take(base, used, w->plan.sharing * w->slots * w->plan.state);
    w->dv = hy_scan_take(base, used, values);
    w->turned_v = hy_scan_take(base, used, values);
    w->turned_o = hy_scan_take(base, used, values);
    w->turned_read = hy_scan_take(base, used, keys);
    w->seen = hy_scan_take(base, used, keys);
    w->dpair = hy_scan_take(base, used, C * C);
    w->dlambda = hy_scan_take(base, used, w->levels * C);
    w->rates = hy_scan_take(base, used, C);
    w->turned_dq = hy_scan_take(base, used, keys);
    w->turned_dk = hy_scan_take(base, used, keys);
    w->dgram_q = hy_scan_take(base, used, C * C);
    w->dq = hy_scan_take(base, used, keys);
    w->dk = hy_scan_take(base, used, keys);
    if (!w->plan.delta)
        return;
    w->recalled = hy_scan_take(base, used, values);
    w->turned_values = hy_scan_take(base, used, values);
    w->turned_dread = hy_scan_take(base, used, keys);
    w->turned_dwrite = hy_scan_take(base, used, keys);
    w->turned_erase = hy_scan_take(base, used, keys);
    w->turned_rested = hy_scan_take(base, used, keys);
    w->turned_derase = hy_scan_take(base, used, keys);
    w->turned_drested = hy_scan_take(base, used, keys);
    w->turned_x = hy_scan_take(base, used, C * C);
    w->dpair_q = hy_scan_take(base, used, C * C);
    w->dpair_k = hy_scan_take(base, used, C * C);
    w->dx = hy_scan_take(base, used, C * C);
    w->solved = hy_scan_take(base, used, C * C);
    w->dbeta = hy_scan_take(base, used, C);
    w->dgram_k = hy_scan_take(base, used, C * C);
}

/* Returns the number of elements. base NULL: only counts. */
static int64_t take_work(struct hy_level_work *w, hy_real *base)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t C = w->C, keys = C * p->kp, values = C * p->vp;
    const int64_t states = p->sharing * w->slots * p->state;
    int64_t used = 0;
    w->states = hy_scan_take(base, &used, p->op->out[HY_SCAN_STATES] ? 0 : states);
    w->q = hy_scan_take(base, &used, keys);
    w->k = hy_scan_take(base, &used, keys);
    w->turned_k = hy_scan_take(base, &used, keys);
    w->gram_q = hy_scan_take(base, &used, C * C);
    hy_scan_take_decays(p, base, &used, &w->decays);
    w->lambda = hy_scan_take(base, &used, w->levels * C);
    w->nearest = hy_scan_take(base, &used, C * B);
    w->spread = hy_scan_take(base, &used, C * C);
    w->pair = w->pair_q = hy_scan_take(base, &used, C * C);
    w->mixed = hy_scan_take(base, &used, C * C);
    w->weights = hy_scan_take(base, &used, w->slots * C);
    w->read = w->q;
    w->write = w->k;
    w->written = hy_scan_take(base, &used, values);
    w->scaled = hy_scan_take(base, &used, keys > values ? keys : values);
    w->v = hy_scan_take(base, &used, values);
    w->o = hy_scan_take(base, &used, values);
    w->total = hy_scan_take(base, &used, p->state);
    if (p->delta) {
        w->gram_k = hy_scan_take(base, &used, C * C);
        w->pair = hy_scan_take(base, &used, C * C);
        w->read = hy_scan_take(base, &used, keys);
        w->write = hy_scan_take(base, &used, keys);
        w->rested = hy_scan_take(base, &used, keys);
        w->erase = hy_scan_take(base, &used, keys);
        w->beta = hy_scan_take(base, &used, C);
        w->minus_beta = hy_scan_take(base, &used, C);
        w->pair_k = hy_scan_take(base, &used, C * C);
        w->inverse = hy_scan_take(base, &used, C * C);
        w->x = hy_scan_take(base, &used, C * C);
    }
    if (p->op->pass == HY_BACKWARD)
        take_backward(w, base, &used);
    return used;
}

size_t hy_scan_levels_scratch(const struct hy_op *op)
{
    struct hy_level_work w = work_of(op, 0);
    return (size_t)take_work(&w, NULL) * sizeof(hy_real);
}

/* The levels of a block's columns for each of its rows; B above the diagonal. */
static void fill_lanes(hy_lane_index lanes[B])
{
    for (int i = 0; i < B; i++)
        for (int j = 0; j < B; j++)
            lanes[i][j] = j > i ? B : i == j ? 0 : hy_level_of_blocks(i, j);
}

void hy_level_work_of(const struct hy_op *op, int replica, struct hy_level_work *w)
{
    *w = work_of(op, replica);
    take_work(w, hy_real_data(op->scratch, replica));
    fill_lanes(w->lanes);
}

/* ---- A chunk ---- */

void hy_level_load_keys(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t group)
{
    const struct hy_scan_plan *p = &w->plan;
    const int64_t C = w->C;
    hy_scan_load_rows(p, at, p->op->in[HY_SCAN_Q], group, p->k, p->scale, w->q);
    hy_scan_load_rows(p, at, p->op->in[HY_SCAN_K], group, p->k, 1, w->k);
    hy_micro_transpose(at->size, p->kp, w->k, p->kp, w->turned_k, C);
    hy_micro_mul(p->precision, at->size, at->size, p->kp, hy_left_plain(w->q, p->kp), w->turned_k,
                 C, NULL, NULL, w->gram_q, C);
    if (p->delta)
        hy_micro_mul(p->precision, at->size, at->size, p->kp, hy_left_plain(w->k, p->kp),
                     w->turned_k, C, NULL, NULL, w->gram_k, C);
}

int hy_level_count(const struct hy_level_work *w, const struct hy_scan_span *at)
{
    const int count = w->within + 1 + hy_bits_of(at->chunk);
    return count < w->levels ? count : w->levels;
}

static void load_lambda(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const int levels = hy_level_count(w, at);
    const struct hy_scan_part from =
        hy_scan_part_of(p, p->op->in[HY_LEVEL_LAMBDA], at->first, head, w->levels);
    for (int l = 0; l < levels; l++)
        for (int64_t i = 0; i < at->size; i++)
            w->lambda[l * w->C + i] = i < at->rows ? from.data[i * from.ld + l] : 0;
    for (int l = 0; l <= HY_BLOCK_LEVEL; l++)
        for (int64_t i = 0; i < at->size; i++)
            w->nearest[i * B + l] = l < levels ? w->lambda[l * w->C + i] : 0;
}

/* Lambda, and P * Lambda: a block beside the diagonal's is all of one level. */
static void mix(const struct hy_level_work *w, const struct hy_scan_span *at)
{
    const int levels = hy_level_count(w, at);
    for (int64_t i = 0; i < at->size; i++)
        for (int64_t j = 0; j < at->size; j += B) {
            const int64_t ij = i * w->C + j;
            hy_vec spread = {0};
            if (j + B <= i && hy_level_of_blocks(i, j) < levels)
                spread = hy_vec_all(w->lambda[hy_level_of_blocks(i, j) * w->C + i]);
            else if (i / B * B == j)
                spread = hy_vec_shuffle(hy_vec_load(w->nearest + i * B), spread, w->lanes[i % B]);
            hy_vec_store(w->spread + ij, spread);
            hy_vec_store(w->mixed + ij, spread * hy_vec_load(w->pair + ij));
        }
}

/* inverse = (1 - n)^-1, n [size, size] 0 on and above the diagonal: block rows by products with
 * those above, and within a block by substitution. */
static void invert(const struct hy_scan_lower *l, const hy_real *n, hy_real *inverse)
{
    const int64_t ld = l->ld;
    for (int64_t row = 0; row < l->size; row += B) {
        const hy_real *block = n + row * ld + row;
        hy_real *to = inverse + row * ld;
        if (row)
            hy_micro_mul(l->precision, B, row, row, hy_left_plain(n + row * ld, ld), inverse, ld,
                         NULL, NULL, to, ld);
        for (int64_t i = 0; i < B; i++)
            for (int64_t c = row; c < l->size; c++)
                to[i * ld + c] = c == row + i;
        for (int64_t c = 0; c <= row; c += B) {
            hy_vec x[B];
#pragma GCC unroll 16
            for (int i = 0; i < B; i++)
                x[i] = hy_vec_load(to + i * ld + c);
#pragma GCC unroll 16
            for (int j = 0; j < B; j++) {
                hy_vec_store(to + j * ld + c, x[j]);
#pragma GCC unroll 16
                for (int i = j + 1; i < B; i++)
                    x[i] += block[i * ld + j] * x[j];
            }
        }
    }
}

/* c = a * b, element by element. */
static void mul_elements(const struct hy_scan_lower *l, const hy_real *a, const hy_real *b,
                         hy_real *c)
{
    for (int64_t i = 0; i < l->size; i++)
        for (int64_t j = 0; j < l->size; j += B)
            hy_vec_store(c + i * l->ld + j,
                         hy_vec_load(a + i * l->ld + j) * hy_vec_load(b + i * l->ld + j));
}

/* c = a, each column times its factor. */
static void scale_columns(const struct hy_scan_lower *l, const hy_real *a, const hy_real *factors,
                          hy_real *c)
{
    for (int64_t i = 0; i < l->size; i++)
        for (int64_t j = 0; j < l->size; j += B)
            hy_vec_store(c + i * l->ld + j,
                         hy_vec_load(a + i * l->ld + j) * hy_vec_load(factors + j));
}

/* A, U and X, and with them P, read and write. */
static void load_delta(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_scan_lower exact = hy_level_lower(w, at, HY_PRECISION_FLOAT32);
    const struct hy_scan_lower tri = hy_level_lower(w, at, p->precision);
    const int64_t C = w->C, kp = p->kp;
    const struct hy_scan_part beta =
        hy_scan_part_of(p, p->op->in[HY_SCAN_BETA], at->first, head, 1);
    mul_elements(&exact, w->gram_k, w->decays.between, w->pair_k);
    for (int64_t i = 0; i < at->size; i++) {
        w->pair_k[i * C + i] = 0; /* a token does not read what it writes itself */
        w->beta[i] = i < at->rows ? beta.data[i * beta.ld] : 0;
        w->minus_beta[i] = -w->beta[i];
        for (int64_t j = 0; j < at->size; j++)
            w->x[i * C + j] = w->minus_beta[i] * w->pair_k[i * C + j];
    }
    invert(&exact, w->x, w->inverse);
    scale_columns(&exact, w->inverse, w->beta, w->x);
    hy_scan_mul_lower(&exact, at->size, w->pair_q, w->x, C, NULL, NULL, w->pair, C);
    hy_scan_scale_rows(at->size, kp, w->decays.into, w->q, w->read);
    hy_scan_scale_rows(at->size, kp, w->decays.rest, w->k, w->rested);
    for (int64_t i = 0; i < at->size; i++)
        for (int64_t c = 0; c < kp; c += B)
            hy_vec_store(w->erase + i * kp + c,
                         -w->decays.into[i] * hy_vec_load(w->k + i * kp + c));
    hy_scan_mul_lower(&tri, kp, w->pair, w->erase, kp, w->read, NULL, w->read, kp);
    hy_scan_mul_lower_turned(&tri, kp, w->x, w->rested, kp, NULL, NULL, w->write, kp);
}

void hy_level_fetch_lambda(const struct hy_level_work *w, const struct hy_scan_span *at,
                           const struct hy_tensor *t, int64_t head)
{
    for (int half = 0; half < 2; half++)
        hy_scan_fetch_rows(&w->plan, at, t, head, w->levels, half);
}

void hy_level_load_head(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    hy_scan_load_decays(p, at, head, &w->decays, w->gram_q, w->pair_q);
    load_lambda(w, at, head);
    hy_scan_load_rows(p, at, p->op->in[HY_SCAN_V], head, p->v, 1, w->v);
    if (p->delta)
        load_delta(w, at, head);
    else
        hy_scan_scale_rows(at->size, p->vp, w->decays.rest, w->v, w->written);
    mix(w, at);
    for (int slot = 0; at->chunk >> slot; slot++)
        for (int64_t i = 0; i < at->size; i++)
            w->weights[slot * w->C + i] =
                w->lambda[(w->within + 1 + slot) * w->C + i] * (p->delta ? 1 : w->decays.into[i]);
}

/* ---- States ---- */

hy_real *hy_level_state(const struct hy_level_work *w, int64_t sequence, int64_t head,
                        int64_t chunk, int slot)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_tensor *t = p->op->out[HY_SCAN_STATES];
    if (!t)
        return w->states + (head % p->sharing * w->slots + slot) * p->state;
    const int64_t below = __builtin_popcountll((uint64_t)chunk & ((UINT64_C(1) << slot) - 1));
    const int64_t index =
        (sequence * p->heads + head) * hy_level_kept(p->chunks) + hy_level_kept(chunk) + below;
    return hy_real_data(t, p->replica) + index * p->state;
}

int hy_level_merge(const struct hy_scan_span *at)
{
    return __builtin_ctzll((uint64_t)at->chunk + 1);
}

const hy_real *hy_level_sources(const struct hy_level_work *w, const struct hy_scan_span *at,
                                int64_t head, int slot)
{
    if (slot != hy_level_merge(at))
        return hy_level_state(w, at->sequence, head, at->chunk, slot);
    if (slot == 0)
        return NULL;
    const hy_real *sum = hy_level_state(w, at->sequence, head, at->chunk, 0);
    for (int below = 1; below < slot; below++) {
        const hy_real *state = hy_level_state(w, at->sequence, head, at->chunk, below);
        for (int64_t i = 0; i < w->plan.state; i += B)
            hy_vec_store(w->total + i, hy_vec_load(sum + i) + hy_vec_load(state + i));
        sum = w->total;
    }
    return sum;
}

const hy_real *hy_level_written(const struct hy_level_work *w, const struct hy_scan_span *at,
                                const hy_real *sources, int own)
{
    const struct hy_scan_plan *p = &w->plan;
    const hy_real *v = !own ? NULL : p->delta ? w->v : w->written;
    if (!p->delta || !sources)
        return v;
    hy_micro_mul(p->precision, at->size, p->vp, p->kp, hy_left_plain(w->erase, p->kp), sources,
                 p->vp, v, NULL, w->written, p->vp);
    return w->written;
}

/* ---- Forward ---- */

static void advance(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head,
                    int slot)
{
    const struct hy_scan_plan *p = &w->plan;
    const hy_real *sources = hy_level_sources(w, at, head, slot);
    const hy_real *written = hy_level_written(w, at, sources, slot == hy_level_merge(at));
    hy_real *to = hy_level_state(w, at->sequence, head, at->chunk + 1, slot);
    if (written)
        hy_micro_mul(p->precision, p->kp, p->vp, at->size, hy_left_turned(w->write, p->kp), written,
                     p->vp, sources, w->decays.through, to, p->vp);
    else
        hy_scan_scale_rows(p->kp, p->vp, w->decays.through, sources, to);
}

static void forward_head(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head)
{
    const struct hy_scan_plan *p = &w->plan;
    const struct hy_scan_lower tri = hy_level_lower(w, at, p->precision);
    const int64_t vp = p->vp;
    hy_level_load_head(w, at, head);
    const hy_real *from = NULL, *keep = NULL; /* the first slot is weighted in the next product */
    for (int slot = 0; at->chunk >> slot; slot++) {
        if (!(at->chunk >> slot & 1))
            continue;
        const hy_real *weights = w->weights + slot * w->C, *read = w->read;
        if (from) {
            hy_scan_scale_rows(at->size, p->kp, weights, w->read, w->scaled);
            read = w->scaled;
        }
        hy_micro_mul(p->precision, at->size, vp, p->kp, hy_left_plain(read, p->kp),
                     hy_level_state(w, at->sequence, head, at->chunk, slot), vp, from, keep, w->o,
                     vp);
        keep = from ? NULL : weights;
        from = w->o;
    }
    hy_scan_fetch_rows(p, at, p->op->in[HY_SCAN_V], head + 1, p->v, 0);
    hy_level_fetch_lambda(w, at, p->op->in[HY_LEVEL_LAMBDA], head + 1);
    hy_scan_mul_lower(&tri, vp, w->mixed, w->v, vp, from, keep, w->o, vp);
    hy_scan_fetch_rows(p, at, p->op->in[HY_SCAN_V], head + 1, p->v, 1);
    hy_scan_store(hy_scan_part_of(p, p->op->out[HY_SCAN_O], at->first, head, p->v), w->o, vp,
                  at->rows, p->v, 1, 0);
    const int64_t next = at->chunk + 1;
    for (int slot = 0; next < p->chunks && next >> slot; slot++)
        if (next >> slot & 1)
            advance(w, at, head, slot);
}

void hy_scan_levels_forward(const struct hy_op *op, int replica)
{
    struct hy_level_work w;
    hy_level_work_of(op, replica, &w);
    const struct hy_scan_plan *p = &w.plan;
    for (int64_t sequence = 0; sequence < p->batch; sequence++)
        for (int64_t group = 0; group < p->heads / p->sharing; group++)
            for (int64_t chunk = 0; chunk < p->chunks; chunk++) {
                const struct hy_scan_span at = hy_scan_span_of(p, sequence, chunk);
                hy_level_load_keys(&w, &at, group);
                for (int64_t h = group * p->sharing; h < (group + 1) * p->sharing; h++)
                    forward_head(&w, &at, h);
            }
}

/* ---- From a cache ---- */

/* A head's state in a cache: key_width rows of value_width, rows ld apart. */
struct cached {
    hy_real *data;
    int64_t ld, rows, cols;
};

static struct cached cached_level(const struct hy_scan_plan *p, int64_t sequence, int64_t head,
                                  int64_t level)
{
    const struct hy_tensor *t = p->op->out[HY_SCAN_HT];
    const int64_t levels = t->rows / (p->batch * p->heads * p->k);
    const int64_t row = ((sequence * p->heads + head) * levels + level) * p->k;
    return (struct cached){hy_real_data(t, p->replica) + row * t->ld, t->ld, p->k, p->v};
}

/* The token before left levels 0 to n of it; now they are one, level n + 1. */
static void merge_levels(const struct hy_scan_plan *p, int64_t sequence, int64_t head, int64_t n)
{
    const struct cached to = cached_level(p, sequence, head, n + 1);
    for (int64_t level = 0; level <= n; level++) {
        const struct cached from = cached_level(p, sequence, head, level);
        for (int64_t c = 0; c < p->k; c++)
            for (int64_t v = 0; v < p->v; v++) {
                to.data[c * to.ld + v] += from.data[c * from.ld + v];
                from.data[c * from.ld + v] = 0;
            }
    }
}

/* A token as one head sees it. */
struct token {
    const hy_real *q, *k; /* as in the tensors: q is not scaled */
    hy_real step, beta;
};

/* A state decays and, delta, loses what k recalls of it; o += weight * state' q. */
static void recall(const struct token *x, const struct cached *state, hy_real weight, int delta,
                   hy_real *restrict recalled, hy_real *restrict o)
{
    memset(recalled, 0, (size_t)state->cols * sizeof *recalled);
    for (int64_t c = 0; delta && c < state->rows; c++) {
        const hy_real *restrict row = state->data + c * state->ld;
        const hy_real k = x->beta * x->step * x->k[c];
#pragma omp simd
        for (int64_t v = 0; v < state->cols; v++)
            recalled[v] += k * row[v];
    }
    for (int64_t c = 0; c < state->rows; c++) {
        hy_real *restrict row = state->data + c * state->ld;
        const hy_real k = x->k[c], read = weight * x->q[c];
#pragma omp simd
        for (int64_t v = 0; v < state->cols; v++) {
            row[v] = x->step * row[v] - k * recalled[v];
            o[v] += read * row[v];
        }
    }
}

static void continue_token(const struct hy_level_work *w, int64_t sequence, int64_t head, int64_t t)
{
    const struct hy_scan_plan *p = &w->plan;
    struct hy_tensor *const *in = p->op->in;
    const int64_t row = sequence * p->tokens + t, position = p->op->graph->position + t;
    const hy_real *decay =
        hy_scan_part_of(p, in[HY_SCAN_DECAY], p->decay == DECAY_CONSTANT ? 0 : row, head, 1).data;
    const hy_real *beta = hy_scan_part_of(p, in[HY_SCAN_BETA], row, head, 1).data;
    const hy_real *lambda = hy_scan_part_of(p, in[HY_LEVEL_LAMBDA], row, head, w->levels).data;
    const hy_real *v = hy_scan_part_of(p, in[HY_SCAN_V], row, head, p->v).data;
    hy_real *restrict to = hy_scan_part_of(p, p->op->out[HY_SCAN_O], row, head, p->v).data;
    const struct token x = {hy_scan_key_part(p, in[HY_SCAN_Q], row, head).data,
                            hy_scan_key_part(p, in[HY_SCAN_K], row, head).data,
                            decay ? hy_exp(*decay) : 1, beta ? *beta : 1};
    hy_real match = 0, *o = w->o;
    if (position)
        merge_levels(p, sequence, head, __builtin_ctzll((uint64_t)position));
    const struct cached own = cached_level(p, sequence, head, 0);
    for (int64_t c = 0; c < p->k; c++) {
        const hy_real k = x.beta * x.k[c];
        match += x.q[c] * k;
        for (int64_t i = 0; i < p->v; i++)
            own.data[c * own.ld + i] = k * v[i];
    }
    for (int64_t i = 0; i < p->v; i++)
        o[i] = lambda[0] * match * v[i];
    for (int bit = 0; position >> bit; bit++) {
        const struct cached state = cached_level(p, sequence, head, bit + 1);
        if (position >> bit & 1)
            recall(&x, &state, lambda[bit + 1], p->delta, w->v, o);
    }
    for (int64_t i = 0; i < p->v; i++)
        to[i] = p->scale * o[i];
}

void hy_scan_levels_continue(const struct hy_op *op, int replica)
{
    struct hy_level_work w;
    hy_level_work_of(op, replica, &w);
    const struct hy_scan_plan *p = &w.plan;
    for (int64_t sequence = 0; sequence < p->batch; sequence++)
        for (int64_t head = 0; head < p->heads; head++)
            for (int64_t t = 0; t < p->tokens; t++)
                continue_token(&w, sequence, head, t);
}
