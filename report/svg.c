#include "report/svg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"
#include "report/svg_axis.h"
#include "report/svg_map.h"
#include "report/svg_page.h"

enum { PLOT_WIDTH = 520, PLOT_HEIGHT = 340, LEFT = 62, TOP = 66, BELOW = 58, GAP = 22, LINE = 20 };

/* Okabe and Ito's colours without their yellow, which is too light for lines: told apart with any
 * kind of colour vision. Shapes tell series apart in print, and where the colours repeat. */
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#444444"};
enum { COLOURS = sizeof colours / sizeof *colours, SHAPES = 6, CORNERS = 12 };

/* Corners on a circle of radius 1 around the marker; none: the circle itself. */
static const struct {
    int count;
    double at[CORNERS][2];
} shapes[SHAPES] = {
    {0},
    {4, {{-.85, -.85}, {.85, -.85}, {.85, .85}, {-.85, .85}}},
    {3, {{0, -1.2}, {1.1, .8}, {-1.1, .8}}},
    {4, {{0, -1.25}, {1.05, 0}, {0, 1.25}, {-1.05, 0}}},
    {3, {{0, 1.2}, {1.1, -.8}, {-1.1, -.8}}},
    {12,
     {{-.4, -1.1},
      {.4, -1.1},
      {.4, -.4},
      {1.1, -.4},
      {1.1, .4},
      {.4, .4},
      {.4, 1.1},
      {-.4, 1.1},
      {-.4, .4},
      {-1.1, .4},
      {-1.1, -.4},
      {-.4, -.4}}},
};

struct box {
    double left, top, right, bottom;
    const char *label; /* NULL: a marker's */
};

struct drawing {
    const struct hy_plot *plot;
    struct hy_buf *out;
    struct hy_axis x, y;
    struct box *taken; /* by markers and labels */
    int taken_count;
};

static const double radius = 4.5;
static const char dashes[] = " stroke-dasharray=\"5 4\"";
static const char *const frontier = "#b0b0b0";

void hy_xml_add(struct hy_buf *out, const char *text)
{
    for (int control; *text; text += control ? control : 1) {
        control = hy_utf8_control(text);
        switch (control ? ' ' : *text) {
        case '<':
            hy_buf_text(out, "&lt;");
            break;
        case '>':
            hy_buf_text(out, "&gt;");
            break;
        case '&':
            hy_buf_text(out, "&amp;");
            break;
        case '"':
            hy_buf_text(out, "&quot;");
            break;
        default: /* control characters are not allowed in XML */
            hy_buf_add(out, control ? " " : text, 1);
        }
    }
}

static double x_of(const struct drawing *d, double x)
{
    return hy_axis_at(&d->x, x, LEFT, LEFT + PLOT_WIDTH);
}

static double y_of(const struct drawing *d, double y)
{
    return hy_axis_at(&d->y, y, TOP + PLOT_HEIGHT, TOP);
}

static void draw_axes(struct drawing *d)
{
    const struct hy_plot *p = d->plot;
    const double bottom = TOP + PLOT_HEIGHT, right = LEFT + PLOT_WIDTH;
    for (int i = 0; i < d->y.tick_count; i++) {
        const double y = y_of(d, d->y.ticks[i].value);
        hy_buf_printf(d->out, "<path class=\"grid\" d=\"M%d %.1fH%.1f\"/>\n", LEFT, y, right);
        hy_svg_text(d->out, LEFT - 8, y + 4, "text-anchor=\"end\"", d->y.ticks[i].text);
    }
    const int crowded = d->x.tick_count > 12;
    for (int i = 0; i < d->x.tick_count; i++) {
        const double x = x_of(d, d->x.ticks[i].value);
        char style[96] = "text-anchor=\"middle\"";
        if (crowded)
            snprintf(style, sizeof style, "text-anchor=\"end\" transform=\"rotate(-40 %.1f %.1f)\"",
                     x, bottom + 16);
        hy_buf_printf(d->out, "<path class=\"grid\" d=\"M%.1f %dV%.1f\"/>\n", x, TOP, bottom);
        hy_svg_text(d->out, x, bottom + 18, style, d->x.ticks[i].text);
    }
    hy_buf_printf(d->out, "<path class=\"axis\" d=\"M%d %dV%.1fH%.1f\"/>\n", LEFT, TOP, bottom,
                  right);
    if (p->x_title)
        hy_svg_text(d->out, LEFT + PLOT_WIDTH / 2.0, bottom + 44,
                    "class=\"of\" text-anchor=\"middle\"", p->x_title);
    if (p->y_title)
        hy_svg_text(d->out, -TOP - PLOT_HEIGHT / 2.0, 18,
                    "class=\"of\" text-anchor=\"middle\" transform=\"rotate(-90)\"", p->y_title);
}

