#include "core/ops/scan/scan_chunk.h"

#include "core/ops/support/vec.h"

/* Rows of a triangular product that are multiplied at a time: fewer leave out more of what lies
 * beyond the diagonal, more keep the product fast. */
enum { STRIP = 2 * B };

struct hy_scan_span hy_scan_span_of(const struct hy_scan_plan *p, int64_t sequence, int64_t chunk)
{
    const int64_t first = chunk * p->chunk, left = p->tokens - first;
    struct hy_scan_span at = {
        .sequence = sequence, .chunk = chunk, .first = sequence * p->tokens + first};
    at.rows = left < p->chunk ? left : p->chunk;
    at.size = hy_lanes_up(at.rows);
    return at;
}

/* ---- Rows ---- */

void hy_scan_load_rows(const struct hy_scan_plan *p, const struct hy_scan_span *at,
                       const struct hy_tensor *t, int64_t head, int64_t width, hy_real scale,
                       hy_real *to)
{
    const int64_t padded = hy_lanes_up(width);
    for (int64_t i = 0; i < at->size; i += B) {
        const int64_t left = at->rows - i;
        hy_scan_load(to + i * padded, padded, hy_scan_part_of(p, t, at->first + i, head, width),
                     t ? (int)(left < B ? left : B) : 0, width, scale);
    }
}

void hy_scan_fetch_rows(const struct hy_scan_plan *p, const struct hy_scan_span *at,
                        const struct hy_tensor *t, int64_t head, int64_t width, int half)
{
    const int64_t middle = at->size / 2 / B * B;
    for (int64_t i = half ? middle : 0; head < p->heads && i < (half ? at->size : middle); i += B)
        hy_scan_fetch(p, t, at->first + i, head, width);
}

void hy_scan_store_rows(const struct hy_scan_plan *p, const struct hy_scan_span *at, int input,
                        int64_t head, int64_t width, hy_real scale, const hy_real *from)
{
    const struct hy_tensor *t = p->op->din[input];
    if (t)
        hy_scan_store(hy_scan_part_of(p, t, at->first, head, width), from, hy_lanes_up(width),
                      at->rows, width, scale, hy_adds(p->op, input));
}

void hy_scan_scale_rows(int64_t rows, int64_t width, const hy_real *factors, const hy_real *x,
                        hy_real *to)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c += B)
            hy_vec_store(to + i * width + c, factors[i] * hy_vec_load(x + i * width + c));
}

/* ---- Decays ---- */

void hy_scan_take_decays(const struct hy_scan_plan *p, hy_real *base, int64_t *used,
                         struct hy_scan_decays *d)
{
    const int64_t C = p->blocks * B;
    d->step = hy_scan_take(base, used, C);
    d->into = hy_scan_take(base, used, C);
    d->rest = hy_scan_take(base, used, C);
    d->through = hy_scan_take(base, used, p->kp);
    d->between = hy_scan_take(base, used, C * C);
}

void hy_scan_load_decays(const struct hy_scan_plan *p, const struct hy_scan_span *at, int64_t head,
                         const struct hy_scan_decays *d, const hy_real *gram, hy_real *pair)
{
    const int constant = p->decay == DECAY_CONSTANT;
    const int64_t C = p->blocks * B;
    const struct hy_scan_part from =
        hy_scan_part_of(p, p->op->in[HY_SCAN_DECAY], constant ? 0 : at->first, head, 1);
    hy_real into = 1, rest = 1;
    for (int64_t i = 0; i < at->size; i++)
        d->step[i] = from.data && i < at->rows ? from.data[constant ? 0 : i * from.ld] : 0;
#pragma omp simd
    for (int64_t i = 0; i < at->size; i++)
        d->step[i] = hy_exp(d->step[i]);
    for (int64_t i = 0; i < at->size; i++)
        d->into[i] = into *= d->step[i];
    for (int64_t i = at->size - 1; i >= 0; i--) {
        d->rest[i] = rest;
        rest *= d->step[i];
    }
    for (int64_t c = 0; c < p->kp; c++)
        d->through[c] = into;
    for (int64_t j = 0; j < at->size; j += B) {
        hy_vec decay = {0};
        for (int64_t i = 0; i < at->size; i++) {
            decay = decay * d->step[i] + hy_vec_only(hy_vec_all(1), (int)(i - j));
            hy_vec_store(d->between + i * C + j, decay);
            hy_vec_store(pair + i * C + j, decay * hy_vec_load(gram + i * C + j));
        }
    }
}

