#include "tests/cuda/wide_kit.h"

#include <math.h>

#include "core/ops/add_norm.h"
#include "core/ops/attention.h"
#include "core/ops/blend.h"
#include "core/ops/choice.h"
#include "core/ops/constant.h"
#include "core/ops/conv_silu.h"
#include "core/ops/decay_gate.h"
#include "core/ops/scan/delta_scan.h"
#include "core/ops/embedding.h"
#include "core/ops/forget_gate.h"
#include "core/ops/gated_norm.h"
#include "core/ops/scan/gated_scan.h"
#include "core/ops/products/head_loss.h"
#include "core/ops/l2norm.h"
#include "core/ops/scan/level_scan.h"
#include "core/ops/products/linear.h"
#include "core/ops/log_sigmoid.h"
#include "core/ops/lower_bound.h"
#include "core/ops/rmsnorm.h"
#include "core/ops/rope.h"
#include "core/ops/sigmoid.h"
#include "core/ops/silu.h"
#include "core/ops/skip.h"
#include "core/ops/scan/vector_scan.h"

static void add_norm(struct hy_graph *g, int64_t cols)
{
    struct hy_tensor *sum;
    hy_add_norm(g, view(g, "a", cols), leaf(g, "b", cols), weight(g, "w", 1, cols), 1e-6, &sum);
}

static void conv_silu(struct hy_graph *g, int64_t cols)
{
    hy_conv_silu(g, view(g, "x", cols), weight(g, "w", cols, 4), weight(g, "bias", 1, cols), NULL);
}

static void decay_gate(struct hy_graph *g, int64_t cols)
{
    struct hy_tensor *dt;
    hy_decay_gate(g, view(g, "x", cols), weight(g, "a_log", 1, 4), weight(g, "dt_bias", 1, cols),
                  &dt);
}

static void embedding(struct hy_graph *g, int64_t vocab)
{
    hy_embedding(g, hy_graph_input(g, "tokens", HY_INT32, rows_of(g), 1),
                 weight(g, "table", vocab, vocab > 1000 ? 8 : 132));
}

static void forget_gate(struct hy_graph *g, int64_t cols)
{
    struct hy_tensor *input;
    hy_forget_gate(g, view(g, "x", cols), hy_graph_leaf(g, "bound", 1, cols, 0.1, 0.9), &input);
}

static void gate(struct hy_graph *g, int64_t heads)
{
    hy_gated(g, view(g, "x", 128), view(g, "gate", heads), HY_GATE_SILU);
}

static void gated_norm(struct hy_graph *g, int64_t width)
{
    hy_gated_norm(g, leaf(g, "x", 128), view(g, "gate", 128), weight(g, "w", 1, width), 1e-6,
                  HY_GATE_SILU);
}

static void head_loss(struct hy_graph *g, int64_t vocab)
{
    struct hy_tensor *hit;
    hy_head_loss(g, view(g, "x", 4), weight(g, "table", vocab, 4),
                 hy_graph_input(g, "labels", HY_INT32, rows_of(g), 1), rows_of(g), &hit);
}

static void l2norm(struct hy_graph *g, int64_t cols)
{
    hy_l2norm(g, view(g, "x", cols), 2, 1e-6);
}

static void linear(struct hy_graph *g, int64_t cols)
{
    hy_linear_biased(g, view(g, "x", cols), weight(g, "w", 36, cols), weight(g, "bias", 1, 36));
}

static void log_sigmoid(struct hy_graph *g, int64_t cols)
{
    hy_log_sigmoid_of(g, view(g, "x", cols), weight(g, "bias", 1, cols), 16);
}

static void lower_bound(struct hy_graph *g, int64_t cols)
{
    hy_lower_bound(g, weight(g, "logits", 5, cols), 3);
}

static void rmsnorm(struct hy_graph *g, int64_t width)
{
    hy_rmsnorm(g, view(g, "x", 192), weight(g, "w", 1, width), 1e-6);
}

static void rope(struct hy_graph *g, int64_t cols)
{
    hy_rope(g, view(g, "x", cols), 2, 1e4);
}

static void sigmoid(struct hy_graph *g, int64_t cols)
{
    hy_sigmoid_of(g, view(g, "x", cols), 2);
}

