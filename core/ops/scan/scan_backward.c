#include "core/ops/scan/scan_shared.h"

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

/* What flows into the written values: w->dw and, for the delta rule, -dz below do and dbeta. */
static void backward_values(const struct hy_scan_plan *p, struct hy_scan_work *w,
                            struct hy_scan_block *b, int64_t head)
{
    const struct hy_op *op = p->op;
    const struct hy_pair pair = hy_scan_pair(p, b);
    hy_real *minus_dz = w->values + B * p->vp;
    hy_micro_transpose(B, p->kp, b->k, p->kp, w->turned_k, B);
    hy_pair_forward(&pair, b->q, w->turned_k, w->pair_q);
    hy_scan_fetch(p, op->in[HY_SCAN_Q], b->row - p->chunk, head / p->sharing, p->k);
    hy_micro_mul(p->precision, B, p->vp, p->kp, hy_left_plain(w->write, p->kp), w->dstate, p->vp,
                 NULL, NULL, w->dw, p->vp);
    hy_micro_mul(p->precision, B, p->vp, B, hy_left_turned(w->pair_q, B), w->values, p->vp, w->dw,
                 NULL, w->dw, p->vp);
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
        hy_scan_store(hy_scan_part_of(p, op->din[HY_SCAN_BETA], b->row, head, 1), w->rates, 1,
                      b->rows, 1, 1, hy_adds(op, HY_SCAN_BETA));
}

/* w->dread and w->dwrite: gradients of q and k by what they read, and of k by what it writes. */
static void backward_keys(const struct hy_scan_plan *p, struct hy_scan_work *w,
                          struct hy_scan_block *b, int64_t head)
{
    const struct hy_op *op = p->op;
    const int sides = p->delta ? 2 : 1;
    const int64_t kp = p->kp, vp = p->vp;
    const struct hy_pair pair = hy_scan_pair(p, b);
    /* Products with a transposed state: the block is turned instead, and its result turned back. */
    hy_micro_transpose(B, vp, b->w, vp, w->turned_w, B);
    for (int side = 0; side < sides; side++)
        hy_micro_transpose(B, vp, w->values + side * B * vp, vp, w->turned_values + side * B,
                           sides * B);
    hy_scan_fetch(p, op->in[HY_SCAN_K], b->row - p->chunk, head / p->sharing, p->k);
    hy_scan_fetch(p, op->dout[HY_SCAN_O], b->row - B, head, p->v);
    hy_micro_mul(p->precision, kp, sides * B, vp, hy_left_plain(b->before, vp), w->turned_values,
                 sides * B, NULL, NULL, w->turned_read, sides * B);
    hy_scan_fetch(p, op->din[HY_SCAN_Q], b->row, head / p->sharing, p->k);
    hy_micro_mul(p->precision, kp, B, vp, hy_left_plain(w->dstate, vp), w->turned_w, B, NULL, NULL,
                 w->turned_write, B);
    for (int side = 0; side < sides; side++) {
        hy_real *dread = w->dread + side * B * kp;
        hy_micro_transpose(kp, B, w->turned_read + side * B, sides * B, dread, kp);
        hy_scan_decay(p, b->into, dread, dread);
    }
    hy_micro_transpose(kp, B, w->turned_write, B, w->dwrite, kp);
    hy_scan_decay(p, b->rest, w->dwrite, w->dwrite);

    hy_scan_fetch(p, op->din[HY_SCAN_K], b->row, head / p->sharing, p->k);
    hy_micro_mul(p->precision, B, B, vp, hy_left_plain(w->values, vp), w->turned_w, B, NULL, NULL,
                 w->pair_q, B);
    hy_pair_backward(&pair, w->pair_q, b->q, b->k, w->dread, w->dwrite);
    if (!p->delta)
        return;
    hy_micro_mul(p->precision, B, B, vp, hy_left_plain(w->values + B * vp, vp), w->turned_w, B,
                 NULL, NULL, w->pair_k, B);
    for (int i = 0; i < B; i++)
        w->pair_k[i * B + i] = 0; /* a token does not read what it writes itself */
    hy_pair_backward(&pair, w->pair_k, b->k, b->k, w->dread + B * kp, w->dwrite);
}

