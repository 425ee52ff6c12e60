/* log_linear_mamba2.c - log-linear attention on Mamba-2 (arXiv 2506.04761).
 *   y_t = sum over levels l of lambda_tl (S_t^l)' C_t + D x_t, lambda = softplus(L * dl_t)
 *   S^l: what mamba2's state would hold of the tokens at level l; dl is projected with the rest, L
 *   is [heads, levels] and starts at 1 */
#include "core/mixers/mixer.h"

static const struct hy_option log_linear_mamba2_options[] = {
    HY_OPTIONS_MAMBA2,
    HY_OPTION_LEVELS,
    {0},
};

static struct hy_tensor *log_linear_mamba2_build(struct hy_mixer *m, struct hy_tensor *x)
{
    return hy_mixer_mamba2(m, x, hy_get_int(m->options, "levels"));
}

static int64_t log_linear_mamba2_state(const struct hy_mixer *m, int64_t context)
{
    return hy_levels_of(context) * hy_mixer_mamba2_state(m) + hy_mixer_mamba2_conv_state(m);
}

const struct hy_variant hy_variant_log_linear_mamba2 = {
    .name = "log_linear_mamba2",
    .summary = "Mamba-2 with a state, and a weight per token, for each power of two of the past",
    .options = log_linear_mamba2_options,
    .no_mlp = 1,
    .build = log_linear_mamba2_build,
    .state_elements = log_linear_mamba2_state,
    .check = hy_mixer_check_mamba2,
};