void hy_scan_store_decays(const struct hy_scan_plan *p, const struct hy_scan_span *at, int64_t head,
                          hy_real carry, hy_real *rates)
{
    const struct hy_tensor *d = p->op->din[HY_SCAN_DECAY];
    for (int64_t i = at->size - 1; i >= 0; i--)
        rates[i] = carry += rates[i];
    if (p->decay == DECAY_HEAD) {
        hy_scan_store(hy_scan_part_of(p, d, at->first, head, 1), rates, 1, at->rows, 1, 1,
                      hy_adds(p->op, HY_SCAN_DECAY));
        return;
    }
    double sum = 0;
    for (int64_t i = 0; i < at->rows; i++)
        sum += rates[i];
    hy_real *to = hy_scan_part_of(p, d, 0, head, 1).data;
    const int first = at->sequence == 0 && at->chunk == p->chunks - 1;
    *to = (hy_real)(sum + (first && !hy_adds(p->op, HY_SCAN_DECAY) ? 0 : *to));
}

hy_real hy_scan_state_dot(const struct hy_scan_plan *p, const hy_real *x, const hy_real *y)
{
    hy_vec sum = {0};
    for (int64_t i = 0; i < p->state; i += B)
        sum += hy_vec_load(x + i) * hy_vec_load(y + i);
    return hy_vec_sum(sum);
}

/* ---- Triangular products ---- */

static int64_t strip(const struct hy_scan_lower *l, int64_t i)
{
    return l->size - i < STRIP ? l->size - i : STRIP;
}

void hy_scan_mul_lower(const struct hy_scan_lower *l, int64_t n, const hy_real *a, const hy_real *b,
                       int64_t ldb, const hy_real *from, const hy_real *keep, hy_real *c,
                       int64_t ldc)
{
    for (int64_t i = 0; i < l->size; i += STRIP) {
        const int64_t rows = strip(l, i);
        hy_micro_mul(l->precision, rows, n, i + rows, hy_left_plain(a + i * l->ld, l->ld), b, ldb,
                     from ? from + i * ldc : NULL, keep ? keep + i : NULL, c + i * ldc, ldc);
    }
}

void hy_scan_mul_lower_turned(const struct hy_scan_lower *l, int64_t n, const hy_real *a,
                              const hy_real *b, int64_t ldb, const hy_real *from,
                              const hy_real *keep, hy_real *c, int64_t ldc)
{
    for (int64_t j = 0; j < l->size; j += STRIP)
        hy_micro_mul(l->precision, strip(l, j), n, l->size - j,
                     hy_left_turned(a + j * l->ld + j, l->ld), b + j * ldb, ldb,
                     from ? from + j * ldc : NULL, keep ? keep + j : NULL, c + j * ldc, ldc);
}

void hy_scan_mul_by_lower(const struct hy_scan_lower *l, int64_t m, const hy_real *a, int64_t lda,
                          const hy_real *b, const hy_real *from, hy_real *c)
{
    for (int64_t j = 0; j < l->size; j += STRIP)
        hy_micro_mul(l->precision, m, strip(l, j), l->size - j, hy_left_plain(a + j, lda),
                     b + j * l->ld + j, l->ld, from ? from + j : NULL, NULL, c + j, l->ld);
}

void hy_scan_mul_by_upper(const struct hy_scan_lower *l, int64_t m, const hy_real *a, int64_t lda,
                          const hy_real *b, const hy_real *from, hy_real *c)
{
    for (int64_t j = 0; j < l->size; j += STRIP)
        hy_micro_mul(l->precision, m, strip(l, j), j + strip(l, j), hy_left_plain(a, lda), b + j,
                     l->ld, from ? from + j : NULL, NULL, c + j, l->ld);
}

void hy_scan_mul_into_lower(const struct hy_scan_lower *l, int64_t k, struct hy_left a,
                            const hy_real *b, int64_t ldb, const hy_real *from, hy_real *c)
{
    for (int64_t i = 0; i < l->size; i += STRIP) {
        const int64_t rows = strip(l, i);
        const struct hy_left part = {a.data + i * a.row, a.row, a.col};
        hy_micro_mul(l->precision, rows, i + rows, k, part, b, ldb, from ? from + i * l->ld : NULL,
                     NULL, c + i * l->ld, l->ld);
    }
}
