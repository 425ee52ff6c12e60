/* softmax.c - full causal attention (arXiv 1706.03762) with rotary positions (arXiv 2104.09864).
 *   o_t = sum_{s<=t} softmax_s(q_t' k_s / sqrt(d_head)) v_s */
#include <math.h>

#include "core/ops/attention.h"
#include "core/ops/rmsnorm.h"
#include "core/ops/rope.h"
#include "variants/variant.h"

static const struct hy_option softmax_options[] = {
    {"kv_heads", HY_OPT_INT, .def = 0, .min = 0, .max = 4096,
     .help =
         "heads of keys and values, each shared by heads/kv_heads queries; 0: as many as heads"},
    {"rope_base", HY_OPT_REAL, .def = 1e4, .min = 0, .max = 1e9,
     .help = "base of the rotary position's wavelengths; 0: no positions"},
    {"qk_norm", HY_OPT_BOOL, .def = 0, .max = 1,
     .help = "RMSNorm of each head's queries and keys before the rotation"},
    {0},
};

static int64_t kv_heads(const struct hy_mixer *m)
{
    const int64_t given = hy_get_int(m->options, "kv_heads");
    return given ? given : m->heads;
}

static int softmax_check(const struct hy_mixer *m, struct hy_err *e)
{
    const int64_t kv = kv_heads(m);
    if (m->heads % kv)
        return hy_fail(e, HY_E_USAGE, "softmax: kv_heads %lld does not divide heads %d",
                       (long long)kv, m->heads);
    if (hy_get_real(m->options, "rope_base") > 0 && m->d_model / m->heads % 2)
        return hy_fail(e, HY_E_USAGE, "softmax: rotary positions need an even head width, not %d",
                       m->d_model / m->heads);
    return HY_OK;
}

static struct hy_tensor *normed(struct hy_mixer *m, struct hy_tensor *x, const char *name,
                                int64_t width)
{
    struct hy_tensor *w = hy_mixer_param(m, name, 1, (int64_t[]){width},
                                         (struct hy_init){.law = HY_INIT_CONSTANT, .a = 1}, 0);
    return hy_rmsnorm(m->graph, x, w, m->norm_eps);
}

static struct hy_tensor *softmax_build(struct hy_mixer *m, struct hy_tensor *x)
{
    struct hy_graph *g = m->graph;
    const int64_t width = m->d_model / m->heads, kv = kv_heads(m), context = g->shape.context;
    const double base = hy_get_real(m->options, "rope_base");
    const struct hy_attention shape = {
        .heads = m->heads,
        .kv_heads = (int)kv,
        .key_width = (int)width,
        .value_width = (int)width,
        .scale = 1 / sqrt((double)width),
    };
    struct hy_tensor *qkv[3], *q, *k;
    hy_mixer_project(m, x, 3,
                     (struct hy_projection[]){{"q_proj", m->heads * width},
                                              {"k_proj", kv * width},
                                              {"v_proj", kv * width}},
                     qkv);
    q = qkv[0];
    k = qkv[1];
    if (hy_get_bool(m->options, "qk_norm")) {
        q = normed(m, q, "q_norm.weight", width);
        k = normed(m, k, "k_norm.weight", width);
    }
    if (base > 0) {
        q = hy_rope(g, q, m->heads, base);
        k = hy_rope(g, k, (int)kv, base);
    }
    struct hy_tensor *o =
        hy_attention(g, q, k, qkv[2], &shape, hy_mixer_state(m, "keys", context, kv * width),
                     hy_mixer_state(m, "values", context, kv * width));
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}

static int64_t softmax_state(const struct hy_mixer *m, int64_t context)
{
    return 2 * context * kv_heads(m) * (m->d_model / m->heads);
}

const struct hy_variant hy_variant_softmax = {
    .name = "softmax",
    .summary = "full causal attention with rotary positions: a cache that grows with the context",
    .options = softmax_options,
    .full = 1,
    .build = softmax_build,
    .state_elements = softmax_state,
    .check = softmax_check,
};