static void silu(struct hy_graph *g, int64_t cols)
{
    hy_silu_of(g, view(g, "x", cols));
}

static void skip(struct hy_graph *g, int64_t cols)
{
    hy_skip(g, view(g, "o", cols), leaf(g, "x", cols), weight(g, "d", 1, 4));
}

/* Queries, keys and values of a fused projection; keys are short enough for the delta rule. */
static void project(struct hy_graph *g, int64_t keys, int64_t values, int64_t width,
                    struct hy_tensor **qkv)
{
    const double most = 1 / sqrt((double)width);
    struct hy_tensor *all = hy_graph_leaf(g, "qkv", rows_of(g), 2 * keys + values, -most, most);
    hy_graph_split(g, all, 3, (int64_t[]){keys, keys, values}, qkv);
}

/* Heads of several tiles of values, which share keys. */
static void gated_scan(struct hy_graph *g, int64_t width)
{
    const struct hy_scan s = {2, 40, (int)width, 0.5, 0, 1};
    struct hy_tensor *qkv[3], *ht = NULL;
    project(g, 40, 2 * width, 40, qkv);
    hy_gated_scan(g, qkv[0], qkv[1], qkv[2], hy_graph_leaf(g, "decay", 1, 2, -0.5, 0), &s,
                  hy_graph_leaf(g, "h0", (int64_t)g->shape.batch * 80, width, -1, 1), &ht);
}

/* Widths as models have them, some of whose heads share keys; few heads, and so many that a block
 * of threads takes several; decays of a head that vary, or that forget everything; states go in and
 * out. */
static void gated_heads(struct hy_graph *g, int64_t index)
{
    static const struct {
        struct hy_scan scan;
        double strongest;
        int constant, states;
    } cases[] = {
        {{2, 32, 64, 0.2, 0, 0}, -0.3, 0, 1}, {{4, 128, 64, 0.1, 0, 2}, -0.1, 0, 0},
        {{2, 64, 64, 0.1, 0, 0}, -3, 0, 1},   {{1, 64, 128, 0.1, 0, 0}, -0.1, 1, 1},
        {{24, 4, 8, 0.5, 0, 6}, -0.5, 0, 0},  {{22, 8, 4, 0.5, 0, 11}, -0.5, 1, 1},
        {{1, 96, 96, 0.1, 0, 0}, -20, 0, 0},
    };
    const struct hy_scan *s = &cases[index].scan;
    const int read = s->key_heads ? s->key_heads : s->heads;
    struct hy_tensor *qkv[3], *h0 = NULL, *ht = NULL;
    project(g, (int64_t)read * s->key_width, (int64_t)s->heads * s->value_width, 4, qkv);
    if (cases[index].states)
        h0 = hy_graph_leaf(g, "h0", (int64_t)g->shape.batch * s->heads * s->key_width,
                           s->value_width, -1, 1);
    hy_gated_scan(g, qkv[0], qkv[1], qkv[2],
                  hy_graph_leaf(g, "decay", cases[index].constant ? 1 : rows_of(g), s->heads,
                                cases[index].strongest, 0),
                  s, h0, cases[index].states ? &ht : NULL);
}

static void delta_scan(struct hy_graph *g, int64_t width)
{
    const int values = width > 100 ? 20 : (int)width;
    const struct hy_scan s = {1, (int)width, values, 1, 0, 0};
    struct hy_tensor *qkv[3];
    project(g, width, values, width, qkv);
    hy_delta_scan(g, qkv[0], qkv[1], qkv[2], hy_graph_leaf(g, "beta", rows_of(g), 1, 0, 1),
                  hy_graph_leaf(g, "decay", rows_of(g), width, -0.5, 0), &s, NULL, NULL);
}

/* Keys too wide for shared memory. */
static void long_keys(struct hy_graph *g, int64_t width)
{
    const struct hy_scan s = {1, (int)width, 20, 1, 0, 0};
    struct hy_tensor *qkv[3];
    project(g, width, 20, width, qkv);
    hy_gated_scan(g, qkv[0], qkv[1], qkv[2], hy_graph_leaf(g, "decay", rows_of(g), 1, -0.5, 0), &s,
                  NULL, NULL);
}

