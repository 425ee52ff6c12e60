/* thread_trial.h - a run in a thread of its rank, for `run.isolate: none`: what child.c starts in
 * place of a process. Local.
 *
 * It begins in microseconds where a process takes milliseconds. What it lacks: a crash takes the
 * rank along, and a run that does not heed its stop flag cannot be killed. */
#ifndef HY_RUNNER_RANK_THREAD_TRIAL_H
#define HY_RUNNER_RANK_THREAD_TRIAL_H

#include <sys/resource.h>

#include "core/base/err.h"

struct hy_thread_trial;

/* Takes both descriptors, also on failure. What a process would print goes to words_fd. */
int hy_thread_trial_start(const char *order, int rows_fd, int words_fd,
                          struct hy_thread_trial **out, struct hy_err *e);
void hy_thread_trial_stop(struct hy_thread_trial *i);
/* 1 once it has ended: status as of wait4, usage with the thread's time alone; frees i. */
int hy_thread_trial_poll(struct hy_thread_trial *i, int *status, struct rusage *usage);
/* Stops it and waits for it. The other ends of the descriptors must be closed before. */
void hy_thread_trial_free(struct hy_thread_trial *i);

#endif
