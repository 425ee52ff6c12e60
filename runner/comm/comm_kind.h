/* comm_kind.h - what the implementations of comm.h share. */
#ifndef HY_RUNNER_COMM_COMM_KIND_H
#define HY_RUNNER_COMM_COMM_KIND_H

#include "runner/comm/comm.h"

struct hy_comm_kind {
    int (*send)(struct hy_comm *c, int to, const void *bytes, size_t size, struct hy_err *e);
    int (*receive)(struct hy_comm *c, struct hy_buf *out, int *from);
    void (*close)(struct hy_comm *c); /* frees c */
};

/* Comes first in each implementation's own struct. */
struct hy_comm {
    const struct hy_comm_kind *kind;
    int rank, size, local_rank;
    uint64_t traffic;
    int broken; /* a rank is dead or hangs: close must not wait for it */
};

int hy_comm_self_open(struct hy_comm **out, struct hy_err *e);
/* Not in a build without MPI. */
int hy_comm_mpi_open(struct hy_comm **out, int seconds, struct hy_err *e);

#endif
