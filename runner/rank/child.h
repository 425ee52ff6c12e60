/* child.h - the process that trains one run: `hylas trial`, started by its rank; or a thread of the
 * rank in its place. Local.
 *
 * The child reads its order from standard input, writes rows as JSON lines to descriptor 3
 * and stops when its parent dies. What it prints is kept as its last words. */
#ifndef HY_RUNNER_RANK_CHILD_H
#define HY_RUNNER_RANK_CHILD_H

#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "runner/rank/thread_trial.h"

struct hy_child {
    pid_t pid;                      /* 0: none */
    struct hy_thread_trial *inside; /* in place of a process; NULL: none */
    int rows_fd, words_fd;          /* -1 once at their end */
    int end_fd;          /* readable once the process is gone: its pipes end before; -1: none */
    struct hy_buf rows;  /* bytes of rows that nobody has taken yet */
    struct hy_buf words; /* the end of what it printed */
    int status;          /* of wait4, once it ended */
    struct rusage usage;
};

/* order: JSON, as rank 0 wrote it; isolated: as a process. */
int hy_child_start(struct hy_child *c, const char *order, int isolated, struct hy_err *e);
/* Reads what is there, without waiting; 1 once the child is gone and everything is read. */
int hy_child_poll(struct hy_child *c);
/* Waits until the child has something to say, at most that long. */
void hy_child_wait(const struct hy_child *c, const struct timespec *time);
/* A thread takes any signal for a request to stop. */
void hy_child_signal(const struct hy_child *c, int number);
/* Kills what still runs. */
void hy_child_release(struct hy_child *c);

#endif
