#include "db/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "db/place.h"

/* Whether no SQLite has left anything in its file beside the database. */
static int is_empty(const struct hy_store *s, const char *ending)
{
    struct stat found;
    char *path = sqlite3_mprintf("%s%s", s->path, ending);
    const int empty = path && (stat(path, &found) ? errno == ENOENT : found.st_size == 0);
    sqlite3_free(path);
    return empty;
}

/* Nobody writes, and all that was written lies in the file itself. */
static int is_at_rest(const struct hy_store *s)
{
    return is_empty(s, "-wal") && is_empty(s, "-journal") && !hy_lock_is_held(s->path);
}

static int open_file(struct hy_store *s, const char *path, int flags, enum hy_store_mode mode,
                     struct hy_err *e)
{
    if (sqlite3_open_v2(path, &s->db, flags, NULL))
        return hy_store_fail(s, "cannot open", e);
    sqlite3_busy_timeout(s->db, HY_STORE_BUSY_MS);
    return hy_store_check_schema(s, mode, e);
}

/* A reader of a WAL database needs its -shm file. In a folder that cannot be written or on a full
 * disk none can be made, but a database at rest may be read as it is. */
static int open_immutable(struct hy_store *s, enum hy_store_mode mode, struct hy_err *e)
{
    struct hy_buf uri = {0};
    hy_buf_text(&uri, *s->path == '/' ? "file://" : "file:");
    for (const char *c = s->path; *c; c++)
        hy_buf_printf(&uri, strchr("%?#", *c) ? "%%%02x" : "%c", *c);
    hy_buf_text(&uri, "?immutable=1");
    if (hy_buf_failed(&uri)) {
        hy_buf_release(&uri);
        return hy_fail_memory(e);
    }
    sqlite3_close(s->db);
    const int rc = open_file(s, uri.data, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, mode, e);
    hy_buf_release(&uri);
    return rc;
}

/* The writer was killed in the middle of a commit: whoever comes next takes back what is half
 * there, as its journal says. SQLite does so where it may write. */
static int roll_back(struct hy_store *s, enum hy_store_mode mode, struct hy_err *e)
{
    sqlite3_close(s->db);
    const int rc = open_file(s, s->path, SQLITE_OPEN_READWRITE, mode, e);
    if (!rc)
        sqlite3_exec(s->db, "PRAGMA query_only = ON", NULL, NULL, NULL);
    return rc;
}

static int open_normally(struct hy_store *s, enum hy_store_mode mode, struct hy_err *e)
{
    const int rc = open_file(s, s->path, SQLITE_OPEN_READONLY, mode, e);
    return rc && sqlite3_extended_errcode(s->db) == SQLITE_READONLY_ROLLBACK ? roll_back(s, mode, e)
                                                                             : rc;
}

/* Whether the file's header says so. Where SQLite has it open in this process too, that would lose
 * its locks by this. */
static int is_wal(const struct hy_store *s)
{
    unsigned char versions[2] = {0};
    const int file = open(s->path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    const int is = pread(file, versions, sizeof versions, 18) == sizeof versions &&
                   (versions[0] == 2 || versions[1] == 2);
    close(file);
    return is;
}

/* Without the memory that WAL shares. A copy, so that a reader keeps the writer waiting no longer
 * than the copy takes. */
static int open_remote(struct hy_store *s, const struct hy_place *place, enum hy_store_mode mode,
                       struct hy_err *e)
{
    const int has_log = is_wal(s);
    int rc = 0;
    if (has_log && !is_at_rest(s))
        rc = hy_fail(e, HY_E_ENV,
                     "%s has a write-ahead log, which cannot be read safely on %s: copy it and its "
                     "-wal to a local disk, or let `hylas run` go on with it, which takes the log "
                     "in",
                     s->path, place->name);
    if (!rc)
        rc = has_log ? open_immutable(s, mode, e) : open_normally(s, mode, e);
    if (!rc)
        rc = hy_store_copy(s, e);
    if (!rc && sqlite3_exec(s->db, "PRAGMA query_only = ON", NULL, NULL, NULL))
        rc = hy_store_fail(s, "cannot read", e);
    return rc;
}

int hy_store_open_reader(struct hy_store *s, enum hy_store_mode mode, struct hy_err *e)
{
    const int absent = access(s->path, F_OK) != 0;
    if (absent && errno != ENOENT && errno != ENOTDIR)
        return hy_fail_errno(e, HY_E_ENV, "cannot look for %s", s->path);
    if (absent && mode == HY_STORE_READ)
        return hy_fail(e, HY_E_ENV, "there is no database %s: `hylas run SWEEP -o %s` makes one",
                       s->path, s->path);
    if (absent)
        return open_file(s, ":memory:", SQLITE_OPEN_READONLY, mode, e);
    const struct hy_place place = hy_place_of_path(s->path);
    if (!place.is_local)
        return open_remote(s, &place, mode, e);
    const int rc = open_normally(s, mode, e);
    const int code = sqlite3_errcode(s->db);
    const int no_shm = code == SQLITE_CANTOPEN || code == SQLITE_READONLY || code == SQLITE_IOERR;
    return rc && no_shm && is_at_rest(s) ? open_immutable(s, mode, e) : rc;
}
