/* comm.h - messages between the ranks of a sweep. Two implementations of one header, chosen when
 * the program starts: comm_mpi.c (the only file that includes mpi.h) and comm_self.c (one rank, no
 * MPI).
 *
 * Nobody spins: hy_comm_receive() only looks; a waiting rank sleeps between looks. A message is a
 * byte string; messages from one sender arrive in order. A rank may send to itself. What is sent to
 * a rank that is gone vanishes without an error: who must know listens for signs of life. */
#ifndef HY_RUNNER_COMM_COMM_H
#define HY_RUNNER_COMM_COMM_H

#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"

struct hy_comm;

/* Collective. Picks MPI when started by mpirun (or srun with PMI), else a single rank. A rank that
 * dies meanwhile would keep the others waiting for ever: after so many seconds they leave, with
 * HY_E_ENV as their exit code. */
int hy_comm_open(struct hy_comm **out, int seconds, struct hy_err *e);
/* Collective; sends still under way are completed or, after a second, abandoned. */
void hy_comm_close(struct hy_comm *c);
/* Local: some rank is dead or hangs. Closing then waits for nobody, and leaves MPI as it is. */
void hy_comm_break(struct hy_comm *c);

int hy_comm_rank(const struct hy_comm *c); /* local */
int hy_comm_size(const struct hy_comm *c); /* local */
/* Local: this rank's number among those on its machine. */
int hy_comm_local_rank(const struct hy_comm *c);
/* Local: messages that this rank has sent and received so far. */
uint64_t hy_comm_traffic(const struct hy_comm *c);

/* Local: hands the bytes over (copied) and returns at once. */
int hy_comm_send(struct hy_comm *c, int to, const void *bytes, size_t size, struct hy_err *e);
/* Local: 1 and a message in *out (replaced) and *from, or 0 when none is waiting. */
int hy_comm_receive(struct hy_comm *c, struct hy_buf *out, int *from);

#endif
