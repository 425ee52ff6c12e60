/* coordinator.h - what rank 0 does beside its own training: hands out runs, longest first, hears
 * what the ranks say of them, takes them back from ranks that are lost. What becomes of the runs is
 * the ledger's (runner/lead/ledger.h). Local, but for the messages it sends. */
#ifndef HY_RUNNER_LEAD_COORDINATOR_H
#define HY_RUNNER_LEAD_COORDINATOR_H

#include "runner/lead/ledger.h"
#include "runner/comm/message.h"

struct hy_coordinator;

/* patience: seconds of silence after which a rank counts as lost. */
int hy_coordinator_new(struct hy_comm *comm, const struct hy_assignment *a, double patience,
                       struct hy_coordinator **out, struct hy_err *e);
void hy_coordinator_free(struct hy_coordinator *c); /* accepts NULL */

/* Takes a message of a rank. An error of the store stops the sweep. */
int hy_coordinator_message(struct hy_coordinator *c, int from, const struct hy_message *m,
                           struct hy_err *e);
/* Gives work to idle ranks and takes the runs of lost ones back, commits once a second, shows
 * progress, sends everybody home at the end. */
int hy_coordinator_step(struct hy_coordinator *c, struct hy_err *e);
/* Interrupts all runs; ranks leave once they have stopped. */
void hy_coordinator_stop(struct hy_coordinator *c);

/* After the end: says what became of the sweep; HY_OK, HY_E_RUN or HY_E_INTERRUPTED with *e set. */
int hy_coordinator_result(const struct hy_coordinator *c, struct hy_err *e);

#endif
