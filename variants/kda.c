/* kda.c - Kimi delta attention (arXiv 2510.26692): gated DeltaNet with a decay per key channel.
 *   S' = diag(exp g_t) S_{t-1},  S_t = S' + beta_t k_t (v_t - S'^T k_t)'
 *   o_t = S_t' q_t / sqrt(dk),  g = -exp(A_log) softplus(F2 F1 x + dt_bias), A_log per head
 *   the output's gate is sigmoid(G2 G1 x + b); F1 and G1 have the rank of a head's values */
#include "core/mixers/mixer.h"

static const struct hy_option kda_options[] = {
    HY_OPTIONS_WIDTHS(1, 1),
    HY_OPTIONS_DELTA,
    {0},
};

static struct hy_tensor *kda_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t keys = s.heads * s.key_width, values = s.heads * s.value_width;
    const int64_t rank = s.value_width;
    struct hy_tensor *p[4];
    hy_mixer_project_parts(m, x, 6,
                           (struct hy_projection[]){{"q_proj", keys},
                                                    {"k_proj", keys},
                                                    {"v_proj", values},
                                                    {"f_proj.0", rank},
                                                    {"g_proj.0", rank},
                                                    {"b_proj", m->heads}},
                           4, (int64_t[]){2 * keys + values, rank, rank, m->heads}, p);
    struct hy_tensor *decay =
        hy_mixer_decay(m, hy_mixer_linear(m, p[1], "f_proj.1", keys), m->heads, 1, 16, NULL);
    struct hy_tensor *gate = hy_mixer_linear_biased(m, p[2], "g_proj.1", values);
    struct hy_tensor *o = hy_mixer_delta(m, p[0], p[3], decay, NULL);
    o = hy_mixer_norm(m, o, "o_norm.weight", s.value_width, gate, HY_GATE_SIGMOID);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}

const struct hy_variant hy_variant_kda = {
    .name = "kda",
    .summary = "Kimi delta attention: the delta rule with a decay per key channel",
    .options = kda_options,
    .build = kda_build,
    .state_elements = hy_mixer_conv_heads_state,
    .check = hy_mixer_check_heads,
};
