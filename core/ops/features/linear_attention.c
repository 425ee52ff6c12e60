#include "core/ops/features/linear_attention.h"

#include "core/ops/constant.h"
#include "core/ops/features/linear_chunks.h"
#include "core/ops/products/micro.h"
#include "core/ops/support/build.h"
#include "core/ops/support/tile.h"

static struct hy_linear_chunks cut(const struct hy_op *op, int dropped)
{
    const struct hy_linear_attention *s = op->attr;
    const int cached = op->graph->shape.mode == HY_CACHED;
    const int64_t lag = dropped ? 0 : s->lag, most = HY_LINEAR_CHUNK;
    struct hy_linear_chunks c = {.tokens = op->graph->shape.tokens,
                                 .lag = cached ? 0 : lag, /* else the keys are delayed already */
                                 .size = most,
                                 .period = most,
                                 .each = 1,
                                 .terraced = s->terraced && lag > 0,
                                 .pairs = 1};
    if (!c.terraced)
        return c;
    if (lag < most && !cached) {
        c.size = c.period = most / lag * lag;
        c.pairs = c.size > lag;
        return c;
    }
    c.period = lag;
    c.size = hy_min(lag, most);
    c.each = (c.period + c.size - 1) / c.size;
    c.pairs = 0;
    c.offset = cached ? op->graph->position % lag : 0;
    return c;
}

struct hy_linear_chunks hy_linear_chunks_of(const struct hy_op *op, int dropped)
{
    struct hy_linear_chunks c = cut(op, dropped);
    c.periods = (c.tokens + c.offset + c.period - 1) / c.period;
    return c;
}

int64_t hy_linear_periods(const struct hy_op *op)
{
    const int64_t far = hy_linear_chunks_of(op, 0).periods,
                  near = hy_linear_chunks_of(op, 1).periods;
    return op->in[HY_LINEAR_DROPPED] && near > far ? near : far;
}

static void linear_attention_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const struct hy_linear_attention *s = op->attr;
    const struct hy_linear_chunks c = hy_linear_chunks_of(op, 0);
    const double rows = (double)op->in[HY_LINEAR_F]->rows * s->heads;
    const double width = s->value_width + 1, features = s->features;
    const double pairs = c.pairs ? (double)hy_min(c.size, c.tokens) : 0;
    const double forward = 4 * features * width + pairs * (features + width);
    cost->flops = rows * (op->pass == HY_FORWARD ? forward : 2 * forward);
    cost->bytes = hy_op_bytes(op);
}

static double same(int64_t k, double value)
{
    (void)k;
    return value;
}

static int linear_attention_example(struct hy_graph *g, int index)
{
    static const struct {
        struct hy_linear_attention s;
        int states;
        int drops; /* 1: not in this case, 2: it does */
    } cases[] = {
        {{2, 2, 2, 3, 4, 0, 0}, 0, 0},   {{2, 2, 2, 3, 4, 3, 0}, 0, 0},
        {{2, 2, 2, 3, 4, 2, 1}, 0, 0},   {{4, 2, 1, 3, 2, 3, 0}, 0, 0},
        {{2, 2, 2, 3, 4, 0, 0}, 1, 0},   {{2, 1, 2, 3, 4, 40, 0}, 0, 0},
        {{2, 2, 2, 3, 4, 5, 1}, 0, 1},   {{2, 2, 1, 3, 4, 5, 1}, 0, 2},
        {{1, 1, 1, 18, 17, 4, 0}, 0, 1},
    };
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const struct hy_linear_attention *s = &cases[index].s;
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *d, *ht = NULL, *v[2];
    struct hy_linear_attention_in in = {
        .f = hy_graph_leaf(g, "f", rows, (int64_t)s->heads * s->features, 0.1, 1),
        .g = hy_graph_leaf(g, "g", rows, (int64_t)s->key_heads * s->features, 0.1, 1)};
    hy_graph_split(g, hy_graph_leaf(g, "v", rows, 1 + s->value_heads * s->value_width, -1, 1), 2,
                   (int64_t[]){1, (int64_t)s->value_heads * s->value_width}, v);
    in.v = v[1];
    if (cases[index].drops)
        in.dropped = hy_constant(g, 1, 1, same, cases[index].drops - 1);
    if (cases[index].states)
        in.h0 = hy_graph_leaf(g, "h0", (int64_t)g->shape.batch * s->heads * s->features,
                              s->value_width + 1, 0.1, 1);
    hy_linear_attention(g, &in, s, &d, cases[index].states ? &ht : NULL);
    return 1;
}

const struct hy_op_kind hy_op_linear_attention = {
    .name = "linear_attention",
    .forward = hy_linear_forward,
    .backward = hy_linear_backward,
    .cost = linear_attention_cost,
    .scratch = hy_linear_scratch,
    .backward_in =
        1u << HY_LINEAR_F | 1u << HY_LINEAR_G | 1u << HY_LINEAR_V | 1u << HY_LINEAR_DROPPED,
    .backward_out = 1u << HY_LINEAR_STATES,
    .example = linear_attention_example,
};

