/* sequences.h - the same two long sequences, whole or in part, as inputs of a scan in double; and
 * what comes out of it compared, where equal means equal to 1e-12. */
#ifndef HY_TESTS_SEQUENCES_H
#define HY_TESTS_SEQUENCES_H

#include <math.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/graph/graph.h"

/* Some tokens of sequences of `length`. */
struct part {
    int first, tokens, length;
};

/* Row t of sequence b is the same whatever part of the sequences the graph covers. */
static inline void fill_part(struct hy_tensor *t, struct part part, double lo, double hi,
                             uint32_t purpose)
{
    for (int64_t row = 0; t && row < t->rows; row++) {
        const int64_t at =
            t->rows == 1 ? 0 : row / part.tokens * part.length + part.first + row % part.tokens;
        struct hy_rng rng = hy_rng_start(3, HY_RNG_CHECK, purpose, (uint32_t)at);
        for (int64_t c = 0; c < t->cols; c++)
            ((hy_real *)t->data)[row * t->ld + c] = lo + (hi - lo) * hy_rng_uniform(&rng);
    }
}

static inline void assert_close(const hy_real *x, const hy_real *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(x[i] - y[i]) <= 1e-12))
            fail_msg("element %lld: %.15g against %.15g", (long long)i, x[i], y[i]);
}

static inline void assert_same(const struct hy_tensor *x, const struct hy_tensor *y)
{
    assert_int_equal(x != NULL, y != NULL);
    if (x)
        assert_close(x->data, y->data, x->rows * x->cols);
}

/* o of a part equals those rows of the whole. */
static inline void assert_rows(const struct hy_tensor *o, struct part part,
                               const struct hy_tensor *whole)
{
    for (int64_t b = 0; b < o->rows / part.tokens; b++)
        assert_close((const hy_real *)o->data + b * part.tokens * o->cols,
                     (const hy_real *)whole->data + (b * part.length + part.first) * o->cols,
                     part.tokens * o->cols);
}

#endif