/* The delta rule, chunks of two tiles of rows or of four; keys too wide for shared memory. */
static void level_scan(struct hy_graph *g, int64_t width)
{
    const int values = width > 100 ? 20 : (int)width, levels = hy_levels_of(g->shape.tokens);
    const struct hy_scan s = {1, (int)width, values, 1, width > 100 ? 0 : 32, 0};
    struct hy_tensor *qkv[3];
    project(g, width, values, width, qkv);
    hy_level_scan(g, qkv[0], qkv[1], qkv[2], hy_graph_leaf(g, "decay", rows_of(g), 1, -0.5, 0),
                  hy_graph_leaf(g, "beta", rows_of(g), 1, 0, 1),
                  hy_graph_leaf(g, "lambda", rows_of(g), levels, 0.1, 1.5), &s, NULL);
}

/* Heads of several tiles of values, which share keys; many chunks, of less than a tile of rows. */
static void many_chunks(struct hy_graph *g, int64_t width)
{
    const struct hy_scan s = {2, 40, (int)width, 0.5, 8, 1};
    const int levels = hy_levels_of(g->shape.tokens) + 1;
    struct hy_tensor *qkv[3];
    project(g, 40, 2 * width, 40, qkv);
    hy_level_scan(g, qkv[0], qkv[1], qkv[2], hy_graph_leaf(g, "decay", 1, 2, -0.5, 0), NULL,
                  hy_graph_leaf(g, "lambda", rows_of(g), 2 * levels, 0.1, 1.5), &s, NULL);
}

enum { RUNGS = 151 }; /* of which no two are equal in a sequence */

static struct hy_attention heads_of(int heads, int kv_heads, int64_t width)
{
    return (struct hy_attention){.heads = heads,
                                 .kv_heads = kv_heads,
                                 .key_width = (int)width,
                                 .value_width = (int)width,
                                 .scale = 1 / sqrt((double)width)};
}

static void attention(struct hy_graph *g, int64_t width)
{
    const int heads = width > 100 ? 1 : 2;
    struct hy_attention s = heads_of(heads, 1, width);
    struct hy_tensor *qkv[3];
    s.window = 70;
    hy_graph_split(g, leaf(g, "qkv", (heads + 2) * width), 3,
                   (int64_t[]){heads * width, width, width}, qkv);
    hy_attention(g, qkv[0], qkv[1], qkv[2], &s, NULL, NULL);
}

/* Gradients flow back from the sums as well; two heads share keys, four do not. */
static void attention_sums(struct hy_graph *g, int64_t width)
{
    const struct hy_attention s = heads_of(4, 2, width);
    struct hy_tensor *lse;
    hy_attention_lse(g, view(g, "q", 4 * width), view(g, "k", 2 * width), view(g, "v", 2 * width),
                     &s, NULL, NULL, &lse);
}

static void excess_of(struct hy_graph *g, const struct hy_attention *s, struct hy_tensor *keys,
                      struct hy_tensor *values)
{
    struct hy_tensor *excess;
    hy_attention_excess(g, view(g, "q", (int64_t)s->heads * s->key_width),
                        view(g, "k", (int64_t)s->kv_heads * s->key_width),
                        view(g, "v", (int64_t)s->kv_heads * s->value_width), s, keys, values,
                        &excess);
}

/* Gradients flow back from the excess: with a window as wide as heads, or caps on wide heads. */
static void attention_excess(struct hy_graph *g, int64_t width)
{
    struct hy_attention s = heads_of(4, 2, width);
    s.window = width > 32 ? 0 : (int)width;
    s.cap = width > 64 ? 3 : 0;
    excess_of(g, &s, NULL, NULL);
}

static double same(int64_t k, double a)
{
    (void)k;
    return a;
}

static double rung(int64_t k, double cols)
{
    return (double)(k / (int64_t)cols % RUNGS * 37 % RUNGS - RUNGS / 2) / 16;
}

/* The same where no rounding changes which score is the largest: queries are positive, and keys lie
 * near the rungs of a ladder. */