static int64_t state_rows(const struct hy_graph *g, const struct hy_linear_attention *s)
{
    const int states = s->terraced && s->lag ? 2 : 1;
    return (int64_t)g->shape.batch * states * s->heads * s->features;
}

/* Is what s asks for possible here, and do the inputs fit it? */
static int fits(struct hy_graph *g, struct hy_tensor *const *in,
                const struct hy_linear_attention *s, int has_ht)
{
    static const char op[] = "linear_attention";
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int cached = g->shape.mode == HY_CACHED;
    if (s->heads < 1 || s->features < 1 || s->value_width < 1 || s->lag < 0)
        hy_graph_fail(g, "%s: %d heads of %d features and values of width %d, lag %d", op, s->heads,
                      s->features, s->value_width, s->lag);
    else if (s->key_heads < 1 || s->heads % s->key_heads || s->value_heads < 1 ||
             s->heads % s->value_heads)
        hy_graph_fail(g, "%s: %d heads do not share %d heads of keys and %d of values", op,
                      s->heads, s->key_heads, s->value_heads);
    else if (in[HY_LINEAR_F] == in[HY_LINEAR_G] || in[HY_LINEAR_F] == in[HY_LINEAR_V] ||
             in[HY_LINEAR_G] == in[HY_LINEAR_V])
        hy_graph_fail(g, "%s: two of f, g and v are one tensor", op);
    else if (!cached && s->lag && (in[HY_LINEAR_H0] || has_ht))
        hy_graph_fail(g, "%s: states with a lag of %d are for cached graphs alone", op, s->lag);
    else if (cached && s->lag && in[HY_LINEAR_DROPPED])
        hy_graph_fail(g, "%s: in a cached graph the lag of %d cannot be dropped", op, s->lag);
    if (g->err.code)
        return 0;
    return hy_has_shape(g, op, "f", in[HY_LINEAR_F], rows, (int64_t)s->heads * s->features) &&
           hy_has_shape(g, op, "g", in[HY_LINEAR_G], rows, (int64_t)s->key_heads * s->features) &&
           hy_has_shape(g, op, "v", in[HY_LINEAR_V], rows,
                        (int64_t)s->value_heads * s->value_width) &&
           (!in[HY_LINEAR_DROPPED] ||
            hy_has_shape(g, op, "dropped", in[HY_LINEAR_DROPPED], 1, 1)) &&
           (!in[HY_LINEAR_H0] ||
            hy_has_shape(g, op, "h0", in[HY_LINEAR_H0], state_rows(g, s), s->value_width + 1));
}

/* The states that training keeps, or NULL. */
static struct hy_tensor *states_of(struct hy_graph *g, struct hy_tensor *const *in,
                                   const struct hy_linear_attention *s)
{
    struct hy_op op = {.graph = g, .attr = s};
    op.in[HY_LINEAR_DROPPED] = in[HY_LINEAR_DROPPED];
    const int64_t states = g->shape.batch * s->heads * hy_linear_periods(&op);
    struct hy_tensor *t =
        hy_graph_tensor(g, states * hy_lanes_up(s->features), hy_lanes_up(s->value_width + 1));
    return t;
}

struct hy_tensor *hy_linear_attention(struct hy_graph *g, const struct hy_linear_attention_in *in,
                                      const struct hy_linear_attention *s, struct hy_tensor **d,
                                      struct hy_tensor **ht)
{
    struct hy_tensor *all[HY_LINEAR_INPUTS] = {in->f, in->g, in->v, in->dropped, in->h0};
    struct hy_tensor *out[HY_LINEAR_OUTPUTS] = {0};
    *d = NULL;
    if (!in->f || !in->g || !in->v || !fits(g, all, s, ht != NULL))
        return NULL;
    if (ht && !*ht)
        *ht = hy_graph_tensor(g, state_rows(g, s), s->value_width + 1);
    if (ht && (!*ht || !hy_has_shape(g, "linear_attention", "ht", *ht, state_rows(g, s),
                                     s->value_width + 1)))
        return NULL;
    out[HY_LINEAR_N] = hy_graph_tensor(g, in->f->rows, (int64_t)s->heads * s->value_width);
    out[HY_LINEAR_D] = hy_graph_tensor(g, in->f->rows, s->heads);
    out[HY_LINEAR_HT] = ht ? *ht : NULL;
    if (g->shape.mode == HY_TRAIN)
        out[HY_LINEAR_STATES] = states_of(g, all, s);
    if (!out[HY_LINEAR_D] || !hy_graph_op(g, &hy_op_linear_attention, HY_LINEAR_INPUTS, all,
                                          HY_LINEAR_OUTPUTS, out, s, sizeof *s))
        return NULL;
    if (out[HY_LINEAR_STATES])
        out[HY_LINEAR_STATES]->differentiable = 0; /* between this op's two passes only */
    *d = out[HY_LINEAR_D];
    return out[HY_LINEAR_N];
}
