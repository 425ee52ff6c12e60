/* order.h - what rank 0 tells a rank to train, and the rank its child, as JSON:
 *
 *   {"run":R,"config":{...},"key":"...","checkpoint":"...","until":N,"source":"...","keep":true}
 *
 * run: index in the plan; key: by which rank 0 knows it; checkpoint: path of the file; until: the
 * step at which it pauses, absent: none; source: path of the checkpoint whose weights it starts
 * from, absent: none; keep: other runs start from its final weights. A list of these is a gang,
 * which trains in one child. */
#ifndef HY_RUNNER_RANK_ORDER_H
#define HY_RUNNER_RANK_ORDER_H

#include "core/base/value.h"

struct hy_order {
    int run;
    const struct hy_value *config;
    const char *key, *checkpoint;
    int64_t until;      /* 0: absent */
    const char *source; /* NULL: absent */
    int keep;
};

/* The caller frees. */
int hy_order_make(const struct hy_order *order, struct hy_value **out, struct hy_err *e);

/* A list of orders, one for each run, whose entries are of their types. The caller frees. */
int hy_order_parse(const char *json, struct hy_value **out, struct hy_err *e);

#endif
