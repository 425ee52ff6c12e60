#include "db/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* SQLite's locks take 512 bytes from 0x40000000 on, and the page that they lie in is never used. A
 * page has 4096 bytes here. Where locks are mandatory (CIFS) a byte of any other page would stand
 * in SQLite's own way. */
enum { LOCK_BYTE = 0x40000000 + 1024 };

static int fail_held(const char *db, int file, struct hy_err *e)
{
    char holder[160];
    const ssize_t size = pread(file, holder, sizeof holder - 1, 0);
    holder[size > 0 ? size : 0] = 0;
    return hy_fail(e, HY_E_ENV,
                   "%s is being written by another sweep (%s); wait for it or stop it. "
                   "`hylas status` and `hylas report` work meanwhile",
                   db, size > 0 ? holder : "which is just starting");
}

static int is_taken(int error)
{
    return error == EAGAIN || error == EACCES;
}

static int fail_lock(const char *path, struct hy_err *e)
{
    if (errno == ENOSYS || errno == EOPNOTSUPP || errno == ENOLCK)
        return hy_fail(
            e, HY_E_ENV,
            "cannot lock %s: its file system has no locks; put the database elsewhere "
            "with -o, best on a local disk (Lustre has locks when mounted with -o flock)",
            path);
    return hy_fail_errno(e, HY_E_ENV, "cannot lock %s", path);
}

/* Whether path still names the open file; where that cannot be told, `otherwise`. */
static int is_current(const char *path, int file, int otherwise)
{
    struct stat named, open_one;
    if (fstat(file, &open_one))
        return otherwise;
    if (stat(path, &named))
        return errno != ENOENT && errno != ENOTDIR && otherwise;
    return named.st_dev == open_one.st_dev && named.st_ino == open_one.st_ino;
}

static int sign(int file)
{
    char host[100] = "", text[160];
    gethostname(host, sizeof host - 1);
    const int size = snprintf(text, sizeof text, "process %ld on %s", (long)getpid(), host);
    return ftruncate(file, 0) == 0 && pwrite(file, text, (size_t)size, 0) == size;
}

/* OFD locks exclude holders within one process too, and end with the last close of this open. */
static int take_file(struct hy_lock *l, struct hy_err *e)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    do {
        const int file = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file < 0)
            return hy_fail_errno(e, HY_E_ENV, "cannot write beside the database: %s", l->path);
        if (fcntl(file, F_OFD_SETLK, &whole) != 0) {
            const int rc = is_taken(errno) ? fail_held(l->db, file, e) : fail_lock(l->path, e);
            close(file);
            return rc;
        }
        if (is_current(l->path, file, 0)) { /* its last holder removes it */
            l->file = file;
            return 0;
        }
        close(file);
    } while (1);
}

static int take_database(struct hy_lock *l, struct hy_err *e)
{
    struct flock byte = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_BYTE, .l_len = 1};
    l->database = open(l->db, O_RDWR | O_CLOEXEC);
    if (l->database < 0 && errno == ENOENT) {
        l->database = open(l->db, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        l->made = l->database >= 0;
    }
    if (l->database < 0)
        return hy_fail_errno(e, HY_E_ENV, "cannot write %s", l->db);
    if (!fcntl(l->database, F_OFD_SETLK, &byte))
        return 0;
    if (!is_taken(errno))
        return fail_lock(l->db, e);
    return hy_fail(e, HY_E_ENV,
                   "%s is being written by another sweep, whose file %s was deleted, or which "
                   "knows the database by another name; wait for it or stop it",
                   l->db, l->path);
}

/* Gives back what of the lock was taken. The database goes before the name of the lock file, lest
 * another find that free and the database not. */
static void drop(struct hy_lock *l)
{
    struct stat empty, named;
    if (l->made && !fstat(l->database, &empty) && !empty.st_size && !lstat(l->db, &named) &&
        named.st_dev == empty.st_dev && named.st_ino == empty.st_ino)
        unlink(l->db);
    if (l->database >= 0)
        close(l->database);
    if (l->file >= 0) {
        if (is_current(l->path, l->file, 0)) /* it may be another's by now */
            unlink(l->path);
        close(l->file);
    }
    free(l->path);
    free(l->db);
}

int hy_lock_take(struct hy_lock *lock, const char *db, struct hy_err *e)
{
    struct hy_lock l = {.file = -1, .database = -1, .db = strdup(db)};
    int rc = 0;
    if (asprintf(&l.path, "%s-lock", db) < 0)
        l.path = NULL;
    if (!l.path || !l.db)
        rc = hy_fail_memory(e);
    if (!rc)
        rc = take_file(&l, e);
    if (!rc)
        rc = take_database(&l, e);
    if (!rc && !sign(l.file))
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write %s", l.path);
    if (rc)
        drop(&l);
    else
        *lock = l;
    return rc;
}

void hy_lock_release(struct hy_lock *lock)
{
    if (!lock->path)
        return;
    drop(lock);
    *lock = (struct hy_lock){0};
}

int hy_lock_check(const struct hy_lock *lock, struct hy_err *e)
{
    if (!is_current(lock->db, lock->database, 1))
        return hy_fail(e, HY_E_ENV,
                       "%s was moved or deleted while it was written; move it back, or begin anew",
                       lock->db);
    if (!is_current(lock->path, lock->file, 1))
        return hy_fail(e, HY_E_ENV,
                       "%s was deleted or replaced while %s was written, so that another sweep "
                       "could take it for free: this one stops. What it has committed is safe; run "
                       "the same command again to go on",
                       lock->path, lock->db);
    return 0;
}

void hy_lock_beat(const struct hy_lock *lock)
{
    if (lock->path)
        futimens(lock->file, NULL);
}

int64_t hy_lock_stamp(const char *db)
{
    struct stat found;
    char *path;
    if (asprintf(&path, "%s-lock", db) < 0)
        return 0;
    const int there = stat(path, &found) == 0;
    free(path);
    return there ? (int64_t)found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec : 0;
}

int hy_lock_is_held(const char *db)
{
    char *path;
    if (asprintf(&path, "%s-lock", db) < 0)
        return 1;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    const int error = errno;
    free(path);
    if (file < 0)
        return error != ENOENT;
    struct flock found = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const int held = fcntl(file, F_OFD_GETLK, &found) || found.l_type != F_UNLCK;
    close(file);
    return held;
}
