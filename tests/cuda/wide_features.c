/* wide_features.c - examples of the operators in core/ops/features. */
#include <stdio.h>

#include "core/ops/attention.h"
#include "core/ops/constant.h"
#include "core/ops/features/delayed.h"
#include "core/ops/features/feature_map.h"
#include "core/ops/features/joint.h"
#include "core/ops/features/transfer.h"
#include "core/ops/features/linear_attention.h"
#include "tests/cuda/wide_kit.h"

/* Heads that share those of x, or (columns not 32) nothing learned; more columns than lanes. */
static void feature_map(struct hy_graph *g, int64_t columns)
{
    const int learned = columns == 32;
    const struct hy_feature_map s = {learned ? HY_MAP_SOFTMAX : HY_MAP_EXP, 4, 2,
                                     learned ? 64 : (int)columns, (int)columns};
    hy_feature_map(g, view(g, "x", 2 * s.width),
                   learned ? weight(g, "w", s.heads, s.width * columns) : NULL,
                   weight(g, "b", s.heads, columns), &s);
}

/* Features of 1e-12 and of 1 side by side. */
static void sharp_map(struct hy_graph *g, int64_t map)
{
    const struct hy_feature_map s = {(enum hy_map)map, 2, 2, 20, 20};
    hy_feature_map(g, hy_graph_leaf(g, "x", rows_of(g), 40, -60, 60), NULL, NULL, &s);
}

static void joint(struct hy_graph *g, int64_t width)
{
    const struct hy_joint s = {4, (int)width, 1};
    struct hy_tensor *far;
    const struct hy_joint_in in = {.w = view(g, "w", 4 * width),
                                   .x = hy_graph_leaf(g, "x", rows_of(g), 4, 0, 4),
                                   .n = view(g, "n", 4 * width),
                                   .d = hy_graph_leaf(g, "d", rows_of(g), 4, 0, 3),
                                   .factor = hy_graph_leaf(g, "factor", 1, 4, -4, 4)};
    hy_joint(g, &in, &s, &far);
}

/* Heads as models have them, whose work is too large for a whole tile, over one sequence of 300
 * tokens where there were two of 150; and so many features that work lies in scratch, over few. */
static void transfer(struct hy_graph *g, int64_t features)
{
    const int wide = features > 128, width = wide ? 12 : 128;
    const struct hy_transfer s = {2, 1, 2, width, (int)features, 0.1, wide ? 7 : 70, wide, 1};
    if (wide) {
        g->shape.tokens = 20;
    } else if (g->shape.tokens > 100) {
        g->shape.tokens *= g->shape.batch;
        g->shape.batch = 1;
    }
    const struct hy_transfer_in in = {
        .tq = hy_graph_input(g, "tq", HY_REAL, rows_of(g), (int64_t)2 * width),
        .tk = hy_graph_input(g, "tk", HY_REAL, rows_of(g), width),
        .q = view(g, "q", (int64_t)2 * width),
        .k = view(g, "k", width),
        .f = hy_graph_leaf(g, "f", rows_of(g), 2 * features, 0.1, 1),
        .g = hy_graph_leaf(g, "g", rows_of(g), 2 * features, 0.1, 1),
        .factor = hy_graph_leaf(g, "factor", 1, 2, -4, 4)};
    hy_transfer(g, &in, &s);
}

/* Features are the student's queries and keys, whose gradients add up. */
static void plain_transfer(struct hy_graph *g, int64_t width)
{
    const struct hy_transfer s = {4, 2, 2, (int)width, (int)width, 0.1, 7, 0, 0};
    struct hy_tensor *q = hy_graph_leaf(g, "q", rows_of(g), 4 * width, 0.1, 1);
    struct hy_tensor *k = hy_graph_leaf(g, "k", rows_of(g), 2 * width, 0.1, 1);
    const struct hy_transfer_in in = {.tq = hy_graph_input(g, "tq", HY_REAL, rows_of(g), 4 * width),
                                      .tk = hy_graph_input(g, "tk", HY_REAL, rows_of(g), 2 * width),
                                      .q = q,
                                      .k = k,
                                      .f = q,
                                      .g = k};
    hy_transfer(g, &in, &s);
}

static struct hy_tensor *state(struct hy_graph *g, const char *name, int64_t rows)
{
    struct hy_entry entry = {.rank = 2, .dims = {rows, 12}};
    snprintf(entry.name, sizeof entry.name, "%s", name);
    return hy_graph_state(g, &entry);
}

