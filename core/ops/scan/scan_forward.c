#include <string.h>

#include "core/ops/scan/scan_shared.h"

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

static void forward_block(const struct hy_scan_plan *p, struct hy_scan_work *w,
                          struct hy_scan_block *b, int64_t head)
{
    const struct hy_op *op = p->op;
    const struct hy_pair pair = hy_scan_pair(p, b);
    const int64_t kp = p->kp, vp = p->vp;
    hy_real *o = w->values, *from_k = w->values + B * vp;
    hy_scan_decay(p, b->into, b->q, w->read);
    hy_scan_decay(p, b->rest, b->k, w->write);
    if (p->delta)
        hy_scan_decay(p, b->into, b->k, w->read + B * kp);
    hy_scan_fetch(p, op->in[HY_SCAN_Q], b->row + B, head / p->sharing, p->k);
    hy_micro_transpose(B, kp, b->k, kp, w->turned_k, B);
    hy_pair_forward(&pair, b->q, w->turned_k, w->pair_q);
    hy_scan_fetch(p, op->in[HY_SCAN_K], b->row + B, head / p->sharing, p->k);
    hy_micro_mul(p->precision, p->delta ? 2 * B : B, vp, kp, hy_left_plain(w->read, kp), b->before,
                 vp, NULL, NULL, o, vp);
    const struct hy_scan_part v = hy_scan_part_of(p, op->in[HY_SCAN_V], b->row, head, p->v);
    if (p->delta) {
        hy_pair_forward(&pair, b->k, w->turned_k, w->pair_k);
        hy_scan_load(b->y, vp, v, b->rows, p->v, 1);
        for (int64_t i = 0; i < B * vp; i++)
            b->y[i] -= from_k[i];
        substitute(vp, w->pair_k, b->beta, b->y, b->w);
        if (op->out[HY_SCAN_ERRORS])
            hy_scan_store(hy_scan_part_of(p, op->out[HY_SCAN_ERRORS], b->row, head, p->v), b->y, vp,
                          b->rows, p->v, 1, 0);
    } else {
        hy_scan_load(b->w, vp, v, b->rows, p->v, 1);
    }
    hy_scan_fetch(p, op->in[HY_SCAN_V], b->row + B, head, p->v);
    hy_micro_mul(p->precision, B, vp, B, hy_left_plain(w->pair_q, B), b->w, vp, o, NULL, o, vp);
    hy_scan_store(hy_scan_part_of(p, op->out[HY_SCAN_O], b->row, head, p->v), o, vp, b->rows, p->v,
                  1, 0);
    hy_scan_fetch(p, op->out[HY_SCAN_O], b->row + B, head, p->v);
    hy_scan_advance(p, w, b);
}

/* One token per sequence: the recurrence itself, one walk over the state, two with the delta step.
 */
static void forward_token(const struct hy_scan_plan *p, struct hy_scan_work *w,
                          struct hy_scan_block *b, int64_t head)
{
    const struct hy_op *op = p->op;
    const int64_t vp = p->vp;
    const hy_real *state = b->before;
    hy_real *restrict o = w->values, *restrict written = b->w, *after = b->after;
    hy_scan_load(written, vp, hy_scan_part_of(p, op->in[HY_SCAN_V], b->row, head, p->v), 1, p->v,
                 1);
    if (p->delta) {
        for (int64_t c = 0; c < p->k; c++) {
            const hy_real k = b->k[c] * b->through[c];
            for (int64_t v = 0; v < vp; v++)
                written[v] -= k * state[c * vp + v];
        }
        for (int64_t v = 0; v < vp; v++)
            written[v] *= b->beta[0];
    }
    memset(o, 0, (size_t)vp * sizeof *o);
    for (int64_t c = 0; c < p->k; c++) {
        const hy_real q = b->q[c], k = b->k[c], step = b->through[c];
#pragma omp simd
        for (int64_t v = 0; v < vp; v++) {
            const hy_real s = step * state[c * vp + v] + k * written[v];
            after[c * vp + v] = s;
            o[v] += q * s;
        }
    }
    hy_scan_store(hy_scan_part_of(p, op->out[HY_SCAN_O], b->row, head, p->v), o, vp, 1, p->v, 1, 0);
}

static void forward_head(const struct hy_scan_plan *p, struct hy_scan_work *w, int64_t sequence,
                         int64_t head)
{
    const struct hy_op *op = p->op;
    const int one_by_one = p->tokens == 1 && op->graph->shape.mode != HY_TRAIN;
    struct hy_scan_block *b = &w->blocks[0];
    hy_real *kept = hy_scan_kept_state(p, sequence, head, 0), *state = kept ? kept : w->states;
    hy_scan_load_state(p, op->in[HY_SCAN_H0], sequence, head, state);
    for (int64_t chunk = 0; chunk < p->chunks; chunk++) {
        kept = hy_scan_kept_state(p, sequence, head, chunk + 1);
        int rows = hy_scan_rows(p, chunk, 0);
        for (int64_t i = 0; rows > 0; i++) {
            const int next = i + 1 < p->blocks ? hy_scan_rows(p, chunk, i + 1) : 0;
            b->before = state;
            b->after = kept && next == 0 ? kept : w->states;
            hy_scan_load_block(p, b, sequence * p->tokens + chunk * p->chunk + i * B, rows, head);
            if (one_by_one)
                forward_token(p, w, b, head);
            else
                forward_block(p, w, b, head);
            state = b->after;
            rows = next;
        }
    }
    hy_scan_store_state(p, op->out[HY_SCAN_HT], sequence, head, state, 0);
}

void hy_scan_forward(const struct hy_op *op, int replica)
{
    const struct hy_scan_plan p = hy_scan_plan_of(op, replica);
    struct hy_scan_work w;
    if (p.by_chunk) {
        hy_scan_shared_forward(&p);
        return;
    }
    hy_scan_work_of(&p, &w);
    for (int64_t sequence = 0; sequence < p.batch; sequence++)
        for (int64_t head = 0; head < p.heads; head++)
            forward_head(&p, &w, sequence, head);
}
