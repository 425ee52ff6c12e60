#include "core/ops/scan/gated_scan.h"

/* Odd widths, ragged chunks; every kind of decay; states in and out. */
static int gated_scan_example(struct hy_graph *g, int index)
{
    static const struct {
        struct hy_scan scan;
        int constant, channels, h0, ht;
    } cases[] = {
        {{2, 3, 5, 0.5, 4, 2}, 1, 0, 0, 0},  {{2, 4, 3, 1.0, 0, 2}, 0, 0, 1, 1},
        {{1, 9, 2, 0.7, 3, 1}, 0, 0, 0, 1},  {{2, 3, 4, 0.5, 5, 2}, 0, 1, 1, 1},
        {{1, 10, 9, 0.3, 0, 1}, 0, 1, 0, 0}, {{4, 3, 2, 0.5, 0, 2}, 0, 0, 0, 1},
    };
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const struct hy_scan *s = &cases[index].scan;
    const int64_t batch = g->shape.batch, rows = batch * g->shape.tokens, heads = s->heads;
    const int64_t keys = heads * s->key_width, values = heads * s->value_width;
    const int64_t read = (int64_t)s->key_heads * s->key_width;
    /* One tensor in three views, as a fused projection gives them. */
    struct hy_tensor *all = hy_graph_leaf(g, "qkv", rows, 2 * read + values, -1, 1), *qkv[3];
    hy_graph_split(g, all, 3, (int64_t[]){read, read, values}, qkv);
    struct hy_tensor *decay = hy_graph_leaf(g, "decay", cases[index].constant ? 1 : rows,
                                            cases[index].channels ? keys : heads, -1.5, 0);
    struct hy_tensor *h0 = NULL, *ht = NULL;
    if (cases[index].h0)
        h0 = hy_graph_leaf(g, "h0", batch * keys, s->value_width, -1, 1);
    hy_gated_scan(g, qkv[0], qkv[1], qkv[2], decay, s, h0, cases[index].ht ? &ht : NULL);
    return 1;
}

const struct hy_op_kind hy_op_gated_scan = {
    .name = "gated_scan",
    .forward = hy_scan_forward,
    .backward = hy_scan_backward,
    .cost = hy_scan_cost,
    .scratch = hy_scan_scratch,
    .backward_in = 1u << HY_SCAN_Q | 1u << HY_SCAN_K | 1u << HY_SCAN_V | 1u << HY_SCAN_DECAY,
    .backward_out = 1u << HY_SCAN_STATES,
    .example = gated_scan_example,
};

struct hy_tensor *hy_gated_scan(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                struct hy_tensor *v, struct hy_tensor *decay,
                                const struct hy_scan *s, struct hy_tensor *h0,
                                struct hy_tensor **ht)
{
    struct hy_tensor *in[HY_SCAN_INPUTS] = {
        [HY_SCAN_Q] = q,         [HY_SCAN_K] = k,   [HY_SCAN_V] = v,
        [HY_SCAN_DECAY] = decay, [HY_SCAN_H0] = h0,
    };
    return decay ? hy_scan_build(g, &hy_op_gated_scan, s, in, ht) : NULL;
}
