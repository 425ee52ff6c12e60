/* attention.h - what attention on the CPU does the same way for a block of queries
 * (core/ops/attention.c) and for a single one (core/ops/attention_once.c), and what its builders
 * (core/ops/attention_build.c) share. */
#ifndef HY_OPS_SUPPORT_ATTENTION_H
#define HY_OPS_SUPPORT_ATTENTION_H

#include "core/ops/support/pack.h"
#include "core/ops/support/vec.h"
#include "core/ops/support/window.h"

/* The outputs. */
enum { HY_ATTENTION_O, HY_ATTENTION_LSE, HY_ATTENTION_EXCESS };

extern const struct hy_op_kind hy_op_attention;

static inline hy_real hy_attention_capped(hy_real score, hy_real cap)
{
    return cap * (2 * hy_sigmoid(2 * score / cap) - 1);
}

/* Scores become e^(score - max); returns their sum, and the largest. count: a multiple of the
 * vector, which the compiler is told. */
static inline hy_real hy_attention_exponentials(hy_real *p, int64_t count, hy_real *largest)
{
    const int64_t n = count / HY_LANES * HY_LANES;
    hy_real max = -INFINITY, sum = 0;
#pragma omp simd reduction(max : max)
    for (int64_t j = 0; j < n; j++)
        max = p[j] > max ? p[j] : max;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        p[j] = hy_exp(p[j] - max);
        sum += p[j];
    }
    *largest = max;
    return sum;
}

/* Puts this run's keys and values where the cache has them. */
void hy_attention_append(const struct hy_op *op, int r);

/* The outputs of a run of one token, out of the cache, where its key and value are put first.
 * p: scratch, ld numbers for each head. */
void hy_attention_once(const struct hy_op *op, int r, hy_real *p, int64_t ld);

#endif
