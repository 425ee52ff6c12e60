#include "report/html.h"

#include "report/svg.h"

static void add_marks(struct hy_buf *out, const char *marks)
{
    hy_buf_text(out, "<sup>");
    hy_xml_add(out, marks);
    hy_buf_text(out, "</sup>");
}

static void add_row(const struct hy_sheet *s, int row, struct hy_buf *out)
{
    const char *tag = row < 0 ? "th" : "td";
    hy_buf_text(out, "<tr>");
    for (int c = 0; c < s->columns; c++) {
        const struct hy_cell head = {.text = s->heads[c]};
        const struct hy_cell *cell = row < 0 ? &head : hy_grid_cell(s, row, c);
        hy_buf_printf(out, "<%s%s>", tag, s->align[c] == HY_RIGHT ? " class=\"number\"" : "");
        hy_xml_add(out, cell->text ? cell->text : "");
        if (cell->marks)
            add_marks(out, cell->marks);
        hy_buf_printf(out, "</%s>", tag);
    }
    hy_buf_text(out, "</tr>\n");
}

void hy_html_write(const struct hy_grid *g, struct hy_buf *out)
{
    const char *title = g->title ? g->title : "";
    hy_buf_text(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>");
    hy_xml_add(out, title);
    hy_buf_text(out, "</title>\n<style>\n"
                     "body{font:15px/1.5 Helvetica,Arial,sans-serif;color:#222;background:#fff;"
                     "max-width:70em;margin:2em auto;padding:0 1em}\n"
                     "svg{max-width:100%;height:auto}\n"
                     "table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
                     "caption{text-align:left;padding-bottom:.6em}\n"
                     "th,td{text-align:left;padding:.25em .8em;border-bottom:1px solid #ddd;"
                     "white-space:nowrap}\n"
                     "th{border-bottom:2px solid #888}\n.number{text-align:right}\n"
                     ".notes{font-size:13px;color:#555}\n</style>\n");
    if (g->plot.y_title)
        hy_svg_write(&g->plot, title, out);
    hy_buf_text(out, "<table>\n<caption>");
    hy_xml_add(out, title);
    hy_buf_text(out, "</caption>\n<thead>\n");
    for (int r = -1; r < g->page.rows; r++) {
        add_row(&g->page, r, out);
        if (r < 0)
            hy_buf_text(out, "</thead>\n<tbody>\n");
    }
    hy_buf_text(out, "</tbody>\n</table>\n");
    for (int i = 0; i < g->note_count; i++) {
        hy_buf_text(out, "<div class=\"notes\">");
        add_marks(out, g->notes[i].mark);
        hy_buf_text(out, " ");
        hy_xml_add(out, g->notes[i].text);
        hy_buf_text(out, "</div>\n");
    }
    hy_buf_text(out, "</html>\n");
}
