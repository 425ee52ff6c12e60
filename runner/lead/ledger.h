/* ledger.h - what rank 0 knows of the runs: what becomes of each, which is next, what the store and
 * the checkpoints hold of it. Knows no rank but by its number, and sends nothing. A run is named by
 * its index in the plan.
 *
 * A run is given away, begins, reports rows and ends, or is lost with its rank. What failed waits
 * again while run.retries allow it. An error is the store's, and ends the sweep. */
#ifndef HY_RUNNER_LEAD_LEDGER_H
#define HY_RUNNER_LEAD_LEDGER_H

#include "db/store.h"
#include "runner/plan/plan.h"
#include "runner/lead/progress.h"

struct hy_ledger;

/* All pointers are borrowed and outlive the ledger. */
struct hy_assignment {
    struct hy_store *store;
    int64_t sweep; /* in the store */
    const struct hy_plan *plan;
    const char *database; /* path of the store; checkpoints lie in <database>.ckpt */
    const char *version;  /* of the program */
};

/* Registers the plan's runs in the store. ranks: that share them. */
int hy_ledger_new(const struct hy_assignment *a, int ranks, struct hy_ledger **out,
                  struct hy_err *e);
void hy_ledger_free(struct hy_ledger *l); /* accepts NULL */

/* The run that is to be trained next; -1: none. */
int hy_ledger_next(struct hy_ledger *l);
/* The order to train a run, and with it the others of its gang: *members, until the next call, and
 * *count, itself first. The caller frees *json. */
int hy_ledger_order(struct hy_ledger *l, int run, const int **members, int *count, char **json,
                    struct hy_err *e);
/* An order was given to a rank: an attempt at each of its runs. */
void hy_ledger_give(struct hy_ledger *l, const int *members, int count);

int hy_ledger_begin(struct hy_ledger *l, int run, const char *host, int rank, struct hy_err *e);
/* rows: JSON lines, which this changes. */
int hy_ledger_rows(struct hy_ledger *l, int run, char *rows, struct hy_err *e);
/* status: as in the store, or "paused" on a rung of run.halving. reason: "" where there is none. */
int hy_ledger_end(struct hy_ledger *l, int run, const char *status, const char *reason,
                  struct hy_err *e);
/* The rank that trained the run is gone, which is no fault of the run's up to a point. */
int hy_ledger_lose(struct hy_ledger *l, int run, int rank, struct hy_err *e);

/* The files of a run's final weights, and of those that it starts from, whether they are there or
 * not. The caller frees. NULL: no memory. */
char *hy_ledger_weights(const struct hy_ledger *l, int run);
char *hy_ledger_source(const struct hy_ledger *l, int run);

/* From now on no run is given away or tried again. */
void hy_ledger_close(struct hy_ledger *l);
int hy_ledger_is_closed(const struct hy_ledger *l);
/* Nothing runs, and nothing is left to give away. */
int hy_ledger_is_settled(const struct hy_ledger *l);
/* Once it is settled: notes of runs that wait for a source why they do. */
int hy_ledger_note_held(struct hy_ledger *l, struct hy_err *e);
/* Once it is settled: drops the checkpoints that nobody will go on from. */
void hy_ledger_clean_up(const struct hy_ledger *l);

/* Commits: what has ended at once, the rest once a second. */
int hy_ledger_commit(struct hy_ledger *l, struct hy_err *e);
struct hy_progress hy_ledger_progress(const struct hy_ledger *l);
/* After the end: says what became of the sweep; HY_OK, HY_E_RUN or HY_E_INTERRUPTED with *e set. */
int hy_ledger_result(const struct hy_ledger *l, struct hy_err *e);

#endif
