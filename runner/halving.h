/* halving.h - asynchronous successive halving: which runs go on and which are given up (Li et al.,
 * A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934, algorithm 2).
 *
 * Runs are compared on rungs, after min_steps * factor^k steps. A run on a rung goes on while it is
 * among the best floor(n / factor) of the n runs that have reached the rung so far, and not before;
 * whoever asks for work gets the run on the highest rung that may go on. Nobody waits for a rung to
 * fill. What is decided follows from the scores and the order in which they came. Where so few runs
 * are compared that none could go on to its end, the best one does.
 *
 * Knows no rank and no store. A run is named by its index in the plan. */
#ifndef HY_RUNNER_HALVING_H
#define HY_RUNNER_HALVING_H

#include "runner/plan.h"

struct hy_halving;

/* plan: borrowed. Runs without a rule are never on a rung. */
int hy_halving_new(const struct hy_plan *plan, struct hy_halving **out, struct hy_err *e);
void hy_halving_free(struct hy_halving *h); /* accepts NULL */

int hy_halving_applies(const struct hy_halving *h, int run);
/* The step of rung k of a run; 0 where it has no such rung. */
int64_t hy_halving_step(const struct hy_halving *h, int run, int k);
/* Steps after which the run is next compared; 0: it goes on to its end. */
int64_t hy_halving_until(const struct hy_halving *h, int run);

/* The run is on its next rung, and waits there; a score that is not finite is the worst. */
void hy_halving_reach(struct hy_halving *h, int run, double score);
/* The run was on its next rung and went on, as an earlier program decided. */
void hy_halving_pass(struct hy_halving *h, int run, double score);
/* The run has ended, status as in the store: one that diverged is the worst of its next rung. */
void hy_halving_end(struct hy_halving *h, int run, const char *status);

/* Takes the next run that may go on from its rung; -1: none may. */
int hy_halving_next(struct hy_halving *h);
/* For when nothing runs and nothing else waits: where none of the runs that are compared has come
 * to its end, the best of them may go on. */
void hy_halving_rescue(struct hy_halving *h);

/* "recall 0.31 at step 100, where 3 of 12 were better": of a run on a rung. */
void hy_halving_reason(const struct hy_halving *h, int run, char *text, size_t size);

#endif
