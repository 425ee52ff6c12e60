/* halving.h - asynchronous successive halving: which runs go on and which are given up (Li et al.,
 * A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934, algorithm 2).
 *
 * Runs are compared on rungs, after min_steps * factor^k steps. A run on a rung goes on while it is
 * among the best floor(n / factor) of the n runs that have reached the rung so far, be it at once
 * or when others have come; nobody waits for a rung to fill. What is decided follows from the
 * scores and the order in which they came. Where so few runs are compared that none could go on to
 * its end, the best one does.
 *
 * Knows no rank and no store. A run is named by its index in the plan. */
#ifndef HY_RUNNER_LEAD_HALVING_H
#define HY_RUNNER_LEAD_HALVING_H

#include "runner/plan/plan.h"

struct hy_halving;

/* plan: borrowed. Runs without a rule are never on a rung. */
int hy_halving_new(const struct hy_plan *plan, struct hy_halving **out, struct hy_err *e);
void hy_halving_free(struct hy_halving *h); /* accepts NULL */

int hy_halving_is_used(const struct hy_halving *h); /* some run has a rule */
int hy_halving_applies(const struct hy_halving *h, int run);
enum hy_metric hy_halving_metric(const struct hy_halving *h, int run);
/* The step of rung k of a run; 0 where it has no such rung. */
int64_t hy_halving_step(const struct hy_halving *h, int run, int k);
/* Steps after which the run is next compared; 0: it goes on to its end. */
int64_t hy_halving_until(const struct hy_halving *h, int run);

/* Whether a row is a score that the run's rule compares. */
int hy_halving_looks_at(const struct hy_halving *h, int run, const struct hy_row *row);

/* The run is on its next rung, and waits there; a score that is not finite is the worst. */
void hy_halving_reach(struct hy_halving *h, int run, double score);
/* The run was on its next rung and went on, as an earlier program decided. */
void hy_halving_pass(struct hy_halving *h, int run, double score);
/* The run has ended, status as in the store: one that diverged is the worst of its next rung. */
void hy_halving_end(struct hy_halving *h, int run, const char *status);

/* Takes the next run that may go on, from the highest rung that has one; -1: none may. To be asked
 * until then whenever a run has reached a rung or has ended. */
int hy_halving_next(struct hy_halving *h);
/* For when nothing runs and nothing else waits: where none of the runs that are compared has come
 * to its end, the best of them may go on. */
void hy_halving_rescue(struct hy_halving *h);

/* "recall 0.31 after 90 steps: not among the best 4 of 12 so far", of a run that waits on a rung;
 * goes_on: of one that has just been taken from it. */
void hy_halving_reason(const struct hy_halving *h, int run, int goes_on, char *text, size_t size);

#endif
