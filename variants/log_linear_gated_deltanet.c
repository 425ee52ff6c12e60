/* log_linear_gated_deltanet.c - log-linear attention on the gated delta rule (arXiv 2506.04761).
 *   o_t = sum over levels l of lambda_tl (S_t^l)' q_t / sqrt(dk), lambda = softplus(L * dl_t)
 *   S^l: what of gated_deltanet's state the values of the tokens at level l have left; dl = l_proj
 *   x, L is [heads, levels] and starts at 1 */
#include "core/mixers/mixer.h"

static const struct hy_option log_linear_gated_deltanet_options[] = {
    HY_OPTIONS_GATED_DELTA,
    HY_OPTION_LEVELS,
    {0},
};

static struct hy_tensor *log_linear_gated_deltanet_build(struct hy_mixer *m, struct hy_tensor *x)
{
    return hy_mixer_gated_delta(m, x, hy_get_int(m->options, "levels"));
}

static int64_t log_linear_gated_deltanet_state(const struct hy_mixer *m, int64_t context)
{
    const int64_t more = hy_levels_of(context) - 1;
    return more * hy_mixer_heads_state(m, context) + hy_mixer_conv_heads_state(m, context);
}

const struct hy_variant hy_variant_log_linear_gated_deltanet = {
    .name = "log_linear_gated_deltanet",
    .summary =
        "gated delta rule with a state, and a weight per token, for each power of two of the "
        "past",
    .options = log_linear_gated_deltanet_options,
    .build = log_linear_gated_deltanet_build,
    .state_elements = log_linear_gated_deltanet_state,
    .check = hy_mixer_check_heads,
};
