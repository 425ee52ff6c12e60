#include "report/svg_map.h"

#include <math.h>
#include <stdio.h>

#include "report/svg_page.h"

enum { MARGIN = 16, TOP = 84, ROW = 14, GROUP_GAP = 6, LINE = 20, GAP = 22, BELOW = 30 };

/* The hatched tone is told from the others in print, and the empty one is an outline. */
static const struct {
    const char *fill, *stroke;
} tones[HY_TONES] = {
    [HY_TONE_EMPTY] = {"#fff", "#ccc"},
    [HY_TONE_DARK] = {"#004a75", "#fff"},
    [HY_TONE_LIGHT] = {"#c6dcec", "#fff"},
    [HY_TONE_HATCHED] = {"url(#hatched)", "#d98c3f"},
};
static const char hatch[] =
    "<defs><pattern id=\"hatched\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
    "patternTransform=\"rotate(45)\"><rect width=\"5\" height=\"5\" fill=\"#fdebd3\"/>"
    "<path d=\"M0 0V5\" stroke=\"#d98c3f\" stroke-width=\"2.4\"/></pattern></defs>\n";

struct map {
    const struct hy_plot *plot;
    struct hy_buf *out;
    int rows, columns;  /* that are drawn */
    double left, width; /* where the cells begin; of a cell */
    double bottom;
};

static void measure(struct map *m)
{
    const struct hy_plot *p = m->plot;
    double labels = 0;
    m->rows = p->row_count < HY_MAP_ROWS ? p->row_count : HY_MAP_ROWS;
    m->bottom = TOP + ROW * m->rows;
    for (int r = 0; r < m->rows; r++) {
        labels = fmax(labels, hy_svg_width(p->rows[r].label, 10.5));
        m->columns = p->rows[r].count > m->columns ? p->rows[r].count : m->columns;
        m->bottom += r && p->rows[r].begins_group ? GROUP_GAP : 0;
    }
    m->left = MARGIN + 1.15 * labels + 10; /* where the font is missing its substitute is wider */
    m->width = fmin(30, fmax(9, 520.0 / (m->columns ? m->columns : 1)));
}

static void draw_cell(struct map *m, double x, double y, double width, enum hy_tone tone)
{
    hy_buf_printf(m->out,
                  "<rect class=\"cell\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" "
                  "fill=\"%s\" stroke=\"%s\"/>\n",
                  x, y, width, ROW, tones[tone].fill, tones[tone].stroke);
}

/* A letter is drawn on a ground of its own, for the hatching would hide it. */
static void draw_letter(struct map *m, double x, double y, const char *text)
{
    hy_buf_printf(m->out,
                  "<rect x=\"%.1f\" y=\"%.1f\" width=\"9\" height=\"%d\" fill=\"#fdebd3\"/>\n",
                  x - 4.5, y + 2, ROW - 4);
    hy_svg_text(m->out, x, y + 11, "class=\"label\" text-anchor=\"middle\"", text);
}

static void draw_rows(struct map *m)
{
    double y = TOP;
    for (int r = 0; r < m->rows; r++) {
        const struct hy_map_row *row = &m->plot->rows[r];
        y += r && row->begins_group ? GROUP_GAP : 0;
        hy_svg_text(m->out, m->left - 8, y + 11, "class=\"label\" text-anchor=\"end\"", row->label);
        for (int c = 0; c < row->count; c++) {
            const double x = m->left + m->width * c;
            draw_cell(m, x, y, m->width, row->cells[c].tone);
            if (row->cells[c].text)
                draw_letter(m, x + m->width / 2, y, row->cells[c].text);
        }
        y += ROW;
    }
}

static void draw_heads(struct map *m)
{
    const int every = m->width < 18 ? (int)ceil(18 / m->width) : 1;
    for (int c = 0; c < m->columns; c += every) {
        char text[16];
        snprintf(text, sizeof text, "%d", c);
        hy_svg_text(m->out, m->left + m->width * (c + 0.5), TOP - 6,
                    "class=\"label\" text-anchor=\"middle\"", text);
    }
    if (m->plot->x_title && m->columns)
        hy_svg_text(m->out, m->left - 8, TOP - 6, "class=\"of\" text-anchor=\"end\"",
                    m->plot->x_title);
}

static int has_tone(const struct map *m, enum hy_tone tone)
{
    for (int r = 0; r < m->rows; r++)
        for (int c = 0; c < m->plot->rows[r].count; c++)
            if (m->plot->rows[r].cells[c].tone == tone)
                return 1;
    return 0;
}

/* Of the tones that occur; without x writes nothing. Gives its width. */
static double draw_legend(struct map *m, double x)
{
    double width = 0, y = TOP;
    for (enum hy_tone tone = 0; tone < HY_TONES; tone++) {
        const char *name = m->plot->tone_names[tone];
        if (!name || !has_tone(m, tone))
            continue;
        width = fmax(width, 32 + hy_svg_width(name, 12));
        if (isnan(x))
            continue;
        draw_cell(m, x, y, 24, tone);
        hy_svg_text(m->out, x + 32, y + 11, "", name);
        y += LINE;
    }
    return width;
}

void hy_svg_map_write(const struct hy_plot *p, const char *title, struct hy_buf *out)
{
    struct map m = {.plot = p, .out = out};
    measure(&m);
    const double legend = m.left + m.width * m.columns + GAP;
    const double width = fmax(legend + draw_legend(&m, NAN) + MARGIN, 360);
    hy_svg_begin(out, MARGIN, width, fmax(m.bottom, TOP + LINE * HY_TONES) + BELOW, title);
    hy_buf_text(out, hatch);
    draw_heads(&m);
    draw_rows(&m);
    draw_legend(&m, legend);
    char text[96];
    snprintf(text, sizeof text, "and %d more, which the table has", p->row_count - m.rows);
    if (p->row_count > m.rows)
        hy_svg_text(out, m.left, m.bottom + 18, "class=\"of\"", text);
    if (!p->row_count)
        hy_svg_text(out, MARGIN, TOP, "class=\"of\"", "no run is planned yet");
    hy_buf_text(out, "</svg>\n");
}
