/* print.h - grids on standard output. */
#ifndef HY_APP_PRINT_H
#define HY_APP_PRINT_H

#include "core/base/option.h"
#include "report/format.h"

const struct hy_format *hy_format_find(const char *name, struct hy_err *e); /* NULL: *e is set */

int hy_print_grid(const struct hy_grid *g, const struct hy_format *format, struct hy_err *e);

/* One row per option: key, type, default, bounds, help. */
int hy_print_options(const char *title, const struct hy_option *table, struct hy_err *e);

/* A list of names with a line on each; kind: head of a column between them, NULL: none. */
struct hy_named {
    const char *name, *kind, *summary;
};
int hy_print_names(const struct hy_named *items, size_t count, const char *kind, struct hy_err *e);

#endif
