/* ratio.h - the tables of a metric by variant (rows) and ratio (columns). */
#ifndef HY_REPORT_RATIO_H
#define HY_REPORT_RATIO_H

#include "report/grid.h"
#include "report/rows.h"

struct hy_ratio_metric {
    const char *title;
    const char *axis;              /* of the plot: "recall on test data" */
    const char *column, *interval; /* of the view ratio_recall */
    const char *missing;           /* why a finished cell may lack it */
    int is_fraction;               /* three decimals; else as many as its size asks for */
};

/* sweep NULL: all sweeps. */
int hy_ratio_fill(struct hy_store *store, const char *sweep, const struct hy_ratio_metric *metric,
                  struct hy_grid *grid, struct hy_err *e);

#endif
