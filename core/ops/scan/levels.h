/* levels.h - what both backends know of the level scan (core/ops/scan/level_scan.h). */
#ifndef HY_OPS_SCAN_LEVELS_H
#define HY_OPS_SCAN_LEVELS_H

#include "core/ops/scan/scan.h"

enum { HY_LEVEL_LAMBDA = HY_SCAN_INPUTS, HY_LEVEL_INPUTS };

/* The op's attributes; inputs and outputs are those of scan.h, the states of a cache being H0 and
 * HT, and HY_LEVEL_LAMBDA. HY_SCAN_STATES: training: the states that enter each chunk, see
 * hy_level_kept(). */
struct hy_level_scan {
    struct hy_scan scan;
    int levels; /* of lambda */
};

/* Of a number that is not negative: up to its highest bit that is set. */
static inline int hy_bits_of(int64_t n)
{
    int bits = 0;
    while (n >> bits)
        bits++;
    return bits;
}

/* States that all chunks before `chunk` have between them. */
int64_t hy_level_kept(int64_t chunk);

#endif
