#include "db/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/buf.h"
#include "core/base/log.h"
#include "db/place.h"

extern const char hy_schema_sql[], hy_schema_2_sql[], hy_schema_3_sql[], hy_schema_6_sql[],
    hy_schema_8_sql[], hy_views_sql[];

/* migrations[v] takes the tables from schema version v to v + 1; the views follow by themselves. */
static const char *const migrations[] = {
    hy_schema_sql, hy_schema_2_sql, hy_schema_3_sql, "", "", hy_schema_6_sql, "", hy_schema_8_sql};

enum {
    SCHEMA_VERSION = sizeof migrations / sizeof *migrations,
    APPLICATION_ID = 0x68796c61, /* "hyla" in the file's header */
    COMMIT_MS = 20000 /* that readers may keep a writer waiting without WAL; a rank 0 that is silent
                         for 30 s counts as lost */
};

#define WHERE_DAMAGED \
    ": restore it from a copy or begin a new one; `sqlite3 FILE .dump` shows what is left"

int hy_store_fail(struct hy_store *s, const char *doing, struct hy_err *e)
{
    const char *advice = "";
    switch (sqlite3_errcode(s->db)) {
    case SQLITE_FULL:
        advice = ": free some space; what was written before is safe";
        break;
    case SQLITE_BUSY:
        advice = ": another program holds it; close that and try again";
        break;
    case SQLITE_READONLY:
        advice = ": check the permissions of the file and its folder";
        break;
    case SQLITE_IOERR:
        advice = ": see whether the disk has space left, or is failing";
        break;
    case SQLITE_CORRUPT:
        advice = WHERE_DAMAGED;
        break;
    }
    return hy_fail(e, HY_E_ENV, "%s %s: %s%s", doing, s->path, sqlite3_errmsg(s->db), advice);
}

static int execute(struct hy_store *s, const char *sql, struct hy_err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) ? hy_store_fail(s, "cannot set up", e) : 0;
}

/* The single integer that sql gives. */
static int get_integer(struct hy_store *s, const char *sql, int *value, struct hy_err *e)
{
    sqlite3_stmt *statement = NULL;
    int rc = 0;
    if (sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        *value = sqlite3_column_int(statement, 0);
    else if (sqlite3_errcode(s->db) == SQLITE_NOTADB)
        rc = hy_fail(e, HY_E_ENV, "%s is no hylas database: it is no SQLite file", s->path);
    else
        rc = hy_store_fail(s, "cannot read", e);
    sqlite3_finalize(statement);
    return rc;
}

static int drop_views(struct hy_store *s, struct hy_err *e)
{
    struct hy_buf sql = {0};
    sqlite3_stmt *names = NULL;
    int rc = 0;
    if (sqlite3_prepare_v2(s->db, "SELECT name FROM sqlite_schema WHERE type = 'view'", -1, &names,
                           NULL))
        rc = hy_store_fail(s, "cannot set up", e);
    while (!rc && sqlite3_step(names) == SQLITE_ROW)
        hy_buf_printf(&sql, "DROP VIEW \"%s\";", (const char *)sqlite3_column_text(names, 0));
    /* Had this failed, the transaction would be gone, and what follows would stand piece by piece.
     */
    if (sqlite3_finalize(names) && !rc)
        rc = hy_store_fail(s, "cannot set up", e);
    if (!rc && hy_buf_failed(&sql))
        rc = hy_fail_memory(e);
    if (!rc && sql.size)
        rc = execute(s, sql.data, e);
    hy_buf_release(&sql);
    return rc;
}

static int migrate(struct hy_store *s, int version, struct hy_err *e)
{
    int rc = execute(s, "BEGIN IMMEDIATE", e);
    if (!rc)
        rc = drop_views(s, e);
    for (int v = version; !rc && v < SCHEMA_VERSION; v++)
        rc = execute(s, migrations[v], e);
    if (!rc)
        rc = execute(s, hy_views_sql, e);
    char sql[96];
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             APPLICATION_ID, SCHEMA_VERSION);
    if (!rc)
        rc = execute(s, sql, e);
    if (rc) /* lest closing commit half of it */
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int hy_store_copy(struct hy_store *s, struct hy_err *e)
{
    sqlite3 *file = s->db;
    int rc = 0;
    if (sqlite3_open(":memory:", &s->db)) {
        rc = hy_store_fail(s, "cannot open a copy of", e);
        goto out;
    }
    sqlite3_backup *copy = sqlite3_backup_init(s->db, "main", file, "main");
    if (copy)
        sqlite3_backup_step(copy, -1);
    if (!copy || sqlite3_backup_finish(copy))
        rc = hy_store_fail(s, "cannot copy", e);
out:
    sqlite3_close(file);
    return rc;
}

/* A reader leaves an older file as it is: it goes on with a copy, brought up to date. */
static int read_older(struct hy_store *s, int version, struct hy_err *e)
{
    int rc = hy_store_copy(s, e);
    if (!rc)
        rc = migrate(s, version, e);
    return rc ? rc : execute(s, "PRAGMA query_only = ON", e);
}

int hy_store_check_schema(struct hy_store *s, enum hy_store_mode mode, struct hy_err *e)
{
    int id = 0, version = 0, objects = 0;
    int rc = get_integer(s, "PRAGMA application_id", &id, e);
    if (!rc)
        rc = get_integer(s, "PRAGMA user_version", &version, e);
    if (!rc)
        rc = get_integer(s, "SELECT count(*) FROM sqlite_schema", &objects, e);
    if (rc)
        return rc;
    const int empty = id == 0 && version == 0 && objects == 0;
    if (id != APPLICATION_ID && !(empty && mode != HY_STORE_READ))
        return empty ? hy_fail(e, HY_E_ENV,
                               "%s is no hylas database yet: it is empty; `hylas run SWEEP -o %s` "
                               "makes it one",
                               s->path, s->path)
                     : hy_fail(e, HY_E_ENV, "%s is no hylas database: another program made it",
                               s->path);
    if (version > SCHEMA_VERSION)
        return hy_fail(e, HY_E_ENV,
                       "%s has schema version %d and this program knows versions up to %d: "
                       "use a newer hylas",
                       s->path, version, SCHEMA_VERSION);
    if (version == SCHEMA_VERSION)
        return 0;
    return mode == HY_STORE_WRITE ? migrate(s, version, e) : read_older(s, version, e);
}

/* Damage is found before anything is built upon it: later it could pass for results. */
static int check_integrity(struct hy_store *s, struct hy_err *e)
{
    sqlite3_stmt *statement = NULL;
    int rc = 0;
    if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &statement, NULL) ||
        sqlite3_step(statement) != SQLITE_ROW || !sqlite3_column_text(statement, 0))
        rc = hy_store_fail(s, "cannot read", e);
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
        rc = hy_fail(e, HY_E_ENV, "%s is damaged: %s" WHERE_DAMAGED, s->path,
                     sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    return rc;
}

