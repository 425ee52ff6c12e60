/* retnet.c - retention (arXiv 2307.08621): a fixed decay per head, rotary positions, a gated norm.
 *   S_t = gamma_h S_{t-1} + k_t v_t',  o_t = S_t' q_t / sqrt(dk),  gamma_h = 1 - 2^(-5-h) */
#include <math.h>

#include "core/ops/constant.h"
#include "core/ops/rope.h"
#include "core/mixers/mixer.h"

static const struct hy_option retnet_options[] = {
    HY_OPTIONS_WIDTHS(1, 2),
    HY_OPTION_CONV,
    {"rope_base", HY_OPT_REAL, .def = 1e4, .min = 0, .max = 1e9,
     .help = "base of the rotary position's wavelengths; 0: no positions"},
    {0},
};

static int retnet_check(const struct hy_mixer *m, struct hy_err *e)
{
    const int rc = hy_mixer_check_heads(m, e), width = hy_mixer_heads(m).key_width;
    if (!rc && hy_get_real(m->options, "rope_base") > 0 && width % 2)
        return hy_fail(e, HY_E_USAGE, "rotary positions need an even key width, not %d", width);
    return rc;
}

static double log_gamma(int64_t head, double unused)
{
    (void)unused;
    return log1p(-exp2(-5 - (double)head));
}

static struct hy_tensor *retnet_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t keys = s.heads * s.key_width, values = s.heads * s.value_width;
    const double base = hy_get_real(m->options, "rope_base");
    struct hy_tensor *p[2], *qkv[3];
    hy_mixer_project_parts(
        m, x, 4,
        (struct hy_projection[]){
            {"q_proj", keys}, {"k_proj", keys}, {"v_proj", values}, {"g_proj", values}},
        2, (int64_t[]){2 * keys + values, values}, p);
    hy_graph_split(m->graph, hy_mixer_conv_qkv(m, p[0], keys, keys, values), 3,
                   (int64_t[]){keys, keys, values}, qkv);
    for (int i = 0; i < 2 && base > 0; i++)
        qkv[i] = hy_rope(m->graph, qkv[i], m->heads, base);
    struct hy_tensor *decay = hy_constant(m->graph, 1, m->heads, log_gamma, 0);
    struct hy_tensor *o = hy_mixer_gated_scan(m, qkv[0], qkv[1], qkv[2], decay, &s);
    o = hy_mixer_norm(m, o, "g_norm_swish_gate.weight", s.value_width, p[1], HY_GATE_SILU);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}

const struct hy_variant hy_variant_retnet = {
    .name = "retnet",
    .summary = "retention: a fixed decay per head, rotary positions, gated output",
    .options = retnet_options,
    .build = retnet_build,
    .state_elements = hy_mixer_conv_heads_state,
    .check = retnet_check,
};
