/* html.h - a grid as a page that needs nothing beside it. */
#ifndef HY_REPORT_HTML_H
#define HY_REPORT_HTML_H

#include "core/base/buf.h"
#include "report/grid.h"

void hy_html_write(const struct hy_grid *g, struct hy_buf *out);

#endif
