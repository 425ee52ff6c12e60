/* mark.h - the mark of models that rest on their window (docs/database.md: results.collapsed). */
#ifndef HY_REPORT_MARK_H
#define HY_REPORT_MARK_H

#include "report/grid.h"

/* Marks a cell of the page, the name or the figure of a model, of whose `runs` so many are
 * collapsed; says so where these are not all. None: no mark. */
void hy_mark_collapsed(struct hy_grid *g, int row, int column, long collapsed, long runs);

#endif
