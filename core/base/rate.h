/* rate.h - how often per second a piece of work can be done. */
#ifndef HY_BASE_RATE_H
#define HY_BASE_RATE_H

/* Calls of work(context) per second: the median of five rounds, which together take about `seconds`
 * and at least one call each. One call before them does not count: libraries set themselves up. */
double hy_rate(void (*work)(void *context), void *context, double seconds);

#endif