/* From WAL too, if it lay elsewhere before. */
static int leave_wal(struct hy_store *s, struct hy_err *e)
{
    sqlite3_stmt *statement = NULL;
    int rc = 0;
    if (sqlite3_prepare_v2(s->db, "PRAGMA journal_mode = DELETE", -1, &statement, NULL) ||
        sqlite3_step(statement) != SQLITE_ROW || !sqlite3_column_text(statement, 0))
        rc = hy_store_fail(s, "cannot set up", e);
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "delete") != 0)
        rc = hy_fail(e, HY_E_ENV,
                     "%s has a write-ahead log, which is not safe where it lies, and cannot do "
                     "without it now: close what has it open, or move it to a local disk",
                     s->path);
    sqlite3_finalize(statement);
    return rc;
}

/* Without memory that processes share: until the journal is a rollback journal the connection has
 * the database for itself. From then on it spills nothing before a commit, which would shut readers
 * out for as long, and syncs the folder too: a power cut could else bring back the journal of what
 * was committed. */
static int set_up_rollback(struct hy_store *s, struct hy_err *e)
{
    int objects;
    int rc = leave_wal(s, e);
    if (!rc)
        rc = execute(s,
                     "PRAGMA locking_mode = NORMAL; PRAGMA synchronous = EXTRA;"
                     "PRAGMA cache_spill = OFF",
                     e);
    if (!rc) /* with the end of the next reading the lock goes */
        rc = get_integer(s, "SELECT count(*) FROM sqlite_schema", &objects, e);
    if (!rc)
        sqlite3_busy_timeout(s->db, COMMIT_MS);
    return rc;
}

static int open_writer(struct hy_store *s, struct hy_err *e)
{
    int rc = hy_lock_take(&s->lock, s->path, e);
    if (rc)
        return rc;
    const struct hy_place place = hy_place_of_file(s->lock.database);
    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE, NULL))
        return hy_store_fail(s, "cannot open", e);
    sqlite3_busy_timeout(s->db, HY_STORE_BUSY_MS);
    if (!place.is_local)
        rc = execute(s, "PRAGMA locking_mode = EXCLUSIVE", e);
    if (!rc)
        rc = hy_store_check_schema(s, HY_STORE_WRITE, e);
    if (!rc)
        rc = check_integrity(s, e);
    if (!rc)
        rc = place.is_local ? execute(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", e)
                            : set_up_rollback(s, e);
    if (!rc)
        rc = execute(s, "PRAGMA foreign_keys = ON", e);
    if (!rc && !place.is_local)
        hy_info("%s lies on %s: it is kept in a way that is safe there, and slower. Write to it "
                "from one host at a time; a local disk is better",
                s->path, place.name);
    return rc ? rc : hy_store_sweep_up(s, e);
}

/* Names that SQLite takes for a database in memory or for a URI. */
static int is_special(const char *path)
{
    return *path == ':' || !strncasecmp(path, "file:", 5);
}

int hy_store_open(const char *path, enum hy_store_mode mode, struct hy_store **out,
                  struct hy_err *e)
{
    struct hy_store *s = calloc(1, sizeof *s);
    int rc = 0;
    if (s && asprintf(&s->path, "%s%s", is_special(path) ? "./" : "", path) < 0)
        s->path = NULL;
    if (!s || !s->path)
        rc = hy_fail_memory(e);
    else if (!*path)
        rc = hy_fail(e, HY_E_USAGE, "the database's name is empty");
    else
        rc = mode == HY_STORE_WRITE ? open_writer(s, e) : hy_store_open_reader(s, mode, e);
    if (rc) {
        hy_store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void hy_store_close(struct hy_store *s)
{
    if (!s)
        return;
    for (int i = 0; i < HY_STORE_STATEMENTS; i++)
        sqlite3_finalize(s->statements[i]);
    if (s->db && s->lock.path)
        hy_store_flush(s, NULL);
    sqlite3_close(s->db);
    hy_lock_release(&s->lock);
    free(s->path);
    free(s);
}

int hy_store_has_writer(const struct hy_store *s)
{
    return hy_lock_is_held(s->path);
}
