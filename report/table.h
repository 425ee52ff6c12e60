/* table.h - the contract of a report: one file report/<name>.c that defines
 * `const struct hy_table hy_table_<name>` ('_' in the file's name is '-' on the command line),
 * fills a grid of cells from the store and leaves how it is written to format.c.
 */
#ifndef HY_REPORT_TABLE_H
#define HY_REPORT_TABLE_H

#include "core/base/buf.h"
#include "core/base/err.h"
#include "db/store.h"

struct hy_grid; /* grid.h */

struct hy_table {
    const char *name, *summary;
    int plots; /* fills the grid's plot too */
    int (*fill)(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e);
};

extern const struct hy_table *const hy_tables[];

#endif
