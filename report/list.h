/* list.h - tables that are a query: a row per result row, page and data alike. */
#ifndef HY_REPORT_LIST_H
#define HY_REPORT_LIST_H

#include "report/grid.h"
#include "report/rows.h"

enum hy_unit {
    HY_UNIT_TEXT,
    HY_UNIT_GROUP, /* text; left out of a page on which it is the same in every row */
    HY_UNIT_KEY,   /* text; the page shows its first eight characters */
    HY_UNIT_COUNT,
    HY_UNIT_NUMBER, /* four significant digits */
    HY_UNIT_SCORE,  /* three decimals */
    HY_UNIT_BYTES,
    HY_UNIT_SECONDS,
    /* How many of a row's runs rest on their window; the query has their number as `counted`. In
     * the data where any row has one; on the page a mark behind the column whose name is `head`. */
    HY_UNIT_MARK
};

struct hy_list_column {
    const char *name; /* of the query's column, and in the data */
    const char *head; /* on the page; NULL: not there */
    enum hy_unit unit;
};

/* Fills page and data. columns: ended by a NULL name. */
void hy_list_fill(struct hy_grid *g, const struct hy_rows *rows,
                  const struct hy_list_column *columns);
/* Fills the data alone. */
void hy_list_fill_data(struct hy_grid *g, const struct hy_rows *rows,
                       const struct hy_list_column *columns);

/* A value as people read it: "1.5 MiB", "2 h 05 min". NaN: "–". Returns text. */
const char *hy_unit_text(enum hy_unit unit, double value, char *text, int size);

#endif