static const char *colour_of(int series)
{
    return colours[series % COLOURS];
}

static void draw_marker(struct drawing *d, int series, double x, double y, int faint)
{
    const int shape = series % SHAPES;
    if (!shapes[shape].count) {
        hy_buf_printf(d->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"", x, y, radius);
    } else {
        hy_buf_text(d->out, "<path d=\"");
        for (int i = 0; i < shapes[shape].count; i++)
            hy_buf_printf(d->out, "%c%.1f %.1f", i ? 'L' : 'M', x + radius * shapes[shape].at[i][0],
                          y + radius * shapes[shape].at[i][1]);
        hy_buf_text(d->out, "Z\"");
    }
    hy_buf_printf(d->out, " fill=\"%s\" stroke=\"%s\" stroke-width=\"%s\"/>\n",
                  faint ? "#fff" : colour_of(series), faint ? colour_of(series) : "#fff",
                  faint ? "1.4" : "1");
}

/* Lines that share a place stand side by side, so that their intervals can be seen. */
static double shift_of(const struct drawing *d, int series)
{
    const struct hy_plot *p = d->plot;
    int lines = 0, at = 0;
    for (int s = 0; s < p->series_count; s++) {
        at = s == series ? lines : at;
        lines += p->series[s].kind == HY_SERIES_LINE;
    }
    if (!p->place_count || p->series[series].kind != HY_SERIES_LINE)
        return 0;
    const double room = 0.5 * PLOT_WIDTH / p->place_count / lines;
    return (at - (lines - 1) / 2.0) * fmin(room, 6);
}

static void draw_line(struct drawing *d, int series)
{
    const struct hy_series *s = &d->plot->series[series];
    const int stairs = s->kind == HY_SERIES_STAIRS;
    const char *colour = stairs ? frontier : colour_of(series);
    if (s->kind == HY_SERIES_POINTS || !s->count)
        return;
    if (s->kind == HY_SERIES_LEVEL) {
        for (int i = 0; i < s->count; i++)
            hy_buf_printf(d->out, "<path class=\"line\" stroke=\"%s\"%s d=\"M%d %.1fH%d\"/>\n",
                          colour, dashes, LEFT, y_of(d, s->points[i].y), LEFT + PLOT_WIDTH);
        return;
    }
    hy_buf_printf(d->out, "<path class=\"line\" stroke=\"%s\" d=\"", colour);
    for (int i = 0; i < s->count; i++) {
        const double x = x_of(d, s->points[i].x) + (stairs ? 0 : shift_of(d, series));
        const double y = y_of(d, s->points[i].y);
        if (stairs && i)
            hy_buf_printf(d->out, "H%.1fV%.1f", x, y);
        else
            hy_buf_printf(d->out, "%c%.1f %.1f", i ? 'L' : 'M', x, y);
    }
    if (stairs)
        hy_buf_printf(d->out, "H%d", LEFT + PLOT_WIDTH);
    hy_buf_text(d->out, "\"/>\n");
}

static void take(struct drawing *d, struct box box)
{
    d->taken[d->taken_count++] = box;
}

static void draw_markers(struct drawing *d, int series, int faint)
{
    const struct hy_series *s = &d->plot->series[series];
    if (s->kind == HY_SERIES_STAIRS)
        return;
    for (int i = 0; i < s->count; i++) {
        const struct hy_plot_point *point = &s->points[i];
        if (point->faint != faint)
            continue;
        const double x = x_of(d, point->x) + shift_of(d, series), y = y_of(d, point->y);
        if (!isnan(point->interval))
            hy_buf_printf(d->out,
                          "<path class=\"interval\" stroke=\"%s\"%s d=\"M%.1f %.1fV%.1f\"/>\n",
                          colour_of(series), point->faint ? " opacity=\".4\"" : "", x,
                          y_of(d, point->y - point->interval), y_of(d, point->y + point->interval));
        draw_marker(d, series, x, y, point->faint);
        take(d, (struct box){x - radius, y - radius, x + radius, y + radius, NULL});
    }
}

static int is_free(const struct drawing *d, const struct box *b)
{
    if (b->left < LEFT || b->right > LEFT + PLOT_WIDTH || b->top < TOP - 12 ||
        b->bottom > TOP + PLOT_HEIGHT)
        return 0;
    for (int i = 0; i < d->taken_count; i++) {
        const struct box *t = &d->taken[i];
        if (b->left < t->right && t->left < b->right && b->top < t->bottom && t->top < b->bottom)
            return 0;
    }
    return 1;
}

