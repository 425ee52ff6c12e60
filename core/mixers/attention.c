/* mixer_attention.c - what the variants with softmax attention have in common. */
#include <math.h>

#include "core/ops/attention.h"
#include "core/ops/rope.h"
#include "core/mixers/mixer.h"

static int kv_heads(const struct hy_mixer *m)
{
    const int given = (int)hy_get_int(m->options, "kv_heads");
    return given ? given : m->heads;
}

int hy_mixer_check_attention(const struct hy_mixer *m, struct hy_err *e)
{
    if (m->heads % kv_heads(m))
        return hy_fail(e, HY_E_USAGE, "kv_heads %d does not divide heads %d", kv_heads(m),
                       m->heads);
    if (hy_get_real(m->options, "rope_base") > 0 && m->d_model / m->heads % 2)
        return hy_fail(e, HY_E_USAGE, "rotary positions need an even head width, not %d",
                       m->d_model / m->heads);
    return HY_OK;
}

int64_t hy_mixer_attention_state(const struct hy_mixer *m, int64_t positions)
{
    const int64_t width = m->d_model / m->heads, keys = kv_heads(m) * width;
    return 2 * positions * keys + hy_mixer_conv_state(m, m->d_model + 2 * keys);
}

struct hy_tensor *hy_mixer_attention(struct hy_mixer *m, struct hy_tensor *x, int window,
                                     int64_t gates, struct hy_tensor **gate)
{
    struct hy_graph *g = m->graph;
    const int64_t width = m->d_model / m->heads, keys = kv_heads(m) * width;
    const int64_t all = m->d_model + 2 * keys;
    const int64_t kept = window ? window : g->shape.context;
    const double base = hy_get_real(m->options, "rope_base");
    const struct hy_attention shape = {
        .heads = m->heads,
        .kv_heads = kv_heads(m),
        .key_width = (int)width,
        .value_width = (int)width,
        .scale = 1 / sqrt((double)width),
        .window = window,
    };
    struct hy_tensor *p[2], *qkv[3];
    hy_mixer_project_parts(
        m, x, gates ? 4 : 3,
        (struct hy_projection[]){
            {"q_proj", m->d_model}, {"k_proj", keys}, {"v_proj", keys}, {"g_proj", gates}},
        gates ? 2 : 1, (int64_t[]){all, gates}, p);
    if (gates)
        *gate = p[1];
    hy_graph_split(g, hy_mixer_conv_qkv(m, p[0], m->d_model, keys, keys), 3,
                   (int64_t[]){m->d_model, keys, keys}, qkv);
    struct hy_tensor *q = qkv[0], *k = qkv[1];
    if (hy_get_bool(m->options, "qk_norm")) {
        q = hy_mixer_norm(m, q, "q_norm.weight", width, NULL, HY_GATE_PLAIN);
        k = hy_mixer_norm(m, k, "k_norm.weight", width, NULL, HY_GATE_PLAIN);
    }
    if (base > 0) {
        q = hy_rope(g, q, m->heads, base);
        k = hy_rope(g, k, kv_heads(m), base);
    }
    return hy_attention(g, q, k, qkv[2], &shape, hy_mixer_state(m, "keys", kept, keys),
                        hy_mixer_state(m, "values", kept, keys));
}
