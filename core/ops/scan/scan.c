#include "core/ops/scan/scan.h"

#include "core/ops/support/build.h"
#include "core/ops/scan/scan_work.h"

enum { DEFAULT_CHUNK = 64 };

void hy_scan_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const struct hy_scan_plan p = hy_scan_plan_of(op, 0);
    const double rows = (double)(p.batch * p.tokens * p.heads);
    const double k = (double)p.k, v = (double)p.v, decays = p.decay == DECAY_CHANNEL ? k : 1;
    const int backward = op->pass == HY_BACKWARD;
    /* Products with the state, then those within a block, of which half is above the diagonal. */
    const double products = backward ? (p.delta ? 6 : 4) : (p.delta ? 3 : 2);
    const double shared = p.by_chunk ? k / (double)p.sharing : k;
    const double within = backward ? 2 * (shared + v) : shared + v;
    const double span = p.by_chunk ? (double)(p.blocks * B) : B;
    cost->flops = rows * (products * 2 * k * v + (p.delta ? 2 : 1) * span * within);
    cost->bytes = (backward ? 2 : 1) * rows * (2 * k + 2 * v + decays) * sizeof(hy_real);
}

int hy_scan_check(struct hy_graph *g, const char *op, const struct hy_scan *s,
                  struct hy_tensor *const *in)
{
    static const char *const names[HY_SCAN_INPUTS] = {"q", "k", "v", "decay", "beta", "h0"};
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t keys = (int64_t)s->heads * s->key_width;
    const int64_t read = (int64_t)s->key_heads * s->key_width;
    const int64_t due[HY_SCAN_INPUTS][2] = {
        {rows, read},
        {rows, read},
        {rows, (int64_t)s->heads * s->value_width},
        {rows, in[HY_SCAN_DECAY] && in[HY_SCAN_DECAY]->cols == s->heads ? s->heads : keys},
        {rows, s->heads},
        {g->shape.batch * keys, s->value_width},
    };
    if (!in[HY_SCAN_Q] || !in[HY_SCAN_K] || !in[HY_SCAN_V])
        return 0;
    if (s->heads < 1 || s->key_width < 1 || s->value_width < 1 || s->chunk < 0) {
        hy_graph_fail(g, "%s: %d heads of widths %d and %d in chunks of %d", op, s->heads,
                      s->key_width, s->value_width, s->chunk);
        return 0;
    }
    if (s->key_heads < 1 || s->heads % s->key_heads) {
        hy_graph_fail(g, "%s: %d heads do not share %d heads of keys", op, s->heads, s->key_heads);
        return 0;
    }
    for (int i = 0; i < HY_SCAN_INPUTS; i++) {
        const struct hy_tensor *t = in[i];
        const int constant = i == HY_SCAN_DECAY && t && t->rows == 1 && t->cols == s->heads;
        if (t && !constant && !hy_has_shape(g, op, names[i], t, due[i][0], due[i][1]))
            return 0;
    }
    return 1;
}

struct hy_tensor *hy_scan_build(struct hy_graph *g, const struct hy_op_kind *kind,
                                const struct hy_scan *s, struct hy_tensor *const *in,
                                struct hy_tensor **ht)
{
    struct hy_scan attr = *s;
    attr.chunk = s->chunk ? s->chunk : DEFAULT_CHUNK;
    attr.key_heads = s->key_heads ? s->key_heads : s->heads;
    if (!hy_scan_check(g, kind->name, &attr, in))
        return NULL;
    const struct hy_tensor *v = in[HY_SCAN_V];
    const int64_t state_rows = (int64_t)g->shape.batch * s->heads * s->key_width;
    struct hy_tensor *out[HY_SCAN_OUTPUTS] = {hy_graph_tensor(g, v->rows, v->cols)};
    if (ht && !*ht)
        *ht = hy_graph_tensor(g, state_rows, s->value_width);
    if (ht) {
        if (!*ht || !hy_has_shape(g, kind->name, "ht", *ht, state_rows, s->value_width))
            return NULL;
        out[HY_SCAN_HT] = *ht;
    }
    if (g->shape.mode == HY_TRAIN) {
        const int64_t chunks = (g->shape.tokens + attr.chunk - 1) / attr.chunk;
        out[HY_SCAN_STATES] =
            hy_graph_tensor(g, g->shape.batch * s->heads * (chunks + 1) * hy_lanes_up(s->key_width),
                            hy_lanes_up(s->value_width));
        if (in[HY_SCAN_BETA])
            out[HY_SCAN_ERRORS] = hy_graph_tensor(g, v->rows, v->cols);
    }
    if (!hy_graph_op(g, kind, HY_SCAN_INPUTS, in, HY_SCAN_OUTPUTS, out, &attr, sizeof attr))
        return NULL;
    for (int i = HY_SCAN_STATES; i <= HY_SCAN_ERRORS; i++)
        if (out[i])
            out[i]->differentiable = 0; /* between this op's two passes only */
    return out[HY_SCAN_O];
}
