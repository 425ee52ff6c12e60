/* launch_progress.h - how far a plan is, by its database: what `hylas launch` knows of the sweep
 * that others train. Local; only reads. */
#ifndef HY_RUNNER_LAUNCH_LAUNCH_PROGRESS_H
#define HY_RUNNER_LAUNCH_LAUNCH_PROGRESS_H

#include "runner/plan/plan.h"

struct hy_launch_progress;

/* Takes the first look. A database that is not there yet has none of the runs. Pointers are
 * borrowed. */
int hy_launch_progress_new(const struct hy_plan *plan, const char *database,
                           struct hy_launch_progress **out, struct hy_err *e);
void hy_launch_progress_free(struct hy_launch_progress *s); /* accepts NULL */

struct hy_count {
    int done, diverged;
    int pruned; /* by the rule that the sweep has */
    int failed; /* tried since the first look, without a result */
    int left;   /* all others */
    int64_t attempts;
};
int hy_launch_progress_take(struct hy_launch_progress *s, struct hy_count *out, struct hy_err *e);

#endif
