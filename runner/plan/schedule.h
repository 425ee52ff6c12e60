/* schedule.h - the order of runs, and how long a sweep takes on some ranks. */
#ifndef HY_RUNNER_PLAN_SCHEDULE_H
#define HY_RUNNER_PLAN_SCHEDULE_H

#include "core/base/err.h"

/* Fills order with the indices of seconds[0..count), longest first; equal ones keep their order. */
void hy_schedule_order(const double *seconds, int count, int *order);

/* Seconds until all are done when each rank, once free, takes the next of the order. */
int hy_schedule_makespan(const double *seconds, const int *order, int count, int ranks,
                         double *makespan, struct hy_err *e);

#endif
