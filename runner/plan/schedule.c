#include "runner/plan/schedule.h"

#include <stdlib.h>

static int longest_first(const void *a, const void *b, void *context)
{
    const double *seconds = context;
    const int i = *(const int *)a, j = *(const int *)b;
    if (seconds[i] != seconds[j])
        return seconds[i] < seconds[j] ? 1 : -1;
    return i - j;
}

void hy_schedule_order(const double *seconds, int count, int *order)
{
    for (int i = 0; i < count; i++)
        order[i] = i;
    if (count)
        qsort_r(order, (size_t)count, sizeof *order, longest_first, (void *)seconds);
}

int hy_schedule_makespan(const double *seconds, const int *order, int count, int ranks,
                         double *makespan, struct hy_err *e)
{
    /* free_at[i]: when rank i is done with what it was given; ranks beyond count never work. */
    const int working = ranks < count ? ranks : count;
    double end = 0, *free_at = calloc((size_t)(working > 0 ? working : 1), sizeof *free_at);
    if (!free_at)
        return hy_fail_memory(e);
    for (int i = 0; i < count; i++) {
        int first = 0;
        for (int r = 1; r < working; r++)
            if (free_at[r] < free_at[first])
                first = r;
        free_at[first] += seconds[order[i]];
        if (free_at[first] > end)
            end = free_at[first];
    }
    free(free_at);
    *makespan = end;
    return HY_OK;
}