/* Whether a point above or below has that label already. */
static int is_said(const struct drawing *d, double x, const char *label)
{
    for (int i = 0; i < d->taken_count; i++) {
        const struct box *t = &d->taken[i];
        if (t->label && !strcmp(t->label, label) && t->left < x + 24 && t->right > x - 24)
            return 1;
    }
    return 0;
}

/* Writes the label where there is room beside its marker; a label without room is left out. */
static void draw_label(struct drawing *d, const struct hy_plot_point *point)
{
    /* Above and left first: a frontier leaves its points to the right, and comes from below. */
    static const struct {
        double across, down; /* the label's middle, in its half widths and in lines */
    } around[] = {{-1, -.9}, {0, -1}, {-1.3, 0}, {1.3, .1}, {1, .9}, {0, 1}, {-1, .9}, {1, -.9}};
    const double half = hy_svg_width(point->label, 10.5) / 2, x = x_of(d, point->x),
                 y = y_of(d, point->y);
    if (point->faint && is_said(d, x, point->label))
        return;
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        const double away = around[i].across * (half + (around[i].down ? 1 : radius));
        const double cx = x + away, cy = y + 12 * around[i].down;
        const struct box box = {cx - half, cy - 5, cx + half, cy + 5, point->label};
        if (!is_free(d, &box))
            continue;
        hy_svg_text(d->out, cx, cy + 3.7,
                    point->faint ? "class=\"label faint\" text-anchor=\"middle\""
                                 : "class=\"label\" text-anchor=\"middle\"",
                    point->label);
        take(d, box);
        return;
    }
}

static void draw_labels(struct drawing *d, int faint)
{
    for (int s = 0; s < d->plot->series_count; s++) {
        const struct hy_series *series = &d->plot->series[s];
        for (int i = 0; i < series->count; i++)
            if (series->points[i].label && series->points[i].faint == faint)
                draw_label(d, &series->points[i]);
    }
}

static void draw_legend(struct drawing *d)
{
    const double x = LEFT + PLOT_WIDTH + GAP;
    for (int s = 0; s < d->plot->series_count; s++) {
        const struct hy_series *series = &d->plot->series[s];
        const double y = TOP + 8 + LINE * s;
        const int stairs = series->kind == HY_SERIES_STAIRS;
        if (series->kind != HY_SERIES_POINTS)
            hy_buf_printf(d->out, "<path class=\"line\" stroke=\"%s\"%s d=\"M%.1f %.1fh24\"/>\n",
                          stairs ? frontier : colour_of(s),
                          series->kind == HY_SERIES_LEVEL ? dashes : "", x, y);
        if (!stairs)
            draw_marker(d, s, x + 12, y, 0);
        hy_svg_text(d->out, x + 32, y + 4, series->count ? "" : "class=\"faint\"", series->name);
    }
}

static double legend_width(const struct hy_plot *p)
{
    double width = 0;
    for (int s = 0; s < p->series_count; s++)
        width = fmax(width, hy_svg_width(p->series[s].name, 12));
    return 32 + width;
}

static void begin(struct drawing *d, const char *title)
{
    const double legend = TOP + LINE * d->plot->series_count, plot = TOP + PLOT_HEIGHT + BELOW;
    hy_svg_begin(d->out, LEFT, LEFT + PLOT_WIDTH + GAP + legend_width(d->plot) + 16,
                 fmax(plot, legend + 12), title);
}

void hy_svg_write(const struct hy_plot *p, const char *title, struct hy_buf *out)
{
    struct drawing d = {.plot = p, .out = out};
    size_t points = 0;
    if (p->is_map) {
        hy_svg_map_write(p, title, out);
        return;
    }
    for (int s = 0; s < p->series_count; s++)
        points += (size_t)p->series[s].count;
    d.taken = calloc(2 * points + 1, sizeof *d.taken);
    if (!d.taken) {
        out->failed = 1;
        return;
    }
    hy_axis_init(p, &d.x, &d.y);
    begin(&d, title);
    draw_axes(&d);
    for (int s = 0; s < p->series_count; s++)
        draw_line(&d, s);
    for (int faint = 1; faint >= 0; faint--)
        for (int s = 0; s < p->series_count; s++)
            draw_markers(&d, s, faint);
    for (int faint = 0; faint <= 1; faint++)
        draw_labels(&d, faint);
    draw_legend(&d);
    if (!points)
        hy_svg_text(out, LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT / 2.0,
                    "class=\"of\" text-anchor=\"middle\"", "no run has ended yet");
    hy_buf_text(out, "</svg>\n");
    free(d.taken);
}
