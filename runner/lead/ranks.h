/* ranks.h - what rank 0 knows of the ranks: who wants work, who trains what, who has fallen silent.
 * Local; sends nothing. A run is named by its index in the plan, -1: none. */
#ifndef HY_RUNNER_LEAD_RANKS_H
#define HY_RUNNER_LEAD_RANKS_H

#include "core/base/err.h"

struct hy_ranks;

/* patience: seconds of silence after which a rank counts as lost. Rank 0 never does. */
int hy_ranks_new(int size, double patience, struct hy_ranks **out, struct hy_err *e);
void hy_ranks_free(struct hy_ranks *c); /* accepts NULL */

/* A sign of life. */
void hy_ranks_hear(struct hy_ranks *c, int rank);
/* Lets time pass; the next rank that is lost as of now, -1: none. Time in which this process itself
 * was stopped does not count. */
int hy_ranks_find_lost(struct hy_ranks *c);
int hy_ranks_is_lost(const struct hy_ranks *c, int rank);

/* A rank asks for work. A lost one is back then. One that has a run asked before it got that. */
void hy_ranks_ready(struct hy_ranks *c, int rank);
int hy_ranks_is_idle(const struct hy_ranks *c, int rank);
/* The rank's run: given to it, or ended or taken back (-1), after which it must ask again. */
void hy_ranks_set_run(struct hy_ranks *c, int rank, int run);
int hy_ranks_run(const struct hy_ranks *c, int rank);

#endif
