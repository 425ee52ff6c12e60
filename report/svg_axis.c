#include "report/svg_axis.h"

#include <math.h>
#include <stdio.h>

static void add_tick(struct hy_axis *a, double value, const char *text)
{
    if (a->tick_count == HY_MAX_TICKS)
        return;
    struct hy_tick *tick = &a->ticks[a->tick_count++];
    tick->value = value;
    snprintf(tick->text, sizeof tick->text, "%s", text);
}

/* 1, 2 or 5 times a power of ten, so that about `count` steps make the range. */
static double nice_step(double range, int count)
{
    const double rough = range / count, power = pow(10, floor(log10(rough)));
    return power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1);
}

static void set_linear(struct hy_axis *a, double low, double high, int is_fraction)
{
    if (!(low <= high)) { /* nothing was measured */
        low = 0;
        high = 1;
    }
    if (high - low < 1e-9 * fabs(high) + 1e-12) {
        const double room = is_fraction ? 0.05 : 0.05 * fabs(high) + 1e-9;
        low -= room;
        high += room;
    }
    const double step = nice_step(high - low, 5);
    low = step * floor(low / step + 1e-9);
    high = step * ceil(high / step - 1e-9);
    if (is_fraction) {
        low = fmax(low, 0);
        high = fmin(high, 1);
    }
    a->low = low;
    a->high = high;
    const int decimals = step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
    for (int i = 0; low + i * step <= high + step / 2; i++) {
        char text[48];
        snprintf(text, sizeof text, "%.*f", decimals, low + i * step);
        add_tick(a, low + i * step, text);
    }
}

/* Powers of two at even distances, at most seven of them. */
static void set_bytes(struct hy_axis *a, double low, double high)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    const double first = low <= high && low > 0 ? floor(log2(low) - 0.05) : 0;
    const double last = low <= high && low > 0 ? fmax(ceil(log2(high) + 0.05), first + 1) : 10;
    const int step = (int)ceil((last - first) / 7);
    a->is_log = 1;
    a->low = first;
    a->high = last;
    for (int power = (int)first; power <= (int)last; power += step) {
        const int unit = power < 0 ? 0 : power / 10 < 5 ? power / 10 : 5;
        char text[48];
        snprintf(text, sizeof text, "%g %s", exp2(power - 10 * unit), units[unit]);
        add_tick(a, exp2(power), text);
    }
}

void hy_axis_init(const struct hy_plot *p, struct hy_axis *x, struct hy_axis *y)
{
    double left = INFINITY, right = -INFINITY, low = INFINITY, high = -INFINITY;
    *x = *y = (struct hy_axis){0};
    for (int s = 0; s < p->series_count; s++) {
        for (int i = 0; i < p->series[s].count; i++) {
            const struct hy_plot_point *point = &p->series[s].points[i];
            const double interval = isnan(point->interval) ? 0 : point->interval;
            left = fmin(left, point->x);
            right = fmax(right, point->x);
            low = fmin(low, point->y - interval);
            high = fmax(high, point->y + interval);
        }
    }
    if (p->is_fraction) {
        low = fmax(low, 0);
        high = fmin(high, 1);
    }
    set_linear(y, low, high, p->is_fraction);
    if (!p->place_count) {
        set_bytes(x, left, right);
        return;
    }
    x->low = -0.5;
    x->high = p->place_count - 0.5;
    for (int i = 0; i < p->place_count; i++)
        add_tick(x, i, p->places[i]);
}

double hy_axis_at(const struct hy_axis *a, double value, double at_low, double at_high)
{
    const double at = ((a->is_log ? log2(value) : value) - a->low) / (a->high - a->low);
    return at_low + fmin(fmax(at, 0), 1) * (at_high - at_low);
}
