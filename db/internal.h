/* internal.h - what the files of db/ share. */
#ifndef HY_DB_INTERNAL_H
#define HY_DB_INTERNAL_H

#include <sqlite3.h>

#include "db/lock.h"
#include "db/store.h"

/* The statements of write.c, each prepared when first needed. */
enum hy_store_statement {
    ADD_SWEEP,
    FIND_SWEEP,
    UNLINK_PENDING,
    DROP_UNPLANNED,
    ADD_RUN,
    FIND_RUN,
    LINK_RUN,
    BEGIN_RUN,
    BEGIN_ATTEMPT,
    DROP_FACTS,
    DROP_SCORES,
    DROP_COMPONENTS,
    DROP_LAYERS,
    END_RUN,
    END_ATTEMPT,
    ADD_METRIC,
    MARK_FIRST_STEP,
    DROP_POINTS,
    ADD_POINT,
    ADD_SCORE,
    ADD_COMPONENT,
    ADD_LAYER,
    ADD_FACT,
    SET_PROGRESS,
    SWEEP_UP_ATTEMPTS,
    SWEEP_UP_RUNS,
    SECONDS_PER_FLOP,
    HY_STORE_STATEMENTS
};

enum { HY_STORE_BUSY_MS = 10000 }; /* that SQLite waits for others' locks */

struct hy_store {
    char *path;
    sqlite3 *db;
    struct hy_lock lock;   /* held by a writer */
    struct hy_err failure; /* of a write: the first one; code HY_OK while there is none */
    sqlite3_stmt *statements[HY_STORE_STATEMENTS];
};

/* reader.c: a database that is there, or none for one who looks (see enum hy_store_mode). */
int hy_store_open_reader(struct hy_store *s, enum hy_store_mode mode, struct hy_err *e);

/* store.c: refuses what is no database of ours; a writer makes or updates the schema. */
int hy_store_check_schema(struct hy_store *s, enum hy_store_mode mode, struct hy_err *e);
/* Goes on with a copy of the database in memory. */
int hy_store_copy(struct hy_store *s, struct hy_err *e);

/* Turns SQLite's last error on s into a message that says what to do. doing: "cannot write". */
int hy_store_fail(struct hy_store *s, const char *doing, struct hy_err *e);

/* Marks runs without a writer as interrupted; its own transaction. */
int hy_store_sweep_up(struct hy_store *s, struct hy_err *e);

#endif
