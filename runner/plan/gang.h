/* gang.h - which runs train together: those that differ in seed, learning rate and weight decay
 * alone, as many as `run.gang` and the devices allow. Knows no rank and no store; runs are named by
 * their index in the plan. */
#ifndef HY_RUNNER_PLAN_GANG_H
#define HY_RUNNER_PLAN_GANG_H

#include "runner/plan/plan.h"

struct hy_gangs;

/* plan: with its estimates; borrowed for the call. ranks: that share the runs and the devices. */
int hy_gangs_new(const struct hy_plan *plan, int ranks, struct hy_gangs **out, struct hy_err *e);
void hy_gangs_free(struct hy_gangs *g); /* accepts NULL */

/* The most members that any gang may have: the room that hy_gangs_take() needs. */
int hy_gangs_largest(const struct hy_gangs *g);
/* The gang of `run`: itself, then others of its kind that are free, in the order of the plan.
 * Returns how many. */
int hy_gangs_take(const struct hy_gangs *g, int run, int (*is_free)(void *context, int run),
                  void *context, int *members);

/* What becomes of the runs that are still to train, open[i] != 0, if none ends early: gangs[i] is
 * the number of the gang of run i, in the order in which they begin, from 0; -1: not open. *count:
 * how many gangs there are; one run by itself is one. */
int hy_gangs_form(const struct hy_plan *plan, int ranks, const unsigned char *open, int *gangs,
                  int *count, struct hy_err *e);

#endif
