/* svg_axis.h - the range of a plot's axes and where their ticks lie. Seen by report/svg*.c only. */
#ifndef HY_REPORT_SVG_AXIS_H
#define HY_REPORT_SVG_AXIS_H

#include "report/plot.h"

enum { HY_MAX_TICKS = 64 };

struct hy_axis {
    double low, high; /* at the ends; of the value's binary logarithm where is_log */
    int is_log;
    struct hy_tick {
        double value;
        char text[48];
    } ticks[HY_MAX_TICKS];
    int tick_count;
};

/* Axes that hold all points with their intervals. */
void hy_axis_init(const struct hy_plot *p, struct hy_axis *x, struct hy_axis *y);
/* Where a value lies between the positions of the axis's ends; beyond them: at the end. */
double hy_axis_at(const struct hy_axis *a, double value, double at_low, double at_high);

#endif