/* The ring holds all positions, this run's included, since attention has written them. */
static void delayed(struct hy_graph *g, int64_t lag)
{
    const struct hy_attention s = {
        .heads = 2, .kv_heads = 2, .key_width = 6, .value_width = 6, .scale = 1};
    const int64_t kept = (int64_t)g->shape.batch * g->shape.context;
    static const char *const names[] = {"keys", "values"};
    struct hy_tensor *cache[2], *k = view(g, "k", 12);
    for (int i = 0; i < 2; i++)
        cache[i] = state(g, names[i], kept);
    hy_attention(g, leaf(g, "q", 12), k, leaf(g, "v", 12), &s, cache[0], cache[1]);
    hy_delayed(g, k, cache[0], (int)lag);
}

static double same(int64_t k, double a)
{
    (void)k;
    return a;
}

/* Several tiles of values; chunks that are parts of a block, several blocks and neither; features
 * and heads that do not fit shared memory. */
static void linear_attention(struct hy_graph *g, int64_t index)
{
    static const struct {
        struct hy_linear_attention s;
        int drops; /* 1: the lag, 0: nothing, -1: there is no switch */
    } cases[] = {
        {{2, 2, 2, 40, 40, 30, 0}, -1}, {{4, 2, 1, 20, 20, 70, 1}, -1},
        {{2, 1, 2, 20, 72, 20, 1}, -1}, {{4, 1, 2, 20, 40, 130, 1}, 0},
        {{2, 1, 1, 20, 20, 130, 1}, 1}, {{1, 1, 1, 600, 20, 9, 0}, -1},
    };
    const struct hy_linear_attention *s = &cases[index].s;
    struct hy_tensor *d;
    const struct hy_linear_attention_in in = {
        .f = view(g, "f", (int64_t)s->heads * s->features),
        .g = view(g, "g", (int64_t)s->key_heads * s->features),
        .v = view(g, "v", (int64_t)s->value_heads * s->value_width),
        .dropped = cases[index].drops < 0 ? NULL : hy_constant(g, 1, 1, same, cases[index].drops),
    };
    hy_linear_attention(g, &in, s, &d, NULL);
}

/* From states in a cache, with a lag of more than a run and of less; terraced, or not. */
static void cached_linear_attention(struct hy_graph *g, int64_t index)
{
    static const struct hy_linear_attention cases[] = {
        {4, 1, 2, 11, 40, 9, 0}, {2, 2, 1, 40, 31, 5, 1}, {2, 2, 2, 7, 9, 0, 1}};
    const struct hy_linear_attention *s = &cases[index];
    const int64_t rows = (s->lag && s->terraced ? 2 : 1) * (int64_t)g->shape.batch * s->heads;
    struct hy_linear_attention_in in = {
        .f = leaf(g, "f", (int64_t)s->heads * s->features),
        .g = leaf(g, "g", (int64_t)s->key_heads * s->features),
        .v = leaf(g, "v", (int64_t)s->value_heads * s->value_width),
        .h0 =
            hy_graph_state(g, &(struct hy_entry){.name = "state",
                                                 .rank = 2,
                                                 .dims = {rows * s->features, s->value_width + 1}}),
    };
    struct hy_tensor *d, *ht = in.h0;
    hy_linear_attention(g, &in, s, &d, &ht);
}

int cached_features(struct hy_graph *g, const struct hy_op_kind *kind, int index)
{
    static const struct example all[] = {
        {"delayed", delayed, 3, 0},
        {"delayed", delayed, 18, 0},
        {"linear_attention", cached_linear_attention, 0, 0},
        {"linear_attention", cached_linear_attention, 1, 0},
        {"linear_attention", cached_linear_attention, 2, 0},
    };
    return build(g, find(all, sizeof all / sizeof *all, kind, index));
}

int wide_features(struct hy_graph *g, const struct hy_op_kind *kind, int index)
{
    static const struct example all[] = {
        {"feature_map", feature_map, 32, 0},
        {"feature_map", feature_map, 32, 1},
        {"feature_map", feature_map, 70, 1},
        {"feature_map", sharp_map, HY_MAP_SOFTMAX, 0},
        {"feature_map", sharp_map, HY_MAP_EXP, 0},
        {"feature_map", sharp_map, HY_MAP_ELU1, 0},
        {"joint", joint, 16, 0},
        {"joint", joint, 16, 1},
        {"joint", joint, 130, 0},
        {"transfer", plain_transfer, 20, 0},
        {"transfer", transfer, 128, 0},
        {"transfer", transfer, 1900, 0},
        {"linear_attention", linear_attention, 0, 1},
        {"linear_attention", linear_attention, 1, 1},
        {"linear_attention", linear_attention, 2, 0},
        {"linear_attention", linear_attention, 3, 0},
        {"linear_attention", linear_attention, 4, 1},
        {"linear_attention", linear_attention, 5, 0},
    };
    return build(g, find(all, sizeof all / sizeof *all, kind, index));
}
