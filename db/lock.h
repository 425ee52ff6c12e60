/* lock.h - one writer per database: an advisory lock on the file <db>-lock, held while it is open.
 *
 * The kernel drops the lock with its holder, however that ends; the file says who holds it. */
#ifndef HY_DB_LOCK_H
#define HY_DB_LOCK_H

#include <stdint.h>

#include "core/base/err.h"

struct hy_lock {
    char *path; /* NULL: not held */
    int file;
};

/* HY_E_ENV names the holder when another process, or this one, has it. */
int hy_lock_take(struct hy_lock *lock, const char *db, struct hy_err *e);
void hy_lock_release(struct hy_lock *lock);
/* A sign of life, for those who look at hy_lock_stamp. */
void hy_lock_beat(const struct hy_lock *lock);

/* Whether anyone holds the lock of db, or that cannot be told. */
int hy_lock_is_held(const char *db);
/* Changes with every sign of life of the lock's holder; says nothing else. */
int64_t hy_lock_stamp(const char *db);

#endif
