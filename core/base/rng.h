/* rng.h - counter-based randomness: Philox 4x32-10 (Salmon et al., SC 2011).
 *
 * A stream is a pure function of (seed, purpose, step, index): nothing is carried from draw to draw
 * but the position in the stream, so data and initial weights do not depend on ranks, their order,
 * the size of a gang or where a run was interrupted. Equal keys give equal streams on every
 * machine. */
#ifndef HY_BASE_RNG_H
#define HY_BASE_RNG_H

#include <stdint.h>

/* What a stream is for. Values are part of every result: append, never renumber. */
enum hy_purpose {
    HY_RNG_INIT = 1,   /* initial weights */
    HY_RNG_TRAIN = 2,  /* training sequences */
    HY_RNG_VALID = 3,  /* validation sequences */
    HY_RNG_TEST = 4,   /* test sequences */
    HY_RNG_CHECK = 5,  /* inputs of tests and benchmarks */
    HY_RNG_ORDER = 6,  /* which of a finite set of training sequences is next */
    HY_RNG_FACTS = 7,  /* what is the same in all of a task's sequences */
    HY_RNG_GATES = 8,  /* the noise of gates while layers are selected */
    HY_RNG_LAYOUT = 9, /* layouts that are drawn at random */
    HY_RNG_WINDOW = 10 /* windows that are dropped */
};

struct hy_rng {
    uint32_t key[2];     /* seed */
    uint32_t counter[4]; /* block within the stream, index, step, purpose */
    uint32_t block[4];   /* the current block's four words */
    int used;            /* how many of them are spent */
};

/* Starts the stream of (seed, purpose, step, index). */
struct hy_rng hy_rng_start(uint64_t seed, enum hy_purpose purpose, uint32_t step, uint32_t index);

uint32_t hy_rng_u32(struct hy_rng *r);
/* Uniform in [0, bound), without bias; bound >= 1. */
uint32_t hy_rng_below(struct hy_rng *r, uint32_t bound);
/* Uniform in (0, 1), 52 bits, never 0 and never 1. */
double hy_rng_uniform(struct hy_rng *r);
/* Standard normal (Box-Muller, one value per call). */
double hy_rng_normal(struct hy_rng *r);

#endif
