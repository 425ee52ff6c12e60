/* stock.h - how far a plan is, by its database: what `hylas launch` knows of the sweep that others
 * train. Local; only reads. */
#ifndef HY_RUNNER_STOCK_H
#define HY_RUNNER_STOCK_H

#include "runner/plan.h"

struct hy_stock;

/* Takes the first stock. A database that is not there yet has none of the runs. Pointers are
 * borrowed. */
int hy_stock_new(const struct hy_plan *plan, const char *database, struct hy_stock **out,
                 struct hy_err *e);
void hy_stock_free(struct hy_stock *s); /* accepts NULL */

struct hy_count {
    int done, diverged;
    int pruned; /* by the rule that the sweep has */
    int failed; /* tried since the first stock, without a result */
    int left;   /* all others */
    int64_t attempts;
};
int hy_stock_take(struct hy_stock *s, struct hy_count *out, struct hy_err *e);

#endif
