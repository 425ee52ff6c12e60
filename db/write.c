#include "db/internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const sql[HY_STORE_STATEMENTS] = {
    [ADD_SWEEP] = "INSERT INTO sweep (name, text, version, added) VALUES (?1, ?2, ?3, ?4) "
                  "ON CONFLICT (name) DO UPDATE SET text = ?2, version = ?3",
    [FIND_SWEEP] = "SELECT id FROM sweep WHERE name = ?1",
    [UNLINK_PENDING] = "DELETE FROM sweep_run WHERE sweep = ?1 AND run IN "
                       "(SELECT id FROM run WHERE status = 'pending')",
    [DROP_UNPLANNED] = "DELETE FROM run WHERE status = 'pending' AND NOT EXISTS "
                       "(SELECT 1 FROM sweep_run WHERE run = run.id)",
    [ADD_RUN] = "INSERT INTO run (key, title, variant, ratio, placement, layout, linear_layers, "
                "full_layers, d_model, layers, heads, seed, lr, config, source) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) "
                "ON CONFLICT (key) DO NOTHING",
    [FIND_RUN] = "SELECT id, status FROM run WHERE key = ?1",
    [LINK_RUN] = "INSERT INTO sweep_run (sweep, run) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    [BEGIN_RUN] = "UPDATE run SET status = 'running', reason = NULL, attempts = attempts + 1, "
                  "host = ?2, rank = ?3, started = ?4, updated = ?4, ended = NULL, "
                  "first_step = NULL, step = NULL, steps = NULL, tokens_per_s = NULL "
                  "WHERE id = ?1",
    [BEGIN_ATTEMPT] = "INSERT INTO attempt (run, number, status, host, rank, started) "
                      "SELECT id, attempts, status, host, rank, started FROM run WHERE id = ?1",
    [DROP_FACTS] = "DELETE FROM facts WHERE run = ?1",
    [DROP_SCORES] = "DELETE FROM score WHERE run = ?1",
    [DROP_COMPONENTS] = "DELETE FROM component_score WHERE run = ?1",
    [DROP_LAYERS] = "DELETE FROM layer WHERE run = ?1",
    [END_RUN] = "UPDATE run SET status = ?2, reason = ?3, "
                "ended = iif(?2 = 'pending', NULL, ?4) WHERE id = ?1",
    [END_ATTEMPT] = "UPDATE attempt SET status = ?2, reason = ?3, ended = ?4 "
                    "WHERE run = ?1 AND status = 'running'",
    [ADD_METRIC] = "INSERT INTO metric (name) SELECT ?1 WHERE NOT EXISTS "
                   "(SELECT 1 FROM metric WHERE name = ?1)",
    [MARK_FIRST_STEP] = "UPDATE run SET first_step = ?2 WHERE id = ?1 AND first_step IS NULL",
    [DROP_POINTS] = "DELETE FROM point WHERE run = ?1 AND step >= ?2",
    [ADD_POINT] = "INSERT INTO point (run, step, metric, value) "
                  "SELECT ?1, ?2, id, ?4 FROM metric WHERE name = ?3 "
                  "ON CONFLICT DO UPDATE SET value = excluded.value",
    [ADD_SCORE] = "INSERT INTO score (run, task, split, slice, metric, value) "
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                  "ON CONFLICT DO UPDATE SET value = excluded.value",
    [ADD_COMPONENT] = "INSERT INTO component_score (run, task, split, slice, metric, value, "
                      "component) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) "
                      "ON CONFLICT DO UPDATE SET value = excluded.value",
    [ADD_LAYER] = "INSERT INTO layer (run, layer, kind, variant, metric, value) "
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                  "ON CONFLICT DO UPDATE SET kind = excluded.kind, variant = excluded.variant, "
                  "value = excluded.value",
    [ADD_FACT] = "INSERT INTO facts (run, name, value, text) VALUES (?1, ?2, ?3, ?4) "
                 "ON CONFLICT DO UPDATE SET value = excluded.value, text = excluded.text",
    [SET_PROGRESS] = "UPDATE run SET step = ?2, steps = ?3, tokens_per_s = ?4, updated = ?5 "
                     "WHERE id = ?1",
    [SWEEP_UP_ATTEMPTS] =
        "UPDATE attempt SET status = 'interrupted', reason = 'the sweep ended without a word', "
        "ended = (SELECT updated FROM run WHERE id = attempt.run) WHERE status = 'running'",
    [SWEEP_UP_RUNS] = "UPDATE run SET status = 'interrupted', ended = updated, "
                      "reason = 'the sweep ended without a word' WHERE status = 'running'",
    [SECONDS_PER_FLOP] = "SELECT sum(wall_s) / sum(flops_per_token * tokens) FROM results "
                         "WHERE status = 'done' AND wall_s > 0 AND flops_per_token * tokens > 0 "
                         "AND coalesce(json_extract(config, '$.train.precision'), 'float32') = ?1 "
                         "AND (?2 IS NULL OR (coalesce(device, 'cpu') = 'cpu') = (?2 = 'cpu'))",
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Binds ?1, ?2, ... by types: i int64_t, r double, t const char * (NULL: null). */
static void bind(sqlite3_stmt *statement, const char *types, va_list args)
{
    for (int i = 1; types[i - 1]; i++) {
        double real;
        switch (types[i - 1]) {
        case 'i':
            sqlite3_bind_int64(statement, i, va_arg(args, int64_t));
            break;
        case 'r':
            real = va_arg(args, double);
            sqlite3_bind_double(statement, i, isfinite(real) ? real : NAN); /* NaN is null */
            break;
        case 't':
            sqlite3_bind_text(statement, i, va_arg(args, const char *), -1, SQLITE_STATIC);
            break;
        }
    }
}

