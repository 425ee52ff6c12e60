#include "report/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loading {
    struct hy_rows rows;
    int room;
    struct hy_err *e;
};

/* Copies count strings; 0 when memory is out (what was copied stays). */
static int copy_strings(char **to, const char *const *from, int count)
{
    for (int i = 0; i < count; i++) {
        to[i] = from[i] ? strdup(from[i]) : NULL;
        if (from[i] && !to[i])
            return 0;
    }
    return 1;
}

static int keep(void *context, int columns, const char *const *names, const char *const *values)
{
    struct loading *l = context;
    struct hy_rows *r = &l->rows;
    if (!r->names) {
        r->names = calloc((size_t)columns, sizeof *r->names);
        if (!r->names)
            return hy_fail_memory(l->e);
        r->columns = columns;
        if (!copy_strings(r->names, names, columns))
            return hy_fail_memory(l->e);
    }
    if (r->count == l->room) {
        const int room = l->room ? 2 * l->room : 64;
        char **grown = realloc(r->values, sizeof *grown * (size_t)room * (size_t)columns);
        if (!grown)
            return hy_fail_memory(l->e);
        r->values = grown;
        l->room = room;
    }
    char **row = r->values + (size_t)r->count++ * (size_t)columns;
    memset(row, 0, sizeof *row * (size_t)columns);
    return copy_strings(row, values, columns) ? 0 : hy_fail_memory(l->e);
}

int hy_rows_load(struct hy_store *store, const char *sql, const char *param, struct hy_rows *out,
                 struct hy_err *e)
{
    struct loading l = {.e = e};
    const int rc = hy_store_query(store, sql, strstr(sql, "?1") ? 1 : 0, &param, keep, &l, e);
    if (rc)
        hy_rows_release(&l.rows);
    else
        *out = l.rows;
    return rc;
}

void hy_rows_release(struct hy_rows *rows)
{
    for (int i = 0; rows->names && i < rows->columns; i++)
        free(rows->names[i]);
    for (size_t i = 0; i < (size_t)rows->count * (size_t)rows->columns; i++)
        free(rows->values[i]);
    free(rows->names);
    free(rows->values);
    *rows = (struct hy_rows){0};
}

const char *hy_rows_text(const struct hy_rows *rows, int row, const char *name)
{
    for (int i = 0; i < rows->columns; i++)
        if (!strcmp(rows->names[i], name))
            return rows->values[(size_t)row * (size_t)rows->columns + (size_t)i];
    fprintf(stderr, "hylas: a query has no column %s\n", name);
    abort();
}

double hy_rows_number(const struct hy_rows *rows, int row, const char *name)
{
    const char *text = hy_rows_text(rows, row, name);
    return text ? strtod(text, NULL) : NAN;
}

long hy_rows_count(const struct hy_rows *rows, int row, const char *name)
{
    const char *text = hy_rows_text(rows, row, name);
    return text ? strtol(text, NULL, 10) : 0;
}

int hy_rows_any(const struct hy_rows *rows, const char *name)
{
    for (int row = 0; row < rows->count; row++)
        if (hy_rows_text(rows, row, name))
            return 1;
    return 0;
}

int hy_rows_differ(const struct hy_rows *rows, const char *name)
{
    for (int row = 1; row < rows->count; row++) {
        const char *a = hy_rows_text(rows, 0, name), *b = hy_rows_text(rows, row, name);
        if (strcmp(a ? a : "", b ? b : "") != 0)
            return 1;
    }
    return 0;
}
