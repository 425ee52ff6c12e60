#include "core/base/rate.h"

#include <stdlib.h>

#include "core/base/clock.h"

enum { ROUNDS = 5 };

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double hy_rate(void (*work)(void *context), void *context, double seconds)
{
    double rates[ROUNDS];
    work(context);
    for (int round = 0; round < ROUNDS; round++) {
        const double start = hy_now();
        double spent;
        long calls = 0;
        do {
            work(context);
            calls++;
            spent = hy_now() - start;
        } while (spent < seconds / ROUNDS);
        rates[round] = (double)calls / spent;
    }
    qsort(rates, ROUNDS, sizeof *rates, compare);
    return rates[ROUNDS / 2];
}