static void ladder_attention(struct hy_graph *g, int64_t width)
{
    struct hy_attention s = heads_of(4, 2, width);
    struct hy_tensor *q = hy_graph_leaf(g, "q", rows_of(g), 4 * width, 0.5, 1), *excess;
    struct hy_tensor *k = hy_graph_leaf(g, "k", rows_of(g), 2 * width, -0.02, 0.02);
    struct hy_tensor *ladder = hy_constant(g, rows_of(g), 2 * width, rung, 2 * (double)width);
    s.scale = 1 / (double)width; /* no score outweighs the others */
    s.window = width > 32 ? 0 : 33;
    s.cap = width > 64 ? 4 : 0;
    hy_attention_excess(g, q, hy_blend(g, k, ladder, hy_constant(g, 1, 1, same, 0.5)),
                        view(g, "v", 2 * width), &s, NULL, NULL, &excess);
}

/* Less and more than a tile. */
static void terraced_attention(struct hy_graph *g, int64_t window)
{
    struct hy_attention s = heads_of(2, 1, 20);
    s.window = (int)window;
    s.terraced = 1;
    s.cap = window > 40 ? 4 : 0;
    excess_of(g, &s, NULL, NULL);
}

static void first_attention(struct hy_graph *g, int64_t first)
{
    struct hy_attention s = heads_of(2, 1, 20);
    s.first = (int)first;
    excess_of(g, &s, NULL, NULL);
}

/* Out of a cache. window < 0: a terraced one. */
static void cached_attention(struct hy_graph *g, int64_t window)
{
    struct hy_attention s = heads_of(2, 1, 12);
    s.terraced = window < 0;
    s.window = (int)(window < 0 ? -window : window);
    const int64_t kept = (int64_t)g->shape.batch * s.window * (1 + s.terraced);
    const struct hy_entry keys = {.name = "keys", .rank = 2, .dims = {kept, 12}},
                          values = {.name = "values", .rank = 2, .dims = {kept, 12}};
    excess_of(g, &s, hy_graph_state(g, &keys), hy_graph_state(g, &values));
}

/* A window of less than a tile, values of another width than keys; rows that are not aligned. */
static void near_attention(struct hy_graph *g, int64_t width)
{
    struct hy_attention s = heads_of(2, 2, width);
    struct hy_tensor *qkv[4];
    s.value_width = (int)width / 2;
    s.window = 20;
    hy_graph_split(g, leaf(g, "qkv", 1 + 5 * width), 4, (int64_t[]){1, 2 * width, 2 * width, width},
                   qkv);
    hy_attention(g, qkv[1], qkv[2], qkv[3], &s, NULL, NULL);
}

/* Nobody wants the gradients of queries, or (width above 40) those of keys and values. */
static void fixed_attention(struct hy_graph *g, int64_t width)
{
    const struct hy_attention s = heads_of(1, 1, width);
    struct hy_tensor *fixed = hy_graph_input(g, "fixed", HY_REAL, rows_of(g), width);
    struct hy_tensor *free = leaf(g, "free", width);
    if (width > 40)
        hy_attention(g, free, fixed, fixed, &s, NULL, NULL);
    else
        hy_attention(g, fixed, free, free, &s, NULL, NULL);
}

static void vector_scan(struct hy_graph *g, int64_t cols)
{
    hy_vector_scan(g, view(g, "x", cols), hy_graph_leaf(g, "decay", rows_of(g), cols, -0.5, 0),
                   NULL, NULL);
}

static double tenths(int64_t k, double a)
{
    return a + 0.1 * (double)k;
}

static void constant(struct hy_graph *g, int64_t cols)
{
    hy_constant(g, 3, cols, tenths, 1);
}

static void blend(struct hy_graph *g, int64_t cols)
{
    hy_blend(g, view(g, "a", cols), leaf(g, "b", cols), hy_graph_leaf(g, "m", 1, 1, 0.1, 0.9));
}

static double endless(int64_t k, double a)
{
    (void)a;
    return k % 2 ? NAN : INFINITY;
}

/* One branch is taken whole, and the other one holds what no product with 0 is rid of. */
static void taken(struct hy_graph *g, int64_t gate)
{
    struct hy_tensor *x = view(g, "x", 64), *other = hy_constant(g, rows_of(g), 64, endless, 0);
    hy_blend(g, gate ? x : other, gate ? other : x, hy_constant(g, 1, 1, same, (double)gate));
}

