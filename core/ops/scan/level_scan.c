#include "core/ops/scan/level_scan.h"

#include "core/ops/support/build.h"
#include "core/ops/scan/scan_levels.h"

enum { DEFAULT_CHUNK = 64 };

int hy_levels_of(int64_t tokens)
{
    return tokens > 1 ? 1 + hy_bits_of(tokens - 1) : 1;
}

int64_t hy_levels_reach(int levels)
{
    return INT64_C(1) << (levels - 1);
}

static void level_scan_forward(const struct hy_op *op, int replica)
{
    if (op->graph->shape.mode == HY_CACHED)
        hy_scan_levels_continue(op, replica);
    else
        hy_scan_levels_forward(op, replica);
}

static void level_scan_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const struct hy_scan_plan p = hy_scan_plan_of(op, 0);
    const int backward = op->pass == HY_BACKWARD;
    const double rows = (double)(p.batch * p.tokens * p.heads), k = (double)p.k, v = (double)p.v;
    const double shared = k / (double)p.sharing, span = (double)(p.blocks * B);
    const double levels = ((const struct hy_level_scan *)op->attr)->levels;
    /* Of a token: states that are read, those that are written, products within the chunk. */
    const double live = (double)hy_level_kept(p.chunks) / (double)p.chunks;
    const double states = p.delta ? 3 * live + 1 : live + 1;
    const double within = p.delta ? 2 * shared + 2 * k + v + span : shared + v;
    cost->flops = (backward ? 2 : 1) * rows * (states * 2 * k * v + span * within);
    cost->bytes = (backward ? 2 : 1) * rows * (2 * k + 2 * v + 1 + levels) * sizeof(hy_real);
}

static int level_scan_example(struct hy_graph *g, int index)
{
    static const struct {
        struct hy_scan scan;
        int delta, constant, spare;
    } cases[] = {
        {{2, 3, 5, 0.5, 2, 0}, 0, 0, 0},  {{4, 3, 2, 1.0, 1, 2}, 0, 1, 2},
        {{2, 4, 3, 0.7, 4, 0}, 1, 0, 0},  {{4, 9, 2, 1.0, 2, 2}, 1, 0, 1},
        {{1, 3, 10, 0.3, 0, 0}, 1, 1, 0},
    };
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const struct hy_scan *s = &cases[index].scan;
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens, heads = s->heads;
    const int64_t read = (s->key_heads ? s->key_heads : heads) * s->key_width;
    const int levels = hy_levels_of(g->shape.tokens) + cases[index].spare;
    struct hy_tensor *qkv[3], *beta = NULL;
    struct hy_tensor *all =
        hy_graph_leaf(g, "qkv", rows, 2 * read + heads * s->value_width, -0.6, 0.6);
    hy_graph_split(g, all, 3, (int64_t[]){read, read, heads * s->value_width}, qkv);
    struct hy_tensor *decay =
        hy_graph_leaf(g, "decay", cases[index].constant ? 1 : rows, heads, -1.5, 0);
    struct hy_tensor *lambda = hy_graph_leaf(g, "lambda", rows, heads * levels, 0.1, 1.5);
    if (cases[index].delta)
        beta = hy_graph_leaf(g, "beta", rows, heads, 0, 1);
    hy_level_scan(g, qkv[0], qkv[1], qkv[2], decay, beta, lambda, s, NULL);
    return 1;
}

const struct hy_op_kind hy_op_level_scan = {
    .name = "level_scan",
    .forward = level_scan_forward,
    .backward = hy_scan_levels_backward,
    .cost = level_scan_cost,
    .scratch = hy_scan_levels_scratch,
    .backward_in = 1u << HY_SCAN_Q | 1u << HY_SCAN_K | 1u << HY_SCAN_V | 1u << HY_SCAN_DECAY |
                   1u << HY_SCAN_BETA | 1u << HY_LEVEL_LAMBDA,
    .backward_out = 1u << HY_SCAN_STATES,
    .example = level_scan_example,
};

