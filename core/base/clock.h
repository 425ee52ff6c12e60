/* clock.h - seconds of the monotonic clock. */
#ifndef HY_BASE_CLOCK_H
#define HY_BASE_CLOCK_H

#include <time.h>

static inline double hy_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
