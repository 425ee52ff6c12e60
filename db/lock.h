/* lock.h - one writer per database: two advisory locks, held while it is open.
 *
 * One is on the file <db>-lock, which says who holds it and shows signs of life. Whoever deletes
 * that file, or finds the database by another name, comes to the other one: a byte of the database
 * itself. It lies in the page that SQLite keeps for its own locks and never fills, behind those, so
 * that neither locks nor data meet. So there are never two writers. One whose lock file is gone
 * learns that from hy_lock_check and is to stop: nobody could see that it lives.
 *
 * Both are locks of an open file (F_OFD_SETLK). The kernel drops them with their holder, however
 * that ends. To close the database's descriptor drops, as POSIX has it, what locks SQLite holds on
 * it in this process: a lock is released after SQLite's connections to it are closed, and those who
 * only ask whether it is held look at <db>-lock alone. */
#ifndef HY_DB_LOCK_H
#define HY_DB_LOCK_H

#include <stdint.h>

#include "core/base/err.h"

struct hy_lock {
    char *path;         /* of the lock file; NULL: not held */
    char *db;           /* the database's */
    int file, database; /* open */
    int made;           /* the database was not there before */
};

/* HY_E_ENV names the holder when another process, or this one, has it. A database that is not there
 * is made, of no bytes; the release takes it away if it still has none. */
int hy_lock_take(struct hy_lock *lock, const char *db, struct hy_err *e);
void hy_lock_release(struct hy_lock *lock);
/* Whether the names still are those of the files that are locked: HY_E_ENV says which is not. */
int hy_lock_check(const struct hy_lock *lock, struct hy_err *e);
/* A sign of life, for those who look at hy_lock_stamp. */
void hy_lock_beat(const struct hy_lock *lock);

/* Whether anyone holds the lock of db, or that cannot be told. */
int hy_lock_is_held(const char *db);
/* Changes with every sign of life of the lock's holder; says nothing else. */
int64_t hy_lock_stamp(const char *db);

#endif
