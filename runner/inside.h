/* inside.h - a run in a thread of its rank, for `run.isolate: none`: what child.c starts in place
 * of a process. Local.
 *
 * It begins in microseconds where a process takes milliseconds. What it lacks: a crash takes the
 * rank along, and a run that does not heed its stop flag cannot be killed. */
#ifndef HY_RUNNER_INSIDE_H
#define HY_RUNNER_INSIDE_H

#include <sys/resource.h>

#include "core/base/err.h"

struct hy_inside;

/* Takes both descriptors, also on failure. What a process would print goes to words_fd. */
int hy_inside_start(const char *order, int rows_fd, int words_fd, struct hy_inside **out,
                    struct hy_err *e);
void hy_inside_stop(struct hy_inside *i);
/* 1 once it has ended: status as of wait4, usage with the thread's time alone; frees i. */
int hy_inside_poll(struct hy_inside *i, int *status, struct rusage *usage);
/* Stops it and waits for it. The other ends of the descriptors must be closed before. */
void hy_inside_free(struct hy_inside *i);

#endif
