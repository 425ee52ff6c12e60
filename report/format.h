/* format.h - how a grid is written: text, md, csv, latex, html, svg. */
#ifndef HY_REPORT_FORMAT_H
#define HY_REPORT_FORMAT_H

#include "core/base/buf.h"
#include "core/base/err.h"
#include "report/grid.h"

struct hy_format {
    const char *name, *summary;
    int draws; /* the plot alone: for tables that have one */
    void (*write)(const struct hy_grid *g, struct hy_buf *out);
};

/* Ended by a NULL name. */
extern const struct hy_format hy_formats[];

/* Writes a grid that may lack what there was no memory for: that is an error here. */
int hy_format_write(const struct hy_format *format, const struct hy_grid *g, struct hy_buf *out,
                    struct hy_err *e);

#endif
