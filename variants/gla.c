/* gla.c - gated linear attention (arXiv 2312.06635).
 *   S_t = diag(exp g_t) S_{t-1} + k_t v_t',  o_t = S_t' q_t / sqrt(dk)
 *   g = logsigmoid(W2 W1 x + b) / 16, one decay per key channel, W1 of low rank */
#include "core/ops/log_sigmoid.h"
#include "core/mixers/mixer.h"

static const struct hy_option gla_options[] = {
    HY_OPTIONS_WIDTHS(0.5, 1),
    HY_OPTION_CONV,
    {"gate_rank", HY_OPT_INT, .def = 16, .min = 1, .max = 4096,
     .help = "rank of the decay's projection"},
    {"gate_divisor", HY_OPT_REAL, .def = 16, .min = 1, .max = 1024,
     .help = "divides the log decay: larger forgets more slowly"},
    {0},
};

static struct hy_tensor *gla_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t keys = s.heads * s.key_width, values = s.heads * s.value_width;
    const int64_t rank = hy_get_int(m->options, "gate_rank");
    struct hy_tensor *p[3], *qkv[3];
    hy_mixer_project_parts(m, x, 5,
                           (struct hy_projection[]){{"q_proj", keys},
                                                    {"k_proj", keys},
                                                    {"v_proj", values},
                                                    {"g_proj", values},
                                                    {"gk_proj.0", rank}},
                           3, (int64_t[]){2 * keys + values, values, rank}, p);
    hy_graph_split(m->graph, hy_mixer_conv_qkv(m, p[0], keys, keys, values), 3,
                   (int64_t[]){keys, keys, values}, qkv);
    struct hy_tensor *bias =
        hy_mixer_param(m, "gk_proj.1.bias", 1, &keys, (struct hy_init){.law = HY_INIT_CONSTANT}, 0);
    struct hy_tensor *decay =
        hy_log_sigmoid_of(m->graph, hy_mixer_linear(m, p[2], "gk_proj.1", keys), bias,
                          hy_get_real(m->options, "gate_divisor"));
    struct hy_tensor *o = hy_mixer_gated_scan(m, qkv[0], qkv[1], qkv[2], decay, &s);
    o = hy_mixer_norm(m, o, "g_norm_swish_gate.weight", s.value_width, p[1], HY_GATE_SILU);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}

const struct hy_variant hy_variant_gla = {
    .name = "gla",
    .summary = "gated linear attention: a data-dependent decay per key channel",
    .options = gla_options,
    .build = gla_build,
    .state_elements = hy_mixer_conv_heads_state,
    .check = hy_mixer_check_heads,
};
