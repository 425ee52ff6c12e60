/* roster.h - which runs of a plan wait, run and have ended: what comes next, and how far the sweep
 * is. Knows no rank and no store; nothing here takes longer with more runs. */
#ifndef HY_RUNNER_ROSTER_H
#define HY_RUNNER_ROSTER_H

#include "runner/plan.h"
#include "runner/progress.h"

struct hy_roster;

/* All runs wait. plan: borrowed. */
int hy_roster_new(const struct hy_plan *plan, struct hy_roster **out, struct hy_err *e);
void hy_roster_free(struct hy_roster *r); /* accepts NULL */

/* A run is named by its index in the plan. */
void hy_roster_wait(struct hy_roster *r, int run);
/* As hy_roster_wait, but ahead of all that did not hurry. */
void hy_roster_hurry(struct hy_roster *r, int run);
void hy_roster_begin(struct hy_roster *r, int run);
/* status: as the store knows it. A run that ends without having begun is one of an earlier sweep.
 */
void hy_roster_end(struct hy_roster *r, int run, const char *status);

int hy_roster_waits(const struct hy_roster *r, int run);
/* Nothing waits and nothing runs. */
int hy_roster_is_empty(const struct hy_roster *r);
/* The run that hurried first, else the longest that waits; -1: none. */
int hy_roster_next(struct hy_roster *r);
/* Seconds since a running run began. */
double hy_roster_elapsed(const struct hy_roster *r, int run);
/* eta: when so many ranks work, once a run has shown how fast they are. */
struct hy_progress hy_roster_progress(const struct hy_roster *r, int ranks);

#endif
