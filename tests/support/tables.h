/* tables.h - tables of a test's database in any format. */
#ifndef HY_TESTS_TABLES_H
#define HY_TESTS_TABLES_H

#include "tests/support/results.h"

#include "report/format.h"
#include "report/table.h"

/* The table in a format, malloc'd. sweep NULL: all. */
static inline char *tables_write(struct hy_store *s, const char *table, const char *sweep,
                                 const char *format)
{
    struct hy_grid grid = {0};
    struct hy_buf out = {0};
    struct hy_err e = {0};
    int t = 0, f = 0;
    while (strcmp(hy_tables[t]->name, table) != 0)
        t++;
    while (strcmp(hy_formats[f].name, format) != 0)
        f++;
    if (hy_tables[t]->fill(s, sweep, &grid, &e))
        fail_msg("%s", e.text);
    if (hy_format_write(&hy_formats[f], &grid, &out, &e))
        fail_msg("%s", e.text);
    hy_grid_release(&grid);
    return out.data;
}

static inline void tables_check(struct hy_store *s, const char *table, const char *format,
                                const char *part)
{
    char *text = tables_write(s, table, NULL, format);
    if (!strstr(text, part))
        fail_msg("no '%s' in\n%s", part, text);
    free(text);
}

#endif
