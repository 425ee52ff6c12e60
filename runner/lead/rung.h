/* rung.h - one comparison of successive halving: the runs that have reached a step, by score. */
#ifndef HY_RUNNER_LEAD_RUNG_H
#define HY_RUNNER_LEAD_RUNG_H

#include "core/base/err.h"

struct hy_scored {
    double score; /* the larger one is better; of equal ones the smaller run */
    int run;
};

struct hy_rung {
    struct hy_scored *waiting; /* a heap: the best is waiting[0] */
    struct hy_scored *passed;  /* those that went on, from worst to best */
    int waiting_count, passed_count;
    int count; /* all that were compared, with those that could not wait */
};

/* For so many runs at most: nothing below fails. */
int hy_rung_init(struct hy_rung *r, int runs, struct hy_err *e);
void hy_rung_release(struct hy_rung *r);

void hy_rung_wait(struct hy_rung *r, struct hy_scored item); /* one more is compared, and waits */
void hy_rung_pass(struct hy_rung *r, struct hy_scored item); /* ... and goes on at once */
/* Whether the best of those that wait is among the best floor(count / factor) of all. */
int hy_rung_is_ready(const struct hy_rung *r, int factor);
/* Lets the best of those that wait go on; there must be one. */
int hy_rung_take(struct hy_rung *r);

#endif
