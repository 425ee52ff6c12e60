/* crew.h - what rank 0 knows of the ranks: who wants work, who trains what, who has fallen silent.
 * Local; sends nothing. A run is named by its index in the plan, -1: none. */
#ifndef HY_RUNNER_CREW_H
#define HY_RUNNER_CREW_H

#include "core/base/err.h"

struct hy_crew;

/* patience: seconds of silence after which a rank counts as lost. Rank 0 never does. */
int hy_crew_new(int size, double patience, struct hy_crew **out, struct hy_err *e);
void hy_crew_free(struct hy_crew *c); /* accepts NULL */

/* A sign of life. */
void hy_crew_hear(struct hy_crew *c, int rank);
/* Lets time pass; the next rank that is lost as of now, -1: none. Time in which this process itself
 * was stopped does not count. */
int hy_crew_find_lost(struct hy_crew *c);
int hy_crew_is_lost(const struct hy_crew *c, int rank);

/* A rank asks for work. A lost one is back then. One that has a run asked before it got that. */
void hy_crew_ready(struct hy_crew *c, int rank);
int hy_crew_is_idle(const struct hy_crew *c, int rank);
/* The rank's run: given to it, or ended or taken back (-1), after which it must ask again. */
void hy_crew_set_run(struct hy_crew *c, int rank, int run);
int hy_crew_run(const struct hy_crew *c, int rank);

#endif