static int check_levels(struct hy_graph *g, const struct hy_level_scan *s,
                        const struct hy_tensor *decay, const struct hy_tensor *lambda)
{
    const int64_t tokens = g->shape.mode == HY_CACHED ? g->shape.context : g->shape.tokens;
    if (s->scan.chunk & (s->scan.chunk - 1)) {
        hy_graph_fail(g, "level_scan: chunks of %d tokens, not of a power of two", s->scan.chunk);
        return 0;
    }
    if (decay && decay->cols != s->scan.heads) {
        hy_graph_fail(g, "level_scan: decay has %lld columns, not one for each of %d heads",
                      (long long)decay->cols, s->scan.heads);
        return 0;
    }
    if (s->levels < 1 || lambda->cols != (int64_t)s->levels * s->scan.heads) {
        hy_graph_fail(g, "level_scan: lambda has %lld columns, not the same number for %d heads",
                      (long long)lambda->cols, s->scan.heads);
        return 0;
    }
    if (s->levels < hy_levels_of(tokens)) {
        hy_graph_fail(g, "level_scan: levels %d reaches %lld tokens, not %lld; %d does", s->levels,
                      (long long)hy_levels_reach(s->levels), (long long)tokens,
                      hy_levels_of(tokens));
        return 0;
    }
    return hy_has_shape(g, "level_scan", "lambda", lambda,
                        (int64_t)g->shape.batch * g->shape.tokens, lambda->cols);
}

struct hy_tensor *hy_level_scan(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                struct hy_tensor *v, struct hy_tensor *decay,
                                struct hy_tensor *beta, struct hy_tensor *lambda,
                                const struct hy_scan *s, struct hy_tensor *states)
{
    struct hy_level_scan attr = {.scan = *s};
    struct hy_tensor *in[HY_LEVEL_INPUTS] = {
        [HY_SCAN_Q] = q,         [HY_SCAN_K] = k,       [HY_SCAN_V] = v,
        [HY_SCAN_DECAY] = decay, [HY_SCAN_BETA] = beta, [HY_LEVEL_LAMBDA] = lambda,
    };
    attr.scan.chunk = s->chunk ? s->chunk : DEFAULT_CHUNK;
    attr.scan.key_heads = s->key_heads ? s->key_heads : s->heads;
    if (!lambda || !hy_scan_check(g, "level_scan", &attr.scan, in))
        return NULL;
    attr.levels = (int)(lambda->cols / s->heads);
    if (!check_levels(g, &attr, decay, lambda))
        return NULL;
    const int64_t heads = (int64_t)g->shape.batch * s->heads;
    struct hy_tensor *out[HY_SCAN_OUTPUTS] = {hy_graph_tensor(g, v->rows, v->cols)};
    if (g->shape.mode == HY_CACHED) {
        const int64_t rows = heads * hy_levels_of(g->shape.context) * s->key_width;
        if (!states || !hy_has_shape(g, "level_scan", "states", states, rows, s->value_width))
            return NULL;
        in[HY_SCAN_H0] = out[HY_SCAN_HT] = states;
    } else if (states) {
        return hy_graph_fail(g, "level_scan: states are for caches alone");
    }
    if (g->shape.mode == HY_TRAIN) {
        const int64_t chunks = (g->shape.tokens + attr.scan.chunk - 1) / attr.scan.chunk;
        const int64_t kept = heads * hy_level_kept(chunks) * hy_lanes_up(s->key_width);
        if (kept)
            out[HY_SCAN_STATES] = hy_graph_tensor(g, kept, hy_lanes_up(s->value_width));
    }
    if (!hy_graph_op(g, &hy_op_level_scan, HY_LEVEL_INPUTS, in, HY_SCAN_OUTPUTS, out, &attr,
                     sizeof attr))
        return NULL;
    if (out[HY_SCAN_STATES])
        out[HY_SCAN_STATES]->differentiable = 0; /* between this op's two passes only */
    return out[HY_SCAN_O];
}
