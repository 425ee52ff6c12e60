/* store.h - the results database: one SQLite file, one writer, any number of readers.
 *
 * schema*.sql make the tables, views.sql the views: a public interface (docs/database.md). The
 * writer is rank 0 alone (a second writer is refused by a lock held for the store's life, with a
 * message that names the holder; see lock.h for a lock that is lost); readers open read-only and
 * never block it (WAL). Where WAL is not safe (place.h) the writer says so and keeps a rollback
 * journal; there readers go on with a copy in memory, as of when they opened it. A writer brings an
 * older schema up to date; a reader does so with a copy in memory. A writer also refuses what
 * SQLite's quick_check finds damaged. Every write is idempotent. A store that cannot be read, is no
 * hylas database or is of a newer schema is an error of code HY_E_ENV that says which and what to
 * do. What a set-up that failed leaves is nothing, or is taken over by the next writer. */
#ifndef HY_DB_STORE_H
#define HY_DB_STORE_H

#include <stdint.h>

#include "core/base/err.h"
#include "core/base/row.h"

struct hy_store;

enum hy_store_mode {
    HY_STORE_READ,
    HY_STORE_LOOK, /* reads; one that is empty or not there yet has no runs */
    HY_STORE_WRITE /* created where absent */
};

/* path names a file, whatever SQLite would take it for (":memory:", "file:..."); empty: an error.
 */
int hy_store_open(const char *path, enum hy_store_mode mode, struct hy_store **out,
                  struct hy_err *e);
void hy_store_close(struct hy_store *s); /* accepts NULL; commits */

/* ---- Writing: rank 0 ---- */

/* All writes are buffered in one transaction until hy_store_flush. After one that failed all others
 * fail with the same error, and closing commits nothing. */

/* Registers a sweep by name (found or made), with its file's text and the program's version. Its
 * runs that never began leave it: the caller adds what is planned now. */
int hy_store_add_sweep(struct hy_store *s, const char *name, const char *text, const char *version,
                       int64_t *sweep, struct hy_err *e);

/* A run as planned. Strings are borrowed. */
struct hy_run_facts {
    const char *key, *title;
    const char *variant, *ratio; /* a full model: "softmax", "full" */
    const char *placement, *layout;
    int linear_layers, full_layers, d_model, layers, heads;
    int64_t seed;
    double lr;
    const char *config; /* canonical JSON */
    const char *source; /* key of the run that it starts from, or NULL */
};
/* Finds or adds the run with that key and joins it to the sweep. *status: what it was before
 * ("pending" when new). A run that is `running` in the database when its writer is gone is
 * `interrupted`: hy_store_open in write mode sees to that. */
int hy_store_add_run(struct hy_store *s, int64_t sweep, const struct hy_run_facts *facts,
                     int64_t *run, char status[16], struct hy_err *e);

/* A new attempt begins on a host: status running. Facts, slices and scores of components that
 * earlier attempts left are dropped at once; their history from the first step on that this attempt
 * reports, so that what lies before a checkpoint stays. */
int hy_store_begin_run(struct hy_store *s, int64_t run, const char *host, int rank,
                       struct hy_err *e);
/* Any row; progress replaces the run's last one, end is left to hy_store_end_run. */
int hy_store_row(struct hy_store *s, int64_t run, const struct hy_row *row, struct hy_err *e);
/* The attempt ends: done, diverged, failed, timeout or interrupted, with a reason (may be NULL).
 * Also pending, of a run that waits, and why. */
int hy_store_end_run(struct hy_store *s, int64_t run, const char *status, const char *reason,
                     struct hy_err *e);
/* For whom a write was lost before it came here: as if it had failed here, with that error. */
void hy_store_abandon(struct hy_store *s, const struct hy_err *why);
/* Commits what is buffered. Called about once a second, and at once after hy_store_end_run. */
int hy_store_flush(struct hy_store *s, struct hy_err *e);

/* Shows that the writer lives: called about once a second. See hy_lock_stamp. A writer whose lock
 * or database has lost its name shows nothing: its writes and hy_store_flush fail from then on. */
void hy_store_beat(struct hy_store *s);

/* Mean seconds per FLOP of finished runs of that train.precision, 0 where there are none. device:
 * "cpu", "cuda", or NULL: any. */
int hy_store_seconds_per_flop(struct hy_store *s, const char *precision, const char *device,
                              double *seconds, struct hy_err *e);

/* ---- Reading ---- */

/* Whether a writer has the database open now. */
int hy_store_has_writer(const struct hy_store *s);

/* Runs a query; calls row (may be NULL) for each result row with column names and values (NULL for
 * SQL null) as text. The one way that reports and status read; params are bound as text to ?1, ...
 * A callback that returns other than 0 ends the query, which returns that code and leaves *e to
 * it. */
typedef int hy_store_row_fn(void *context, int columns, const char *const *names,
                            const char *const *values);
int hy_store_query(struct hy_store *s, const char *sql, int param_count, const char *const *params,
                   hy_store_row_fn *row, void *context, struct hy_err *e);

#endif
