/* retnet.c - retention (arXiv 2307.08621): a fixed decay per head, rotary positions, a gated norm.
 *   S_t = gamma_h S_{t-1} + k_t v_t',  o_t = S_t' q_t / sqrt(dk),  gamma_h = 1 - 2^(-5-h) */
#include <math.h>

#include "core/ops/constant.h"
#include "core/ops/gated_scan.h"
#include "core/ops/rope.h"
#include "variants/variant.h"

static const struct hy_option retnet_options[] = {
    {"expand_k", HY_OPT_REAL, .def = 1, .min = 0.0625, .max = 8,
     .help = "key width as a multiple of d_model"},
    {"expand_v", HY_OPT_REAL, .def = 2, .min = 0.0625, .max = 8,
     .help = "value width as a multiple of d_model"},
    {"rope_base", HY_OPT_REAL, .def = 1e4, .min = 0, .max = 1e9,
     .help = "base of the rotary position's wavelengths; 0: no positions"},
    {0},
};

static int retnet_check(const struct hy_mixer *m, struct hy_err *e)
{
    int rc = hy_mixer_check_width(m, "retnet", "expand_k", e);
    if (!rc)
        rc = hy_mixer_check_width(m, "retnet", "expand_v", e);
    if (!rc && hy_get_real(m->options, "rope_base") > 0 && hy_mixer_width(m, "expand_k") % 2)
        rc = hy_fail(e, HY_E_USAGE, "retnet: rotary positions need an even key width, not %lld",
                     (long long)hy_mixer_width(m, "expand_k"));
    return rc;
}

static double log_gamma(int64_t head)
{
    return log1p(-exp2(-5 - (double)head));
}

static struct hy_tensor *retnet_build(struct hy_mixer *m, struct hy_tensor *x)
{
    struct hy_graph *g = m->graph;
    const int64_t dk = hy_mixer_width(m, "expand_k"), dv = hy_mixer_width(m, "expand_v");
    const double base = hy_get_real(m->options, "rope_base");
    const struct hy_scan scan = {
        .heads = m->heads,
        .key_width = (int)dk,
        .value_width = (int)dv,
        .scale = 1 / sqrt((double)dk),
    };
    struct hy_tensor *p[4];
    hy_mixer_project(m, x, 4,
                     (struct hy_projection[]){{"q_proj", m->heads * dk},
                                              {"k_proj", m->heads * dk},
                                              {"v_proj", m->heads * dv},
                                              {"g_proj", m->heads * dv}},
                     p);
    struct hy_tensor *q = p[0], *k = p[1];
    if (base > 0) {
        q = hy_rope(g, q, m->heads, base);
        k = hy_rope(g, k, m->heads, base);
    }
    struct hy_tensor *decay = hy_constant(g, 1, m->heads, log_gamma);
    struct hy_tensor *state = hy_mixer_state(m, "state", m->heads * dk, dv);
    struct hy_tensor *o = hy_gated_scan(g, q, k, p[2], decay, &scan, state, state ? &state : NULL);
    return hy_mixer_output(m, o, p[3], "g_norm_swish_gate.weight");
}

static int64_t retnet_state(const struct hy_mixer *m, int64_t context)
{
    (void)context;
    return m->heads * hy_mixer_width(m, "expand_k") * hy_mixer_width(m, "expand_v");
}

const struct hy_variant hy_variant_retnet = {
    .name = "retnet",
    .summary = "retention: a fixed decay per head, rotary positions, gated output",
    .options = retnet_options,
    .build = retnet_build,
    .state_elements = retnet_state,
    .check = retnet_check,
};
