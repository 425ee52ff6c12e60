#include "db/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Whether path still names the open file: its last holder removes it. */
static int is_current(const char *path, int file)
{
    struct stat named, open_one;
    return stat(path, &named) == 0 && fstat(file, &open_one) == 0 &&
           named.st_dev == open_one.st_dev && named.st_ino == open_one.st_ino;
}

static int sign(int file)
{
    char host[100] = "", text[160];
    gethostname(host, sizeof host - 1);
    const int size = snprintf(text, sizeof text, "process %ld on %s", (long)getpid(), host);
    return ftruncate(file, 0) == 0 && pwrite(file, text, (size_t)size, 0) == size;
}

int hy_lock_take(struct hy_lock *lock, const char *db, struct hy_err *e)
{
    char *path;
    if (asprintf(&path, "%s-lock", db) < 0)
        return hy_fail_memory(e);
    /* OFD locks exclude holders within one process too, and end with the last close of this open.
     */
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc = 0, file;
    do {
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file < 0) {
            rc = hy_fail_errno(e, HY_E_ENV, "cannot write beside the database: %s", path);
            goto out;
        }
        if (fcntl(file, F_OFD_SETLK, &whole) != 0) {
            if (errno == EAGAIN || errno == EACCES)
                rc = fail_held(db, file, e);
            else
                rc = hy_fail_errno(e, HY_E_ENV, "cannot lock %s", path);
            goto out;
        }
        if (is_current(path, file))
            break;
        close(file);
    } while (1);
    if (!sign(file)) {
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
        goto out;
    }
    *lock = (struct hy_lock){path, file};
    return 0;
out:
    if (file >= 0)
        close(file);
    free(path);
    return rc;
}

void hy_lock_release(struct hy_lock *lock)
{
    if (!lock->path)
        return;
    unlink(lock->path);
    close(lock->file);
    free(lock->path);
    *lock = (struct hy_lock){0};
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
