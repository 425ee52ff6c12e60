/* plan.h - the runs of a sweep: each configuration once, with its key, its needs and its time. */
#ifndef HY_RUNNER_PLAN_PLAN_H
#define HY_RUNNER_PLAN_PLAN_H

#include "core/trial/trial.h"
#include "db/store.h"
#include "runner/plan/sweep.h"

struct hy_plan_run {
    struct hy_config config;
    char key[HY_HASH_TEXT];
    char *title; /* hy_config_title, and what else the matrix varies */
    struct hy_estimate estimate;
    double seconds; /* expected; 0 before hy_plan_time */
    int source;     /* index of the run whose final weights it starts from; -1: none */
    int dependants; /* runs whose source it is */
};

struct hy_plan {
    struct hy_plan_run *runs; /* in the order of the sweep; then sources that it does not name */
    int count;
    int named;           /* by the sweep; its sources follow */
    size_t combinations; /* cells of the matrix; the rest repeat a run under another name */
};

/* Checks every cell and keeps one run per key, and the source runs of these, which are shared. A
 * source takes no part in successive halving. e names file, line and column. */
int hy_plan_make(const struct hy_sweep *sweep, struct hy_plan *out, struct hy_err *e);
void hy_plan_release(struct hy_plan *p);

/* Fills in the estimates, which also shows whether the tasks' data can be opened. */
int hy_plan_estimate(struct hy_plan *p, struct hy_err *e);
/* Fills in the times, from the store's finished runs of the same precision on the same kind of
 * device. Where there are none: from a matrix product, measured on the spot, of whose speed
 * training is taken to reach half. */
int hy_plan_time(struct hy_plan *p, struct hy_store *store, struct hy_err *e);

#endif
