/* svg.h - a plot as SVG: a picture that stands alone, in a page, or in a paper once converted. */
#ifndef HY_REPORT_SVG_H
#define HY_REPORT_SVG_H

#include "core/base/buf.h"
#include "report/plot.h"

/* title: what stands before its first ": " becomes the heading, the rest a line below it. */
void hy_svg_write(const struct hy_plot *p, const char *title, struct hy_buf *out);

/* Text as XML and HTML have it. */
void hy_xml_add(struct hy_buf *out, const char *text);

#endif
