/* worker.h - what every rank does: asks for a run, trains it in a child process, reports. Local,
 * but for the messages that it sends to rank 0. */
#ifndef HY_RUNNER_RANK_WORKER_H
#define HY_RUNNER_RANK_WORKER_H

#include "runner/comm/message.h"

struct hy_worker;

/* patience: seconds of silence after which rank 0 counts as dead. */
int hy_worker_new(struct hy_comm *comm, double patience, struct hy_worker **out, struct hy_err *e);
void hy_worker_free(struct hy_worker *w); /* accepts NULL; kills its child */

/* Takes a message of the coordinator. */
int hy_worker_message(struct hy_worker *w, const struct hy_message *m, struct hy_err *e);
/* Forwards rows, enforces limits, reports the end of a child, heeds signals, shows that this rank
 * lives. Where rank 0 is dead: stops the child, then leaves. */
int hy_worker_step(struct hy_worker *w, struct hy_err *e);
/* Sleeps until the child has written something, at most that long. */
void hy_worker_wait(const struct hy_worker *w, int microseconds);
/* 1 once the coordinator said that all is done, or is dead itself. */
int hy_worker_left(const struct hy_worker *w);

#endif