/* carry -= (k dk) as writer, += (q dq) and (k dk) as readers, from the block's end to its start; dg
 * of a row is the carry there. */
static void backward_decay(const struct hy_scan_plan *p, struct hy_scan_work *w,
                           struct hy_scan_block *b, int64_t head, double *constant)
{
    const struct hy_tensor *ddecay = p->op->din[HY_SCAN_DECAY];
    const int64_t kp = p->kp;
    hy_real *dk_read = w->dread + B * kp;
    for (int i = B - 1; i >= 0; i--) {
        hy_vec sum = {0};
        for (int64_t c = 0; c < kp; c += B) {
            const int64_t at = i * kp + c;
            hy_vec dk = -hy_vec_load(w->dwrite + at);
            if (p->delta)
                dk += hy_vec_load(dk_read + at);
            const hy_vec carry = hy_vec_load(w->carry + c) +
                                 hy_vec_load(b->q + at) * hy_vec_load(w->dread + at) +
                                 hy_vec_load(b->k + at) * dk;
            hy_vec_store(w->carry + c, carry);
            sum += carry;
            if (p->decay == DECAY_CHANNEL)
                hy_vec_store(w->decay + at, carry);
        }
        if (p->decay != DECAY_CHANNEL)
            w->rates[i] = hy_vec_sum(sum);
    }
    const int add = hy_adds(p->op, HY_SCAN_DECAY);
    if (p->decay == DECAY_CHANNEL)
        hy_scan_store(hy_scan_part_of(p, ddecay, b->row, head, p->k), w->decay, kp, b->rows, p->k,
                      1, add);
    else if (p->decay == DECAY_HEAD)
        hy_scan_store(hy_scan_part_of(p, ddecay, b->row, head, 1), w->rates, 1, b->rows, 1, 1, add);
    else
        for (int i = 0; i < b->rows; i++)
            *constant += w->rates[i];
}

static void backward_block(const struct hy_scan_plan *p, struct hy_scan_work *w,
                           struct hy_scan_block *b, int64_t head, double *constant)
{
    const struct hy_op *op = p->op;
    const int64_t kp = p->kp, vp = p->vp;
    const struct hy_tensor *d_o = op->dout[HY_SCAN_O];
    struct hy_tensor *const *din = op->din;
    hy_scan_load(w->values, vp, hy_scan_part_of(p, d_o, b->row, head, p->v), d_o ? b->rows : 0,
                 p->v, 1);
    hy_scan_decay(p, b->into, b->q, w->read);
    hy_scan_decay(p, b->rest, b->k, w->write);
    if (p->delta)
        hy_scan_decay(p, b->into, b->k, w->read + B * kp);
    backward_values(p, w, b, head);
    backward_keys(p, w, b, head);
    if (din[HY_SCAN_DECAY])
        backward_decay(p, w, b, head, constant);
    if (p->delta)
        for (int64_t i = 0; i < B * kp; i += B)
            hy_vec_store(w->dwrite + i,
                         hy_vec_load(w->dwrite + i) + hy_vec_load(w->dread + B * kp + i));
    /* Below the B rows of do lie those of -dz, and below I q lies I k: one product. */
    hy_scan_fetch(p, op->din[HY_SCAN_V], b->row, head, p->v);
    hy_scan_fetch(p, p->delta ? op->out[HY_SCAN_ERRORS] : op->in[HY_SCAN_V], b->row - p->chunk,
                  head, p->v);
    hy_micro_mul(p->precision, kp, vp, p->delta ? 2 * B : B, hy_left_turned(w->read, kp), w->values,
                 vp, w->dstate, b->through, w->dstate, vp);
    const int shared = head % p->sharing != 0; /* an earlier head's gradients are there */
    if (din[HY_SCAN_Q])
        hy_scan_store(hy_scan_key_part(p, din[HY_SCAN_Q], b->row, head), w->dread, kp, b->rows,
                      p->k, p->scale, shared || hy_adds(op, HY_SCAN_Q));
    if (din[HY_SCAN_K])
        hy_scan_store(hy_scan_key_part(p, din[HY_SCAN_K], b->row, head), w->dwrite, kp, b->rows,
                      p->k, 1, shared || hy_adds(op, HY_SCAN_K));
    if (din[HY_SCAN_V])
        hy_scan_store(hy_scan_part_of(p, din[HY_SCAN_V], b->row, head, p->v),
                      p->delta ? w->values + B * vp : w->dw, vp, b->rows, p->v, p->delta ? -1 : 1,
                      hy_adds(op, HY_SCAN_V));
}

