/* serve.h - the other end of child.h: trains what a rank asked for, a run or a gang, and writes
 * rows, whether in a process of its own or in a thread of the rank. Local. */
#ifndef HY_RUNNER_RANK_SERVE_H
#define HY_RUNNER_RANK_SERVE_H

#include "core/base/err.h"

/* The environment variable that tells a child its rank's number on the machine. */
#define HY_LOCAL_RANK "HYLAS_LOCAL_RANK"
/* And what run.device "auto" means: from the first run of a rank on a GPU on, one that is lost does
 * not leave the rest of the sweep to the CPU. */
#define HY_AUTO_DEVICE "HYLAS_AUTO_DEVICE"

struct hy_service {
    const char *order;        /* JSON, as rank 0 wrote it (runner/rank/order.h) */
    const volatile int *stop; /* as in core/trial/trial.h */
    int rows_fd;              /* rows go there as JSON lines */
    int owns_process;         /* the process's memory is the run's: measured, and limited */
};

/* Fails as hy_trial_run does. Rows that nobody reads any more are dropped. */
int hy_serve(const struct hy_service *s, struct hy_err *e);

#endif
