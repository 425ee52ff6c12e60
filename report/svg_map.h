/* svg_map.h - a plot that is a map, as SVG. Seen by report/svg*.c only. */
#ifndef HY_REPORT_SVG_MAP_H
#define HY_REPORT_SVG_MAP_H

#include "core/base/buf.h"
#include "report/plot.h"

/* Draws the first HY_MAP_ROWS rows and says how many it leaves out. */
enum { HY_MAP_ROWS = 80 };
void hy_svg_map_write(const struct hy_plot *p, const char *title, struct hy_buf *out);

#endif
