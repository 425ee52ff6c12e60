/* svg_page.h - what pictures share: the page, its style, its heading, text on it. Seen by
 * report/svg*.c only. */
#ifndef HY_REPORT_SVG_PAGE_H
#define HY_REPORT_SVG_PAGE_H

#include "core/base/buf.h"

/* Begins a picture that has room for width and for the heading that stands at x; writes both. The
 * caller ends it with "</svg>". title: see hy_svg_write. */
void hy_svg_begin(struct hy_buf *out, double x, double width, double height, const char *title);
/* style: attributes, trusted; text: data. */
void hy_svg_text(struct hy_buf *out, double x, double y, const char *style, const char *text);
/* About as wide as text of that size is drawn; fonts differ. */
double hy_svg_width(const char *text, double size);

#endif
