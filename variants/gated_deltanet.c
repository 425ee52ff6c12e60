/* gated_deltanet.c - the gated delta rule (arXiv 2412.06464): decay, then correct what the key
 * recalls.
 *   S' = exp(g_t) S_{t-1},  S_t = S' + beta_t k_t (v_t - S'^T k_t)',  o_t = S_t' q_t / sqrt(dk)
 *   g = -exp(A_log) softplus(a x + dt_bias), beta = sigmoid(b x), both per head; q, k, v pass a
 *   short convolution and SiLU, q and k are l2-normalised */
#include "variants/variant.h"

static const struct hy_option gated_deltanet_options[] = {
    HY_OPTIONS_WIDTHS(1, 2),
    HY_OPTIONS_DELTA,
    {"a_max", HY_OPT_REAL, .def = 16, .min = 1e-6, .max = 1e6,
     .help = "A, the rate of decay, starts uniform between 0 and this: smaller remembers longer"},
    {0},
};

static struct hy_tensor *gated_deltanet_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t keys = s.heads * s.key_width, values = s.heads * s.value_width;
    struct hy_tensor *p[4];
    hy_mixer_project_parts(m, x, 6,
                           (struct hy_projection[]){{"q_proj", keys},
                                                    {"k_proj", keys},
                                                    {"v_proj", values},
                                                    {"g_proj", values},
                                                    {"b_proj", m->heads},
                                                    {"a_proj", m->heads}},
                           4, (int64_t[]){2 * keys + values, values, m->heads, m->heads}, p);
    struct hy_tensor *decay =
        hy_mixer_decay(m, p[3], m->heads, 0, hy_get_real(m->options, "a_max"), NULL);
    struct hy_tensor *o = hy_mixer_delta(m, p[0], p[2], decay);
    o = hy_mixer_norm(m, o, "o_norm.weight", s.value_width, p[1], HY_GATE_SILU);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}

const struct hy_variant hy_variant_gated_deltanet = {
    .name = "gated_deltanet",
    .summary = "gated delta rule: decays, then overwrites what a key recalls",
    .options = gated_deltanet_options,
    .build = gated_deltanet_build,
    .state_elements = hy_mixer_conv_heads_state,
    .check = hy_mixer_check_heads,
};
