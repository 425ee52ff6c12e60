/* print.h - grids on standard output. */
#ifndef HY_APP_PRINT_H
#define HY_APP_PRINT_H

#include "core/base/err.h"
#include "report/format.h"

const struct hy_format *hy_format_find(const char *name, struct hy_err *e); /* NULL: *e is set */

int hy_print_grid(const struct hy_grid *g, const struct hy_format *format, struct hy_err *e);

#endif
