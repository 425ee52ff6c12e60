/* attention.c - what the variants with softmax attention have in common. */
#include <math.h>

#include "core/ops/attention.h"
#include "core/ops/constant.h"
#include "core/ops/rope.h"
#include "core/ops/skip.h"
#include "core/mixers/mixer.h"

static double minus_one(int64_t k, double unused)
{
    (void)k, (void)unused;
    return -1;
}

int hy_mixer_kv_heads(const struct hy_mixer *m)
{
    const int given = (int)hy_get_int(m->options, "kv_heads");
    return given ? given : m->heads;
}

/* Channels of a head that are rotated. */
static int64_t rotated(const struct hy_mixer *m)
{
    const double share = hy_get_real_or(m->options, "rotary", 1);
    return (int64_t)floor(share * (m->d_model / m->heads) + 1e-9);
}

int hy_mixer_check_attention(const struct hy_mixer *m, struct hy_err *e)
{
    if (m->heads % hy_mixer_kv_heads(m))
        return hy_fail(e, HY_E_USAGE, "kv_heads %d does not divide heads %d", hy_mixer_kv_heads(m),
                       m->heads);
    if (hy_get_real(m->options, "rope_base") > 0 && (rotated(m) < 2 || rotated(m) % 2))
        return hy_fail(e, HY_E_USAGE,
                       rotated(m) == m->d_model / m->heads
                           ? "rotary positions need an even head width, not %lld"
                           : "rotary positions need an even number of channels, not %lld: choose "
                             "another share for rotary",
                       (long long)rotated(m));
    return HY_OK;
}

int64_t hy_mixer_attention_state(const struct hy_mixer *m, int64_t positions)
{
    const int64_t width = m->d_model / m->heads, keys = hy_mixer_kv_heads(m) * width;
    return 2 * positions * keys + hy_mixer_conv_state(m, m->d_model + 2 * keys);
}

/* A sink takes a share of the attention and gives nothing: what is left of a head's output is
 * sigmoid(log sum exp of its scores - sink) of it (gpt-oss, arXiv 2508.10925). */
static struct hy_tensor *drain(struct hy_mixer *m, struct hy_tensor *o, struct hy_tensor *lse)
{
    const int64_t heads = m->heads;
    struct hy_tensor *sinks =
        hy_mixer_param(m, "sinks", 1, &heads, (struct hy_init){.law = HY_INIT_CONSTANT}, 0);
    struct hy_tensor *minus = hy_constant(m->graph, o ? o->rows : 1, heads, minus_one, 0);
    return hy_gated(m->graph, o, hy_skip(m->graph, lse, minus, sinks), HY_GATE_SIGMOID);
}

struct hy_qkv hy_mixer_qkv(struct hy_mixer *m, struct hy_tensor *x, int64_t gates)
{
    struct hy_graph *g = m->graph;
    const int64_t width = m->d_model / m->heads, keys = hy_mixer_kv_heads(m) * width;
    const int64_t all = m->d_model + 2 * keys;
    const double base = hy_get_real(m->options, "rope_base");
    struct hy_tensor *p[2], *qkv[3];
    hy_mixer_project_parts(
        m, x, gates ? 4 : 3,
        (struct hy_projection[]){
            {"q_proj", m->d_model}, {"k_proj", keys}, {"v_proj", keys}, {"g_proj", gates}},
        gates ? 2 : 1, (int64_t[]){all, gates}, p);
    hy_graph_split(g, hy_mixer_conv_qkv(m, p[0], m->d_model, keys, keys), 3,
                   (int64_t[]){m->d_model, keys, keys}, qkv);
    struct hy_tensor *q = qkv[0], *k = qkv[1];
    if (hy_get_bool(m->options, "qk_norm")) {
        q = hy_mixer_norm(m, q, "q_norm.weight", width, NULL, HY_GATE_PLAIN);
        k = hy_mixer_norm(m, k, "k_norm.weight", width, NULL, HY_GATE_PLAIN);
    }
    if (base > 0) {
        q = hy_rope_part(g, q, m->heads, rotated(m), base);
        k = hy_rope_part(g, k, hy_mixer_kv_heads(m), rotated(m), base);
    }
    return (struct hy_qkv){
        .q = q,
        .k = k,
        .v = qkv[2],
        .gate = gates ? p[1] : NULL,
        .shape = {.heads = m->heads,
                  .kv_heads = hy_mixer_kv_heads(m),
                  .key_width = (int)width,
                  .value_width = (int)width,
                  .scale = 1 / sqrt((double)width)},
    };
}

struct hy_tensor *hy_mixer_attention(struct hy_mixer *m, struct hy_tensor *x, int window,
                                     const char *gate)
{
    struct hy_graph *g = m->graph;
    const int64_t kept = window ? window : g->shape.context;
    const int64_t gates = *gate == 'h' ? m->heads : *gate == 'e' ? m->d_model : 0;
    struct hy_qkv in = hy_mixer_qkv(m, x, gates);
    struct hy_attention *shape = &in.shape;
    const int64_t keys = (int64_t)shape->kv_heads * shape->key_width;
    struct hy_tensor *o, *lse;
    shape->window = window;
    shape->cap = hy_get_real_or(m->options, "softcap", 0);
    struct hy_tensor *cache_k = hy_mixer_state(m, "keys", kept, keys);
    struct hy_tensor *cache_v = hy_mixer_state(m, "values", kept, keys);
    if (hy_get_bool_or(m->options, "sinks", 0)) {
        o = hy_attention_lse(g, in.q, in.k, in.v, shape, cache_k, cache_v, &lse);
        o = drain(m, o, lse);
    } else {
        o = hy_attention(g, in.q, in.k, in.v, shape, cache_k, cache_v);
    }
    if (m->inside)
        *m->inside = (struct hy_heads){.heads = shape->heads,
                                       .kv_heads = shape->kv_heads,
                                       .width = shape->key_width,
                                       .scale = shape->scale,
                                       .window = window,
                                       .q = in.q,
                                       .k = in.k,
                                       .o = o};
    if (gates)
        o = hy_gated(g, o, in.gate, HY_GATE_SIGMOID);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}
