/* rows.h - the rows of a query, kept: what tables and status pick their figures from. */
#ifndef HY_REPORT_ROWS_H
#define HY_REPORT_ROWS_H

#include "db/store.h"

struct hy_rows {
    int columns, count;
    char **names;  /* [columns] */
    char **values; /* [count * columns], NULL for SQL null */
};

/* sql: may refer to one parameter, ?1, a text that may be NULL. */
int hy_rows_load(struct hy_store *store, const char *sql, const char *param, struct hy_rows *out,
                 struct hy_err *e);
void hy_rows_release(struct hy_rows *rows);

/* The value in a row by its column's name; asking for a column that is not there is a bug (abort).
 */
const char *hy_rows_text(const struct hy_rows *rows, int row, const char *name); /* NULL: null */
double hy_rows_number(const struct hy_rows *rows, int row, const char *name);    /* NaN: null */
long hy_rows_count(const struct hy_rows *rows, int row, const char *name);       /* 0: null */
/* Whether a row has a value in that column. */
int hy_rows_any(const struct hy_rows *rows, const char *name);
/* Whether two rows differ in that column. */
int hy_rows_differ(const struct hy_rows *rows, const char *name);

#endif
