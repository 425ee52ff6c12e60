/* clock.h - seconds of the monotonic clock, which nobody sets. */
#ifndef HY_BASE_CLOCK_H
#define HY_BASE_CLOCK_H

#include <time.h>

static inline double hy_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A clock for limits, read many times a second. It counts at most a second from one reading to the
 * next: while its process is stopped or blocked it stands nearly still, and what others meanwhile
 * had no chance to show does not count against them. Begins all zero. */
struct hy_awake {
    double seconds, read;
};

static inline double hy_awake_now(struct hy_awake *a)
{
    const double now = hy_now();
    const double passed = a->read > 0 ? now - a->read : 0;
    a->seconds += passed < 1 ? passed : 1;
    a->read = now;
    return a->seconds;
}

#endif
