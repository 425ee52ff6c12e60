/* scan_chunk.h - what the scans that take a whole chunk at a time share: its rows, its decays,
 * products with triangles. */
#ifndef HY_OPS_SCAN_SCAN_CHUNK_H
#define HY_OPS_SCAN_SCAN_CHUNK_H

#include "core/ops/scan/scan_work.h"

/* A chunk; rows beyond `rows` are zero and decay nothing. */
struct hy_scan_span {
    int64_t sequence, chunk;
    int64_t first, rows; /* in the tensors */
    int64_t size;        /* in whole blocks */
};

struct hy_scan_span hy_scan_span_of(const struct hy_scan_plan *p, int64_t sequence, int64_t chunk);

/* to[size, padded] = scale * the columns of a head, zero elsewhere and where there is no tensor. */
void hy_scan_load_rows(const struct hy_scan_plan *p, const struct hy_scan_span *at,
                       const struct hy_tensor *t, int64_t head, int64_t width, hy_real scale,
                       hy_real *to);
/* The columns of a head in the gradient of an input, where it is wanted. */
void hy_scan_store_rows(const struct hy_scan_plan *p, const struct hy_scan_span *at, int input,
                        int64_t head, int64_t width, hy_real scale, const hy_real *from);
/* Asks for half the rows of a head before they are due. Between products, as few can be under way
 * at a time. */
void hy_scan_fetch_rows(const struct hy_scan_plan *p, const struct hy_scan_span *at,
                        const struct hy_tensor *t, int64_t head, int64_t width, int half);
/* to = x, each row times its factor; to may be x. */
void hy_scan_scale_rows(int64_t rows, int64_t width, const hy_real *factors, const hy_real *x,
                        hy_real *to);

/* The decays of a head in chunks of C rows at most, in whole blocks. */
struct hy_scan_decays {
    hy_real *step;        /* [C] of each row */
    hy_real *into, *rest; /* [C] from the chunk's entry; to its end, without the row's */
    hy_real *through;     /* [kp] of the chunk, for each row of the state */
    hy_real *between;     /* [C, C] from row j to row i, 0 above the diagonal */
};

void hy_scan_take_decays(const struct hy_scan_plan *p, hy_real *base, int64_t *used,
                         struct hy_scan_decays *d);
/* Also pair[C, C] = between * gram. */
void hy_scan_load_decays(const struct hy_scan_plan *p, const struct hy_scan_span *at, int64_t head,
                         const struct hy_scan_decays *d, const hy_real *gram, hy_real *pair);
/* Gradient of the log decays of a head. rates [C]: what a row of q and k as readers takes from the
 * loss by its decay, less what k as writer does; carry: <S, dS> where the chunk ends, so that a
 * row's gradient is the carry and the rates from there to the chunk's end. Overwrites rates. */
void hy_scan_store_decays(const struct hy_scan_plan *p, const struct hy_scan_span *at, int64_t head,
                          hy_real carry, hy_real *rates);
/* <x, y> of two padded states. */
hy_real hy_scan_state_dot(const struct hy_scan_plan *p, const hy_real *x, const hy_real *y);

/* ---- Products with matrices [size, size] of rows `ld` apart that are 0 above the diagonal ---- */

struct hy_scan_lower {
    enum hy_precision precision;
    int64_t size, ld;
};

/* The products are those of hy_micro_mul: what is added is keep[i] * from[i, :]. */

/* c[size, n] = keep * from + a b. */
void hy_scan_mul_lower(const struct hy_scan_lower *l, int64_t n, const hy_real *a, const hy_real *b,
                       int64_t ldb, const hy_real *from, const hy_real *keep, hy_real *c,
                       int64_t ldc);
/* c[size, n] = keep * from + a' b. */
void hy_scan_mul_lower_turned(const struct hy_scan_lower *l, int64_t n, const hy_real *a,
                              const hy_real *b, int64_t ldb, const hy_real *from,
                              const hy_real *keep, hy_real *c, int64_t ldc);
/* c[m, size] = from + a b; a has rows lda apart, b is the triangle, and c and from have rows l->ld
 * apart. */
void hy_scan_mul_by_lower(const struct hy_scan_lower *l, int64_t m, const hy_real *a, int64_t lda,
                          const hy_real *b, const hy_real *from, hy_real *c);
/* The same for b that is 0 below the diagonal. */
void hy_scan_mul_by_upper(const struct hy_scan_lower *l, int64_t m, const hy_real *a, int64_t lda,
                          const hy_real *b, const hy_real *from, hy_real *c);
/* c[size, size] = from + a b, as far as the strips of its lower half reach; a [size, k], b [k,
 * size], c and from with rows l->ld apart. */
void hy_scan_mul_into_lower(const struct hy_scan_lower *l, int64_t k, struct hy_left a,
                            const hy_real *b, int64_t ldb, const hy_real *from, hy_real *c);

#endif