/* The prepared statement `which`, NULL when it cannot be had. */
static sqlite3_stmt *get_statement(struct hy_store *s, enum hy_store_statement which)
{
    if (!s->statements[which])
        sqlite3_prepare_v3(s->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[which],
                           NULL);
    return s->statements[which];
}

static int has_failed(const struct hy_store *s, struct hy_err *e)
{
    return s->failure.code ? hy_fail(e, s->failure.code, "%s", s->failure.text) : 0;
}

/* A write that fails is the store's last. SQLite may have taken all back that was not committed,
 * and what came after it, such as the end of a run, would stand without it. */
static int give_up(struct hy_store *s, struct hy_err *e)
{
    struct hy_err why;
    hy_store_fail(s, "cannot write", &why);
    hy_store_abandon(s, &why);
    return has_failed(s, e);
}

void hy_store_abandon(struct hy_store *s, const struct hy_err *why)
{
    if (!s->failure.code)
        s->failure = *why;
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

/* Runs a statement that writes, in the transaction that hy_store_flush ends. */
static int change(struct hy_store *s, enum hy_store_statement which, struct hy_err *e,
                  const char *types, ...)
{
    if (!s->lock.path)
        return hy_fail(e, HY_E_ENV, "%s was opened for reading", s->path);
    if (s->failure.code)
        return has_failed(s, e);
    if (sqlite3_get_autocommit(s->db) && sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL))
        return give_up(s, e);
    sqlite3_stmt *statement = get_statement(s, which);
    if (!statement)
        return give_up(s, e);
    va_list args;
    va_start(args, types);
    bind(statement, types, args);
    va_end(args);
    const int rc = sqlite3_step(statement) == SQLITE_DONE ? 0 : give_up(s, e);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

/* Looks a row up by one text: its id, and its second column into status when that is wanted. */
static int find(struct hy_store *s, enum hy_store_statement which, const char *name, int64_t *id,
                char *status, struct hy_err *e)
{
    sqlite3_stmt *statement = get_statement(s, which);
    int rc = 0;
    if (statement)
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    if (statement && sqlite3_step(statement) == SQLITE_ROW) {
        *id = sqlite3_column_int64(statement, 0);
        const char *text = status ? (const char *)sqlite3_column_text(statement, 1) : "";
        if (!text) /* no memory for it */
            rc = hy_store_fail(s, "cannot read", e);
        else if (status)
            snprintf(status, 16, "%s", text);
    } else {
        rc = hy_store_fail(s, "cannot read", e);
    }
    sqlite3_reset(statement);
    return rc;
}

int hy_store_add_sweep(struct hy_store *s, const char *name, const char *text, const char *version,
                       int64_t *sweep, struct hy_err *e)
{
    int64_t id = 0;
    int rc = change(s, ADD_SWEEP, e, "tttr", name, text ? text : "", version ? version : "", now());
    if (!rc)
        rc = find(s, FIND_SWEEP, name, &id, NULL, e);
    if (!rc)
        rc = change(s, UNLINK_PENDING, e, "i", id);
    if (!rc)
        rc = change(s, DROP_UNPLANNED, e, "");
    if (!rc)
        *sweep = id;
    return rc;
}

int hy_store_add_run(struct hy_store *s, int64_t sweep, const struct hy_run_facts *f, int64_t *run,
                     char status[16], struct hy_err *e)
{
    int64_t id = 0;
    char found[16] = "";
    int rc = change(s, ADD_RUN, e, "ttttttiiiiiirtt", f->key, f->title, f->variant, f->ratio,
                    f->placement, f->layout, (int64_t)f->linear_layers, (int64_t)f->full_layers,
                    (int64_t)f->d_model, (int64_t)f->layers, (int64_t)f->heads, f->seed, f->lr,
                    f->config, f->source);
    if (!rc)
        rc = find(s, FIND_RUN, f->key, &id, found, e);
    if (!rc)
        rc = change(s, LINK_RUN, e, "ii", sweep, id);
    if (!rc) {
        *run = id;
        strcpy(status, found);
    }
    return rc;
}

int hy_store_begin_run(struct hy_store *s, int64_t run, const char *host, int rank,
                       struct hy_err *e)
{
    int rc = change(s, BEGIN_RUN, e, "itir", run, host, (int64_t)rank, now());
    if (!rc)
        rc = change(s, BEGIN_ATTEMPT, e, "i", run);
    if (!rc)
        rc = change(s, DROP_FACTS, e, "i", run);
    if (!rc)
        rc = change(s, DROP_LAYERS, e, "i", run);
    if (!rc)
        rc = change(s, DROP_COMPONENTS, e, "i", run);
    return rc ? rc : change(s, DROP_SCORES, e, "i", run);
}

static int add_point(struct hy_store *s, int64_t run, const struct hy_row *row, struct hy_err *e)
{
    /* What an earlier attempt left from here on is about to be computed again, or never was
     * reached. */
    int rc = change(s, MARK_FIRST_STEP, e, "ii", run, row->step);
    if (!rc && sqlite3_changes(s->db))
        rc = change(s, DROP_POINTS, e, "ii", run, row->step);
    if (!rc)
        rc = change(s, ADD_METRIC, e, "t", row->name);
    return rc ? rc : change(s, ADD_POINT, e, "iitr", run, row->step, row->name, row->value);
}

/* Of the whole model, or of a component of it. */
static int add_score(struct hy_store *s, int64_t run, const struct hy_row *row, struct hy_err *e)
{
    if (row->component && *row->component)
        return change(s, ADD_COMPONENT, e, "ittttrt", run, row->task, row->split, row->slice,
                      row->name, row->value, row->component);
    return change(s, ADD_SCORE, e, "ittttr", run, row->task, row->split, row->slice, row->name,
                  row->value);
}

int hy_store_row(struct hy_store *s, int64_t run, const struct hy_row *row, struct hy_err *e)
{
    switch (row->type) {
    case HY_ROW_HISTORY:
        return add_point(s, run, row, e);
    case HY_ROW_SLICE:
        return add_score(s, run, row, e);
    case HY_ROW_LAYER:
        return change(s, ADD_LAYER, e, "iitttr", run, row->step, row->task, row->split, row->name,
                      row->value);
    case HY_ROW_FACT:
        return change(s, ADD_FACT, e, "itrt", run, row->name, row->text ? NAN : row->value,
                      row->text);
    case HY_ROW_PROGRESS:
        return change(s, SET_PROGRESS, e, "iiirr", run, row->step, row->steps, row->value, now());
    case HY_ROW_END:
        break;
    }
    return 0;
}

int hy_store_end_run(struct hy_store *s, int64_t run, const char *status, const char *reason,
                     struct hy_err *e)
{
    const double ended = now();
    const int rc = change(s, END_RUN, e, "ittr", run, status, reason, ended);
    return rc ? rc : change(s, END_ATTEMPT, e, "ittr", run, status, reason, ended);
}

/* SQLite goes on writing to a file that has lost its name, and to one whose lock is gone. */
static int check_place(struct hy_store *s, struct hy_err *e)
{
    struct hy_err why;
    if (!hy_lock_check(&s->lock, &why))
        return 0;
    hy_store_abandon(s, &why);
    return has_failed(s, e);
}

void hy_store_beat(struct hy_store *s)
{
    if (!s->failure.code && !check_place(s, NULL))
        hy_lock_beat(&s->lock);
}

int hy_store_flush(struct hy_store *s, struct hy_err *e)
{
    if (s->failure.code)
        return has_failed(s, e);
    if (sqlite3_get_autocommit(s->db))
        return 0;
    const int rc = check_place(s, e);
    if (rc)
        return rc;
    return sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) ? give_up(s, e) : 0;
}

int hy_store_sweep_up(struct hy_store *s, struct hy_err *e)
{
    int rc = change(s, SWEEP_UP_ATTEMPTS, e, "");
    if (!rc)
        rc = change(s, SWEEP_UP_RUNS, e, "");
    return rc ? rc : hy_store_flush(s, e);
}

int hy_store_seconds_per_flop(struct hy_store *s, const char *precision, const char *device,
                              double *seconds, struct hy_err *e)
{
    sqlite3_stmt *statement = get_statement(s, SECONDS_PER_FLOP);
    int rc = HY_OK;
    if (statement) {
        sqlite3_bind_text(statement, 1, precision, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 2, device, -1, SQLITE_STATIC);
    }
    if (statement && sqlite3_step(statement) == SQLITE_ROW)
        *seconds = sqlite3_column_double(statement, 0);
    else
        rc = hy_store_fail(s, "cannot read", e);
    sqlite3_reset(statement);
    return rc;
}
