#include "core/ops/scan/scan_work.h"

#include <string.h>

#include "core/ops/scan/scan_shared.h"
#include "core/ops/support/vec.h"

/* Of a chunk that is multiplied whole: its pairs must stay in cache. */
enum { MOST_ROWS = 128 };

struct hy_scan_plan hy_scan_plan_of(const struct hy_op *op, int replica)
{
    const struct hy_scan *s = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const struct hy_tensor *decay = op->in[HY_SCAN_DECAY];
    struct hy_scan_plan p = {
        .op = op,
        .precision = hy_precision_of(op->graph),
        .replica = replica,
        .delta = op->in[HY_SCAN_BETA] != NULL,
        .heads = s->heads,
        .sharing = s->heads / s->key_heads,
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
    p.decays = p.decay == DECAY_CHANNEL ? p.kp : 1;
    p.by_chunk = p.sharing > 1 && !p.delta && p.decay != DECAY_CHANNEL && p.tokens > 1 &&
                 p.blocks * B <= MOST_ROWS;
    return p;
}

/* ---- Scratch ---- */

/* One more vector between arrays keeps those of 4 KiB from agreeing in the low bits of their
 * addresses, which would stall loads behind stores. */
hy_real *hy_scan_take(hy_real *base, int64_t *used, int64_t count)
{
    hy_real *at = base ? base + *used : NULL;
    *used += hy_lanes_up(count) + B;
    return at;
}

static void take_block(const struct hy_scan_plan *p, hy_real *base, int64_t *used,
                       struct hy_scan_block *b)
{
    b->q = hy_scan_take(base, used, B * p->kp);
    b->k = hy_scan_take(base, used, B * p->kp);
    b->w = hy_scan_take(base, used, B * p->vp);
    b->y = p->delta ? hy_scan_take(base, used, B * p->vp) : NULL;
    b->beta = p->delta ? hy_scan_take(base, used, B) : NULL;
    b->step = hy_scan_take(base, used, B * p->decays);
    b->into = hy_scan_take(base, used, B * p->decays);
    b->rest = hy_scan_take(base, used, B * p->decays);
    b->through = hy_scan_take(base, used, p->kp);
    b->between = p->decay == DECAY_CHANNEL ? NULL : hy_scan_take(base, used, B * B);
}

/* Returns the number of elements. base NULL: only counts. */
static int64_t take_work(const struct hy_scan_plan *p, hy_real *base, struct hy_scan_work *w)
{
    const int backward = p->op->pass == HY_BACKWARD;
    const int64_t blocks = backward ? p->blocks : 1;
    const int64_t width = sizeof *base, block = (int64_t)sizeof *w->blocks;
    int64_t used = 0;
    w->blocks =
        (struct hy_scan_block *)hy_scan_take(base, &used, (blocks * block + width - 1) / width);
    for (int64_t i = 0; i < blocks; i++) {
        struct hy_scan_block counted;
        take_block(p, base, &used, base ? &w->blocks[i] : &counted);
    }
    w->states = hy_scan_take(base, &used, blocks * p->state);
    w->read = hy_scan_take(base, &used, 2 * B * p->kp);
    w->write = hy_scan_take(base, &used, B * p->kp);
    w->values = hy_scan_take(base, &used, 2 * B * p->vp);
    w->turned_k = hy_scan_take(base, &used, B * p->kp);
    w->pair_q = hy_scan_take(base, &used, B * B);
    w->pair_k = hy_scan_take(base, &used, B * B);
    if (backward) {
        w->dstate = hy_scan_take(base, &used, p->state);
        w->dw = hy_scan_take(base, &used, B * p->vp);
        w->turned_w = hy_scan_take(base, &used, B * p->vp);
        w->turned_values = hy_scan_take(base, &used, 2 * B * p->vp);
        w->turned_read = hy_scan_take(base, &used, 2 * B * p->kp);
        w->turned_write = hy_scan_take(base, &used, B * p->kp);
        w->dread = hy_scan_take(base, &used, 2 * B * p->kp);
        w->dwrite = hy_scan_take(base, &used, B * p->kp);
        w->carry = hy_scan_take(base, &used, p->kp);
        w->decay = hy_scan_take(base, &used, B * p->kp);
        w->rates = hy_scan_take(base, &used, B);
    }
    return used;
}

size_t hy_scan_scratch(const struct hy_op *op)
{
    const struct hy_scan_plan p = hy_scan_plan_of(op, 0);
    struct hy_scan_work w;
    const int64_t count = p.by_chunk ? hy_scan_shared_elements(&p) : take_work(&p, NULL, &w);
    return (size_t)count * sizeof(hy_real);
}

void hy_scan_work_of(const struct hy_scan_plan *p, struct hy_scan_work *w)
{
    *w = (struct hy_scan_work){0};
    take_work(p, hy_real_data(p->op->scratch, p->replica), w);
}

/* ---- In and out of the tensors ---- */

struct hy_scan_part hy_scan_part_of(const struct hy_scan_plan *p, const struct hy_tensor *t,
                                    int64_t row, int64_t head, int64_t width)
{
    if (!t)
        return (struct hy_scan_part){0};
    return (struct hy_scan_part){hy_real_data(t, p->replica) + row * t->ld + head * width, t->ld};
}

struct hy_scan_part hy_scan_key_part(const struct hy_scan_plan *p, const struct hy_tensor *t,
                                     int64_t row, int64_t head)
{
    return hy_scan_part_of(p, t, row, head / p->sharing, p->k);
}

void hy_scan_fetch(const struct hy_scan_plan *p, const struct hy_tensor *t, int64_t row,
                   int64_t head, int64_t width)
{
    if (!t || row < 0 || row + B > t->rows)
        return;
    const struct hy_scan_part from = hy_scan_part_of(p, t, row, head, width);
    for (int64_t i = 0; i < B; i++)
        for (int64_t c = 0; c < width; c += B)
            __builtin_prefetch(from.data + i * from.ld + c);
}

void hy_scan_load(hy_real *to, int64_t padded, struct hy_scan_part from, int rows, int64_t cols,
                  hy_real scale)
{
    for (int i = 0; i < rows; i++, to += padded) {
        const hy_real *row = from.data + i * from.ld;
        int64_t c = 0;
        for (; c + B <= cols; c += B) {
            hy_vec_store(to + c, scale * hy_vec_load(row + c));
        }
        for (; c < cols; c++)
            to[c] = scale * row[c];
        for (; c < padded; c++)
            to[c] = 0;
    }
    if (rows < B)
        memset(to, 0, (size_t)((B - rows) * padded) * sizeof *to);
}

void hy_scan_store(struct hy_scan_part to, const hy_real *from, int64_t padded, int64_t rows,
                   int64_t cols, hy_real scale, int add)
{
    for (int64_t i = 0; i < rows; i++, from += padded) {
        hy_real *row = to.data + i * to.ld;
        int64_t c = 0;
        for (; c + B <= cols; c += B) {
            hy_vec x = scale * hy_vec_load(from + c);
            if (add)
                x += hy_vec_load(row + c);
            hy_vec_store(row + c, x);
        }
        for (; c < cols; c++)
            row[c] = (add ? row[c] : 0) + scale * from[c];
    }
}

static struct hy_scan_part state_part(const struct hy_scan_plan *p, const struct hy_tensor *t,
                                      int64_t sequence, int64_t head)
{
    return hy_scan_part_of(p, t, (sequence * p->heads + head) * p->k, 0, 0);
}

void hy_scan_load_state(const struct hy_scan_plan *p, const struct hy_tensor *t, int64_t sequence,
                        int64_t head, hy_real *state)
{
    const struct hy_scan_part from = state_part(p, t, sequence, head);
    memset(state, 0, (size_t)p->state * sizeof *state);
    for (int64_t c = 0; t && c < p->k; c++)
        memcpy(state + c * p->vp, from.data + c * from.ld, (size_t)p->v * sizeof *state);
}

void hy_scan_store_state(const struct hy_scan_plan *p, const struct hy_tensor *t, int64_t sequence,
                         int64_t head, const hy_real *state, int add)
{
    hy_scan_store(state_part(p, t, sequence, head), state, p->vp, t ? p->k : 0, p->v, 1, add);
}

hy_real *hy_scan_kept_state(const struct hy_scan_plan *p, int64_t sequence, int64_t head,
                            int64_t chunk)
{
    const struct hy_tensor *t = p->op->out[HY_SCAN_STATES];
    const int64_t index = (sequence * p->heads + head) * (p->chunks + 1) + chunk;
    return t ? hy_real_data(t, p->replica) + index * p->state : NULL;
}

/* ---- Blocks ---- */

int hy_scan_rows(const struct hy_scan_plan *p, int64_t chunk, int64_t block)
{
    const int64_t end = (chunk + 1) * p->chunk < p->tokens ? (chunk + 1) * p->chunk : p->tokens;
    const int64_t left = end - chunk * p->chunk - block * B;
    return (int)(left < 0 ? 0 : left < B ? left : B);
}

/* step = e^g, 1 where there is no decay. */
static void load_steps(const struct hy_scan_plan *p, struct hy_scan_block *b, int64_t head)
{
    const int64_t cols = p->decay == DECAY_CHANNEL ? p->k : 1;
    const int64_t row = p->decay == DECAY_CONSTANT ? 0 : b->row;
    const struct hy_scan_part from = hy_scan_part_of(p, p->op->in[HY_SCAN_DECAY], row, head, cols);
    for (int i = 0; i < B; i++) {
        hy_real *restrict step = b->step + i * p->decays;
        int64_t c = 0;
        if (from.data && i < b->rows) {
            const hy_real *restrict g = from.data + (p->decay == DECAY_CONSTANT ? 0 : i * from.ld);
            for (; c < cols; c++)
                step[c] = hy_exp(g[c]);
        }
        for (; c < p->decays; c++)
            step[c] = 1;
    }
}

static void accumulate_by_head(struct hy_scan_block *b, int64_t kp)
{
    hy_real into = 1, rest = 1;
    for (int i = 0; i < B; i++)
        b->into[i] = into *= b->step[i];
    for (int i = B - 1; i >= 0; i--) {
        b->rest[i] = rest;
        rest *= b->step[i];
    }
    for (int64_t c = 0; c < kp; c++)
        b->through[c] = into;
    hy_pair_between(b->step, b->between);
}

static void accumulate_by_channel(struct hy_scan_block *b, int64_t kp)
{
    for (int64_t c = 0; c < kp; c += B) {
        hy_vec into = hy_vec_all(1), rest = into;
        for (int i = 0; i < B; i++) {
            into *= hy_vec_load(b->step + i * kp + c);
            hy_vec_store(b->into + i * kp + c, into);
        }
        hy_vec_store(b->through + c, into);
        for (int i = B - 1; i >= 0; i--) {
            hy_vec_store(b->rest + i * kp + c, rest);
            rest *= hy_vec_load(b->step + i * kp + c);
        }
    }
}

void hy_scan_load_block(const struct hy_scan_plan *p, struct hy_scan_block *b, int64_t row,
                        int rows, int64_t head)
{
    struct hy_tensor *const *in = p->op->in;
    b->row = row;
    b->rows = rows;
    hy_scan_load(b->q, p->kp, hy_scan_key_part(p, in[HY_SCAN_Q], row, head), rows, p->k, p->scale);
    hy_scan_load(b->k, p->kp, hy_scan_key_part(p, in[HY_SCAN_K], row, head), rows, p->k, 1);
    if (p->delta)
        hy_scan_load(b->beta, 1, hy_scan_part_of(p, in[HY_SCAN_BETA], row, head, 1), rows, 1, 1);
    load_steps(p, b, head);
    if (p->decay == DECAY_CHANNEL)
        accumulate_by_channel(b, p->kp);
    else
        accumulate_by_head(b, p->kp);
}

void hy_scan_decay(const struct hy_scan_plan *p, const hy_real *factors, const hy_real *x,
                   hy_real *out)
{
    const int64_t kp = p->kp;
    for (int i = 0; i < B; i++) {
        for (int64_t c = 0; c < kp; c += B) {
            const hy_vec factor = p->decay == DECAY_CHANNEL ? hy_vec_load(factors + i * kp + c)
                                                            : hy_vec_all(factors[i]);
            hy_vec_store(out + i * kp + c, factor * hy_vec_load(x + i * kp + c));
        }
    }
}

void hy_scan_advance(const struct hy_scan_plan *p, const struct hy_scan_work *w,
                     const struct hy_scan_block *b)
{
    hy_micro_mul(p->precision, p->kp, p->vp, B, hy_left_turned(w->write, p->kp), b->w, p->vp,
                 b->before, b->through, b->after, p->vp);
}