/* The hard form, at |u / temperature| of up to 100. */
static void choice(struct hy_graph *g, int64_t cols)
{
    hy_choice(g, view(g, "logit", cols), hy_graph_input(g, "noise", HY_REAL, rows_of(g), cols),
              hy_constant(g, 1, 1, same, 0.07), HY_CHOICE_HARD, 3);
}

/* The gate of a layer: a column of each matrix that serves all layers. */
static void layer_choice(struct hy_graph *g, int64_t layers)
{
    const int64_t widths[] = {layers - 2, 1, 1};
    struct hy_tensor *logits[3], *noise[3];
    hy_graph_split(g, weight(g, "logit", 1, layers), 3, widths, logits);
    hy_graph_split(g, hy_graph_input(g, "noise", HY_REAL, 1, layers), 3, widths, noise);
    hy_choice(g, logits[1], noise[1], hy_constant(g, 1, 1, same, 0.5), HY_CHOICE_HARD, 1);
}

static double downwards(int64_t k, double a)
{
    return a - (double)(k / 3);
}

/* Rows of an activation, some of them several times, most not at all. */
static void gathered(struct hy_graph *g, int64_t cols)
{
    const int64_t last = rows_of(g) - 1;
    hy_embedding(g, hy_constant_index(g, rows_of(g), downwards, (double)last), leaf(g, "x", cols));
}

/* One table for what goes in and what comes out. */
static void tied(struct hy_graph *g, int64_t vocab)
{
    struct hy_tensor *tokens = hy_graph_input(g, "tokens", HY_INT32, rows_of(g), 1), *hit;
    struct hy_tensor *table = weight(g, "table", vocab, 8);
    hy_head_loss(g, hy_embedding(g, tokens, table), table,
                 hy_graph_input(g, "labels", HY_INT32, rows_of(g), 1), rows_of(g), &hit);
}

static struct hy_tensor *states_of(struct hy_graph *g, const struct hy_scan *s)
{
    const int64_t levels = hy_levels_of(g->shape.context);
    const int64_t rows = g->shape.batch * s->heads * levels * s->key_width;
    return hy_graph_state(
        g, &(struct hy_entry){.name = "states", .rank = 2, .dims = {rows, s->value_width}});
}

/* From states in a cache; heads share keys. */
static void cached_levels(struct hy_graph *g, int64_t width)
{
    const struct hy_scan s = {4, 11, (int)width, 0.5, 0, 2};
    const int levels = hy_levels_of(g->shape.context) + 1;
    struct hy_tensor *qkv[3];
    project(g, 22, 4 * width, 11, qkv);
    hy_level_scan(g, qkv[0], qkv[1], qkv[2], hy_graph_leaf(g, "decay", rows_of(g), 4, -0.5, 0),
                  width > 32 ? hy_graph_leaf(g, "beta", rows_of(g), 4, 0, 1) : NULL,
                  hy_graph_leaf(g, "lambda", rows_of(g), 4 * levels, 0.1, 1.5), &s,
                  states_of(g, &s));
}

int cached_example(struct hy_graph *g, const struct hy_op_kind *kind, int index)
{
    static const struct example all[] = {
        {"attention", cached_attention, 5, 0},   {"attention", cached_attention, -3, 0},
        {"attention", cached_attention, -10, 0}, {"level_scan", cached_levels, 20, 0},
        {"level_scan", cached_levels, 40, 0},
    };
    const struct example *own = find(all, sizeof all / sizeof *all, kind, index);
    return own ? build(g, own) : cached_features(g, kind, index);
}

