#include "report/format.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"
#include "report/html.h"
#include "report/svg.h"

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

/* Columns that a terminal needs for UTF-8 text: its code points. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++)
        width += (*text & 0xc0) != 0x80;
    return width;
}

static void pad(struct hy_buf *out, int count)
{
    hy_buf_printf(out, "%*s", count > 0 ? count : 0, "");
}

/* Control characters, of a reason's several lines, would break a table's row, and a terminal obeys
 * them. Adds a blank for the one at text, if there is one; its size. */
static int add_control(struct hy_buf *out, const char *text)
{
    const int size = hy_utf8_control(text);
    hy_buf_add(out, " ", size > 0);
    return size;
}

static void add_plain(struct hy_buf *out, const char *text)
{
    for (int size; *text; text += size)
        if (!(size = add_control(out, text)))
            hy_buf_add(out, text, (size_t)(size = 1));
}

/* A column's text and the marks behind it line up separately. */
struct widths {
    int text, marks;
};

static int width_of_marks(const struct hy_cell *cell)
{
    return cell->marks ? 3 + width_of(cell->marks) : 0; /* " [1]" */
}

static void write_text_row(const struct hy_sheet *s, const struct widths *widths, int row,
                           struct hy_buf *out)
{
    for (int c = 0; c < s->columns; c++) {
        const struct hy_cell head = {.text = s->heads[c]};
        const struct hy_cell *cell = row < 0 ? &head : hy_grid_cell(s, row, c);
        const int blank = widths[c].text - width_of(or_empty(cell->text));
        pad(out, c ? 2 : 0);
        pad(out, s->align[c] == HY_RIGHT ? blank : 0);
        add_plain(out, or_empty(cell->text));
        pad(out, s->align[c] == HY_LEFT ? blank : 0);
        if (cell->marks)
            hy_buf_printf(out, " [%s]", cell->marks);
        pad(out, widths[c].marks - width_of_marks(cell));
    }
    while (out->size && out->data[out->size - 1] == ' ')
        out->size--;
    hy_buf_text(out, "\n");
}

static void write_text(const struct hy_grid *g, struct hy_buf *out)
{
    const struct hy_sheet *s = &g->page;
    struct widths *widths = calloc((size_t)s->columns + 1, sizeof *widths);
    if (!widths) {
        out->failed = 1;
        return;
    }
    int rule = 0;
    for (int c = 0; c < s->columns; c++) {
        widths[c].text = width_of(s->heads[c]);
        for (int r = 0; r < s->rows; r++) {
            const struct hy_cell *cell = hy_grid_cell(s, r, c);
            const int text = width_of(or_empty(cell->text)), marks = width_of_marks(cell);
            widths[c].text = text > widths[c].text ? text : widths[c].text;
            widths[c].marks = marks > widths[c].marks ? marks : widths[c].marks;
        }
        rule += widths[c].text + widths[c].marks + (c ? 2 : 0);
    }
    if (g->title)
        hy_buf_printf(out, "%s\n\n", g->title);
    write_text_row(s, widths, -1, out);
    while (rule-- > 0)
        hy_buf_text(out, "-");
    hy_buf_text(out, "\n");
    for (int r = 0; r < s->rows; r++)
        write_text_row(s, widths, r, out);
    for (int i = 0; i < g->note_count; i++) {
        hy_buf_printf(out, "%s[%s] ", i ? "" : "\n", g->notes[i].mark);
        add_plain(out, g->notes[i].text);
        hy_buf_text(out, "\n");
    }
    free(widths);
}

static void add_markdown(struct hy_buf *out, const char *text)
{
    for (int size; *text; text += size ? size : 1) {
        if ((size = add_control(out, text)))
            continue;
        if (*text == '<')
            hy_buf_text(out, "&lt;");
        else if (*text == '&')
            hy_buf_text(out, "&amp;");
        else if (strchr("\\|*`[]", *text))
            hy_buf_printf(out, "\\%c", *text);
        else
            hy_buf_add(out, text, 1);
    }
}

static void write_markdown(const struct hy_grid *g, struct hy_buf *out)
{
    const struct hy_sheet *s = &g->page;
    hy_buf_text(out, "**");
    add_markdown(out, or_empty(g->title));
    hy_buf_text(out, "**\n\n|");
    for (int c = 0; c < s->columns; c++) {
        hy_buf_text(out, " ");
        add_markdown(out, s->heads[c]);
        hy_buf_text(out, " |");
    }
    hy_buf_text(out, "\n|");
    for (int c = 0; c < s->columns; c++)
        hy_buf_text(out, s->align[c] == HY_RIGHT ? "---:|" : "---|");
    for (int r = 0; r < s->rows; r++) {
        hy_buf_text(out, "\n|");
        for (int c = 0; c < s->columns; c++) {
            const struct hy_cell *cell = hy_grid_cell(s, r, c);
            hy_buf_text(out, " ");
            add_markdown(out, or_empty(cell->text));
            if (cell->marks)
                hy_buf_printf(out, " <sup>%s</sup>", cell->marks);
            hy_buf_text(out, " |");
        }
    }
    hy_buf_text(out, "\n");
    for (int i = 0; i < g->note_count; i++) {
        hy_buf_printf(out, "%s<sup>%s</sup> ", i ? "<br>\n" : "\n", g->notes[i].mark);
        add_markdown(out, g->notes[i].text);
    }
    if (g->note_count)
        hy_buf_text(out, "\n");
}

