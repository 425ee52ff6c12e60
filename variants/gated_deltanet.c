/* gated_deltanet.c - the gated delta rule (arXiv 2412.06464): decay, then correct what the key
 * recalls.
 *   S' = exp(g_t) S_{t-1},  S_t = S' + beta_t k_t (v_t - S'^T k_t)',  o_t = S_t' q_t / sqrt(dk)
 *   g = -exp(A_log) softplus(a x + dt_bias), beta = sigmoid(b x), both per head; q, k, v pass a
 *   short convolution and SiLU, q and k are l2-normalised */
#include "core/mixers/mixer.h"

static const struct hy_option gated_deltanet_options[] = {HY_OPTIONS_GATED_DELTA, {0}};

static struct hy_tensor *gated_deltanet_build(struct hy_mixer *m, struct hy_tensor *x)
{
    return hy_mixer_gated_delta(m, x, 0);
}

const struct hy_variant hy_variant_gated_deltanet = {
    .name = "gated_deltanet",
    .summary = "gated delta rule: decays, then overwrites what a key recalls",
    .options = gated_deltanet_options,
    .build = gated_deltanet_build,
    .state_elements = hy_mixer_conv_heads_state,
    .check = hy_mixer_check_heads,
};
