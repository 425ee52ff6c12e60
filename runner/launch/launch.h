/* launch.h - starts mpirun on a sweep and sees it through: what a person would otherwise do at the
 * terminal. Local; speaks no MPI. Open MPI 4's mpirun, whose flags it knows. */
#ifndef HY_RUNNER_LAUNCH_LAUNCH_H
#define HY_RUNNER_LAUNCH_LAUNCH_H

#include "runner/run.h"

struct hy_launch {
    struct hy_run_request run;
    int ranks;                /* 0: as many as mpirun takes to be right */
    const char *hostfile;     /* NULL: this host alone */
    const char *const *extra; /* further arguments of mpirun, NULL-ended; NULL: none */
};

/* Checks the sweep, then runs `hylas run` under mpirun so that the others go on when a rank dies.
 * Ends what outlives rank 0, starts again while runs are left and some ended since the last start,
 * and forwards signals. What became of the sweep it reads in the database, which therefore must lie
 * where this process runs, as rank 0 does. Returns as hy_run_sweep does. */
int hy_launch_sweep(const struct hy_launch *launch, struct hy_err *e);

#endif
