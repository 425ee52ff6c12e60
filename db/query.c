#include "db/internal.h"

enum { MAX_COLUMNS = 64 };

static int give_rows(struct hy_store *s, sqlite3_stmt *statement, hy_store_row_fn *row,
                     void *context, struct hy_err *e)
{
    const int columns = sqlite3_column_count(statement);
    const char *names[MAX_COLUMNS], *values[MAX_COLUMNS];
    if (columns > MAX_COLUMNS)
        return hy_fail(e, HY_E_ENV, "a query has %d columns, more than %d", columns, MAX_COLUMNS);
    for (int i = 0; i < columns; i++)
        names[i] = sqlite3_column_name(statement, i);
    int stepped;
    while ((stepped = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++) {
            const int type = sqlite3_column_type(statement, i);
            values[i] = (const char *)sqlite3_column_text(statement, i);
            if (!values[i] && type != SQLITE_NULL) /* no memory for it */
                return hy_store_fail(s, "cannot read", e);
        }
        const int rc = row ? row(context, columns, names, values) : 0;
        if (rc)
            return rc;
    }
    return stepped == SQLITE_DONE ? 0 : hy_store_fail(s, "cannot read", e);
}

int hy_store_query(struct hy_store *s, const char *sql, int param_count, const char *const *params,
                   hy_store_row_fn *row, void *context, struct hy_err *e)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return hy_store_fail(s, "cannot read", e);
    for (int i = 0; i < param_count; i++)
        sqlite3_bind_text(statement, i + 1, params[i], -1, SQLITE_STATIC);
    const int rc = give_rows(s, statement, row, context, e);
    sqlite3_finalize(statement);
    return rc;
}