static void add_csv(struct hy_buf *out, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        hy_buf_text(out, text);
        return;
    }
    hy_buf_text(out, "\"");
    for (; *text; text++)
        hy_buf_printf(out, *text == '"' ? "\"%c" : "%c", *text);
    hy_buf_text(out, "\"");
}

/* RFC 4180, apart from its line ends: these are the system's. */
static void write_csv(const struct hy_grid *g, struct hy_buf *out)
{
    const struct hy_sheet *s = &g->data;
    for (int r = -1; r < s->rows; r++) {
        for (int c = 0; c < s->columns; c++) {
            if (c)
                hy_buf_text(out, ",");
            add_csv(out, or_empty(r < 0 ? s->heads[c] : hy_grid_cell(s, r, c)->text));
        }
        hy_buf_text(out, "\n");
    }
}

static void add_latex(struct hy_buf *out, const char *text)
{
    static const struct {
        const char *plain, *latex;
    } escapes[] = {
        {"\\", "\\textbackslash{}"},
        {"{", "\\{"},
        {"}", "\\}"},
        {"$", "\\$"},
        {"&", "\\&"},
        {"#", "\\#"},
        {"%", "\\%"},
        {"_", "\\_"},
        {"^", "\\textasciicircum{}"},
        {"~", "\\textasciitilde{}"},
        {"<", "\\textless{}"},
        {">", "\\textgreater{}"},
        {"|", "\\textbar{}"},
        {"\"", "\\textquotedbl{}"},
        {"±", "$\\pm$"},
        {"–", "--"},
        {"†", "\\dag{}"},
        {"‡", "\\ddag{}"},
    };
    const size_t count = sizeof escapes / sizeof *escapes;
    for (int size; *text; text += size) {
        size_t i = 0;
        if ((size = add_control(out, text)))
            continue;
        while (i < count && strncmp(text, escapes[i].plain, strlen(escapes[i].plain)) != 0)
            i++;
        size = i < count ? (int)strlen(escapes[i].plain) : 1;
        if (i < count)
            hy_buf_text(out, escapes[i].latex);
        else
            hy_buf_add(out, text, 1);
    }
}

static void add_latex_marks(struct hy_buf *out, const char *marks)
{
    hy_buf_text(out, "\\textsuperscript{");
    add_latex(out, marks);
    hy_buf_text(out, "}");
}

static void write_latex(const struct hy_grid *g, struct hy_buf *out)
{
    const struct hy_sheet *s = &g->page;
    hy_buf_text(out, "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}\n"
                     "\\begin{table}\n\\centering\n\\caption{");
    add_latex(out, or_empty(g->title));
    hy_buf_text(out, "}\n\\begin{tabular}{");
    for (int c = 0; c < s->columns; c++)
        hy_buf_text(out, s->align[c] == HY_RIGHT ? "r" : "l");
    hy_buf_text(out, "}\n\\toprule\n");
    for (int r = -1; r < s->rows; r++) {
        for (int c = 0; c < s->columns; c++) {
            hy_buf_text(out, c ? " & " : "");
            add_latex(out, or_empty(r < 0 ? s->heads[c] : hy_grid_cell(s, r, c)->text));
            if (r >= 0 && hy_grid_cell(s, r, c)->marks)
                add_latex_marks(out, hy_grid_cell(s, r, c)->marks);
        }
        hy_buf_text(out, r < 0 ? " \\\\\n\\midrule\n" : " \\\\\n");
    }
    hy_buf_text(out, "\\bottomrule\n\\end{tabular}\n");
    for (int i = 0; i < g->note_count; i++) {
        hy_buf_text(out, i ? "\\\\\n" : "\n\\medskip\\footnotesize\n");
        add_latex_marks(out, g->notes[i].mark);
        hy_buf_text(out, " ");
        add_latex(out, g->notes[i].text);
    }
    hy_buf_text(out, g->note_count ? "\n\\end{table}\n" : "\\end{table}\n");
}

static void write_svg(const struct hy_grid *g, struct hy_buf *out)
{
    hy_svg_write(&g->plot, or_empty(g->title), out);
}

const struct hy_format hy_formats[] = {
    {"text", "for a terminal", .write = write_text},
    {"md", "Markdown, for a README", .write = write_markdown},
    {"csv", "one row per figure with plain numbers, for pandas", .write = write_csv},
    {"latex", "booktabs, for a paper", .write = write_latex},
    {"html", "a page that stands alone, with the plot where there is one", .write = hy_html_write},
    {"svg", "the plot, of tables that have one", .draws = 1, .write = write_svg},
    {0},
};

int hy_format_write(const struct hy_format *format, const struct hy_grid *g, struct hy_buf *out,
                    struct hy_err *e)
{
    if (hy_grid_failed(g))
        return hy_fail_memory(e);
    format->write(g, out);
    return hy_buf_failed(out) ? hy_fail_memory(e) : HY_OK;
}
