#include "report/svg_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/svg.h"

double hy_svg_width(const char *text, double size)
{
    double width = 0;
    for (; *text; text++)
        width += (*text & 0xc0) == 0x80 ? 0 : strchr("iljt.,:;|'()[] ", *text) ? 0.32 : 0.58;
    return width * size;
}

void hy_svg_text(struct hy_buf *out, double x, double y, const char *style, const char *text)
{
    hy_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
    hy_xml_add(out, text);
    hy_buf_text(out, "</text>\n");
}

static void write_heading(struct hy_buf *out, double x, const char *title)
{
    const char *colon = strstr(title, ": ");
    char *first = strndup(title, colon ? (size_t)(colon - title) : strlen(title));
    if (!first) {
        out->failed = 1;
        return;
    }
    hy_svg_text(out, x, 26, "class=\"title\"", first);
    if (colon)
        hy_svg_text(out, x, 44, "class=\"of\"", colon + 2);
    free(first);
}

/* A reader that cannot see the picture is told what it shows. */
void hy_svg_begin(struct hy_buf *out, double x, double width, double height, const char *title)
{
    const char *colon = strstr(title, ": ");
    const double heading = x + (colon ? hy_svg_width(colon + 2, 12) : 0) + 12;
    width = fmax(width, heading);
    hy_buf_printf(out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                  "viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<title>",
                  width, height, width, height);
    hy_xml_add(out, title);
    hy_buf_text(out, "</title>\n<style>"
                     "text{font:12px Helvetica,Arial,'Liberation Sans',sans-serif;fill:#222}"
                     ".title{font-size:15px;font-weight:bold}.of{fill:#555}.label{font-size:10.5px}"
                     ".faint{fill:#888}.grid{stroke:#e6e6e6}.axis{stroke:#666;fill:none}"
                     ".line{fill:none;stroke-width:1.5}.interval{stroke-width:1.2}"
                     "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    write_heading(out, x, title);
}
