/* rungs.h - what an earlier program decided by successive halving, read back from the store. */
#ifndef HY_RUNNER_LEAD_RUNGS_H
#define HY_RUNNER_LEAD_RUNGS_H

#include "db/store.h"
#include "runner/lead/halving.h"

/* Puts a run on the rungs that its history has scores of: on the last one it waits where it was
 * pruned (*waits), else it had left that too. id: in the store; status: as there. */
int hy_rungs_restore(struct hy_halving *h, int run, struct hy_store *store, int64_t id,
                     const char *status, int *waits, struct hy_err *e);

#endif