int half_example(struct hy_graph *g, const struct hy_op_kind *kind, int index)
{
    static const struct example all[] = {
        {"attention", attention_sums, 32, 0},    {"attention", attention_sums, 32, 1},
        {"attention", attention_sums, 64, 0},    {"attention", near_attention, 26, 0},
        {"attention", near_attention, 128, 0},   {"attention", fixed_attention, 40, 0},
        {"attention", attention_excess, 16, 1},  {"attention", attention_excess, 30, 0},
        {"attention", attention_excess, 64, 0},  {"attention", ladder_attention, 16, 0},
        {"attention", ladder_attention, 32, 0},  {"attention", ladder_attention, 64, 0},
        {"attention", ladder_attention, 128, 0}, {"attention", attention_excess, 128, 0},
        {"attention", fixed_attention, 120, 0},  {"gated_scan", gated_heads, 0, 0},
        {"gated_scan", gated_heads, 1, 1},       {"gated_scan", gated_heads, 2, 0},
        {"gated_scan", gated_heads, 3, 0},       {"gated_scan", gated_heads, 4, 0},
        {"gated_scan", gated_heads, 5, 0},       {"gated_scan", gated_heads, 6, 0},
        {"head_loss", head_loss, 4100, 0},
    };
    return build(g, find(all, sizeof all / sizeof *all, kind, index));
}

int wide_example(struct hy_graph *g, const struct hy_op_kind *kind, int index)
{
    static const struct example all[] = {
        {"add_norm", add_norm, 64, 0},
        {"add_norm", add_norm, 64, 1},
        {"add_norm", add_norm, 320, 0},
        {"attention", attention, 64, 1},
        {"attention", attention, 600, 0},
        {"attention", attention_excess, 30, 0},
        {"attention", attention_excess, 80, 1},
        {"attention", terraced_attention, 20, 0},
        {"attention", terraced_attention, 50, 1},
        {"attention", first_attention, 10, 0},
        {"attention", first_attention, 70, 1},
        {"blend", blend, 64, 0},
        {"blend", blend, 64, 1},
        {"blend", blend, 67, 1},
        {"blend", taken, 0, 0},
        {"blend", taken, 1, 0},
        {"choice", choice, 7, 0},
        {"choice", choice, 7, 1},
        {"choice", layer_choice, 6, 0},
        {"constant", constant, 100, 0},
        {"conv_silu", conv_silu, 68, 0},
        {"conv_silu", conv_silu, 68, 1},
        {"decay_gate", decay_gate, 64, 0},
        {"decay_gate", decay_gate, 64, 1},
        {"delta_scan", delta_scan, 72, 1},
        {"delta_scan", delta_scan, 500, 0},
        {"embedding", embedding, 40, 0},
        {"embedding", embedding, 5000, 0},
        {"embedding", gathered, 40, 0},
        {"embedding", tied, 40, 0},
        {"embedding", tied, 5000, 0},
        {"forget_gate", forget_gate, 64, 0},
        {"forget_gate", forget_gate, 64, 1},
        {"gate", gate, 4, 0},
        {"gate", gate, 4, 1},
        {"gate", gate, 128, 0},
        {"gated_norm", gated_norm, 32, 0},
        {"gated_norm", gated_norm, 32, 1},
        {"gated_norm", gated_norm, 128, 0},
        {"gated_scan", gated_scan, 72, 0},
        {"gated_scan", long_keys, 500, 0},
        {"head_loss", head_loss, 200, 0},
        {"head_loss", head_loss, 4100, 0},
        {"head_loss", head_loss, 20000, 0},
        {"l2norm", l2norm, 64, 0},
        {"l2norm", l2norm, 64, 1},
        {"level_scan", level_scan, 72, 1},
        {"level_scan", level_scan, 500, 0},
        {"level_scan", many_chunks, 72, 0},
        {"linear", linear, 40, 0},
        {"linear", linear, 36, 1},
        {"log_sigmoid", log_sigmoid, 64, 0},
        {"log_sigmoid", log_sigmoid, 64, 1},
        {"lower_bound", lower_bound, 200, 0},
        {"rmsnorm", rmsnorm, 48, 0},
        {"rmsnorm", rmsnorm, 48, 1},
        {"rmsnorm", rmsnorm, 192, 0},
        {"rope", rope, 64, 0},
        {"rope", rope, 64, 1},
        {"sigmoid", sigmoid, 132, 0},
        {"sigmoid", sigmoid, 132, 1},
        {"silu", silu, 132, 0},
        {"silu", silu, 132, 1},
        {"skip", skip, 64, 0},
        {"skip", skip, 64, 1},
        {"vector_scan", vector_scan, 72, 1},
    };
    const struct example *own = find(all, sizeof all / sizeof *all, kind, index);
    return own ? build(g, own) : wide_features(g, kind, index);
}
