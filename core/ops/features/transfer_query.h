/* transfer_query.h - what hy_transfer makes of the terms of one query: on the CPU, of scores and
 * products that are there already. */
#ifndef HY_OPS_FEATURES_TRANSFER_QUERY_H
#define HY_OPS_FEATURES_TRANSFER_QUERY_H

#include "core/graph/graph.h"

/* What backward is told of a query and head: the teacher's log sum exp, the log of the sum of the
 * student's raw weights, the teacher's probability where a is above its floor, and d y / d log
 * gamma while lin stays. */
enum { HY_TOLD_LSE, HY_TOLD_LOG_SUM, HY_TOLD_MASS, HY_TOLD_PULL, HY_TOLD };

/* How a head mixes both kinds of terms. */
struct hy_transfer_mix {
    hy_real gamma, log_gamma, lin, log_lin;
};

/* Keys [0, low) lie outside the window, [low, high) in it. By keys: p, the teacher's scores; l, the
 * student's; u, products of features. All begin and end with a whole vector. Without a window low =
 * high, and there is no l. */
struct hy_transfer_terms {
    int32_t low, high;
    hy_real *p, *l, *u;
};

/* Returns y; told: [HY_TOLD]. Writes over p. */
hy_real hy_transfer_query(const struct hy_transfer_terms *w, const struct hy_transfer_mix *m,
                          hy_real *told);
/* u becomes dy d y / d u, and 0 from key low up to key `end`. */
void hy_transfer_query_far(const struct hy_transfer_terms *w, const struct hy_transfer_mix *m,
                           const hy_real *told, hy_real dy, int64_t end);
/* l becomes dy d y / d l, and 0 from key `first` up to the window and behind it up to key `end`. */
void hy_transfer_query_window(const struct hy_transfer_terms *w, const struct hy_transfer_mix *m,
                              const hy_real *told, hy_real dy, int64_t first, int64_t end);

#endif
