/* queue.h - which runs of a plan wait, run and have ended: what comes next, and how far the sweep
 * is. A run whose source (hy_plan_run.source) is not done is held: it does not wait yet. Knows no
 * rank and no store; nothing here takes longer with more runs. */
#ifndef HY_RUNNER_LEAD_QUEUE_H
#define HY_RUNNER_LEAD_QUEUE_H

#include "runner/plan/plan.h"
#include "runner/lead/progress.h"

struct hy_queue;

/* All runs wait, or are held. plan: borrowed. */
int hy_queue_new(const struct hy_plan *plan, struct hy_queue **out, struct hy_err *e);
void hy_queue_free(struct hy_queue *r); /* accepts NULL */

/* A run is named by its index in the plan. */
void hy_queue_wait(struct hy_queue *r, int run);
/* As hy_queue_wait, but ahead of all that did not hurry. */
void hy_queue_hurry(struct hy_queue *r, int run);
void hy_queue_begin(struct hy_queue *r, int run);
/* status: as the store knows it. A run that ends without having begun is one of an earlier sweep.
 * The end of a source that is done releases who is held. */
void hy_queue_end(struct hy_queue *r, int run, const char *status);

int hy_queue_waits(const struct hy_queue *r, int run);
int hy_queue_is_held(const struct hy_queue *r, int run);
/* Nothing waits and nothing runs. */
int hy_queue_is_empty(const struct hy_queue *r);
/* The run that hurried first, else the longest that waits; -1: none. */
int hy_queue_next(struct hy_queue *r);
/* Seconds since a running run began. */
double hy_queue_elapsed(const struct hy_queue *r, int run);
/* eta: when so many ranks work, once a run has shown how fast they are. */
struct hy_progress hy_queue_progress(const struct hy_queue *r, int ranks);

#endif
