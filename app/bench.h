/* bench.h - what hylas bench measured, as tables. */
#ifndef HY_APP_BENCH_H
#define HY_APP_BENCH_H

#include "core/graph/graph.h"
#include "report/grid.h"

enum { HY_BENCH_LENGTHS = 16 };

/* The models that are measured, alike but for the mixer. */
struct hy_bench {
    int d_model, layers, heads, mlp, vocab, batch, threads;
    int lengths[HY_BENCH_LENGTHS], length_count; /* tokens per sequence; decoding: contexts */
    int decode;                                  /* one-token steps, else training */
    double seconds;                              /* per variant and length */
    enum hy_precision precision;
    double peak;              /* FLOP/s of matrix products in it */
    struct hy_device *device; /* NULL: the CPU */
    int gang;                 /* replicas that train in one graph */
};

/* One variant at one length. */
struct hy_bench_point {
    int tokens, batch;
    double rate;         /* tokens per second, of all replicas together */
    double flops, bytes; /* that the method needs per token: arithmetic, memory traffic */
    int64_t memory;      /* bytes: a training step's activations, a sequence's cache */
};

/* The exponent k of time ~ tokens^k, by least squares on the logarithms: in training of the time
 * per sequence, in decoding of the time per token. NaN for a single length. */
double hy_bench_growth(const struct hy_bench *b, const struct hy_bench_point *points);

/* The table of variants: begun once, then filled with a row for each variant, which has a point per
 * length. The page of a single length shows rates, of several the time per token and its growth. */
void hy_bench_begin(struct hy_grid *g, const struct hy_bench *b);
void hy_bench_add(struct hy_grid *g, const struct hy_bench *b, const char *variant, int64_t params,
                  const struct hy_bench_point *points);

/* The table of operators: a row for each kind and pass of a timed graph, the slowest first. */
void hy_bench_begin_profile(struct hy_grid *g);
void hy_bench_add_profile(struct hy_grid *g, const char *variant, int tokens,
                          const struct hy_graph *graph);

#endif