/* Loads a chunk's blocks and rebuilds the states between them. Returns the number of blocks. */
static int64_t rebuild_chunk(const struct hy_scan_plan *p, struct hy_scan_work *w, int64_t sequence,
                             int64_t head, int64_t chunk)
{
    const struct hy_op *op = p->op;
    int64_t i = 0;
    for (int rows; i < p->blocks && (rows = hy_scan_rows(p, chunk, i)) > 0; i++) {
        struct hy_scan_block *b = &w->blocks[i];
        hy_scan_load_block(p, b, sequence * p->tokens + chunk * p->chunk + i * B, rows, head);
        if (p->delta) {
            hy_scan_load(b->y, p->vp,
                         hy_scan_part_of(p, op->out[HY_SCAN_ERRORS], b->row, head, p->v), rows,
                         p->v, 1);
            for (int r = 0; r < B; r++)
                for (int64_t c = 0; c < p->vp; c++)
                    b->w[r * p->vp + c] = b->beta[r] * b->y[r * p->vp + c];
        } else {
            hy_scan_load(b->w, p->vp, hy_scan_part_of(p, op->in[HY_SCAN_V], b->row, head, p->v),
                         rows, p->v, 1);
        }
        if (i == 0) {
            b->before = hy_scan_kept_state(p, sequence, head, chunk);
        } else {
            struct hy_scan_block *last = b - 1;
            last->after = w->states + i * p->state;
            hy_scan_decay(p, last->rest, last->k, w->write);
            hy_scan_advance(p, w, last);
            b->before = last->after;
        }
    }
    return i;
}

/* carry_c = <S, dS> of key channel c. */
static void start_carry(const struct hy_scan_plan *p, struct hy_scan_work *w, const hy_real *state)
{
    for (int64_t c = 0; c < p->kp; c++) {
        hy_vec sum = {0};
        for (int64_t v = 0; v < p->vp; v += B)
            sum += hy_vec_load(state + c * p->vp + v) * hy_vec_load(w->dstate + c * p->vp + v);
        w->carry[c] = hy_vec_sum(sum);
    }
}

static void backward_head(const struct hy_scan_plan *p, struct hy_scan_work *w, int64_t sequence,
                          int64_t head)
{
    const struct hy_op *op = p->op;
    double constant = 0;
    hy_scan_load_state(p, op->dout[HY_SCAN_HT], sequence, head, w->dstate);
    for (int64_t chunk = p->chunks - 1; chunk >= 0; chunk--) {
        const int64_t blocks = rebuild_chunk(p, w, sequence, head, chunk);
        if (op->din[HY_SCAN_DECAY])
            start_carry(p, w, hy_scan_kept_state(p, sequence, head, chunk + 1));
        for (int64_t i = blocks - 1; i >= 0; i--)
            backward_block(p, w, &w->blocks[i], head, &constant);
    }
    hy_scan_store_state(p, op->din[HY_SCAN_H0], sequence, head, w->dstate, hy_adds(op, HY_SCAN_H0));
    if (op->din[HY_SCAN_DECAY] && p->decay == DECAY_CONSTANT) {
        hy_real *ddecay = hy_scan_part_of(p, op->din[HY_SCAN_DECAY], 0, head, 1).data;
        const int add = sequence > 0 || hy_adds(op, HY_SCAN_DECAY);
        *ddecay = (hy_real)(constant + (add ? *ddecay : 0));
    }
}

void hy_scan_backward(const struct hy_op *op, int replica)
{
    const struct hy_scan_plan p = hy_scan_plan_of(op, replica);
    struct hy_scan_work w;
    if (p.by_chunk) {
        hy_scan_shared_backward(&p);
        return;
    }
    hy_scan_work_of(&p, &w);
    for (int64_t sequence = 0; sequence < p.batch; sequence++)
        for (int64_t head = 0; head < p.heads; head++)
            backward_head(&p, &w, sequence, head);
}
