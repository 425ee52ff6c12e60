/* noop.h - runs of a task that trains nothing: the rows of a run without its work. Seen by
 * core/trial only. */
#ifndef HY_TRIAL_NOOP_H
#define HY_TRIAL_NOOP_H

#include "core/trial/trial.h"

int hy_is_noop(const struct hy_config *c);

/* As hy_trial_run of one run, but for checkpoints: it writes none, so that a run that was stopped
 * or paused begins again. */
int hy_noop_run(const struct hy_trial_order *order, const struct hy_trial_io *io, struct hy_err *e);

#endif
