/* mamba2.c - Mamba-2 (arXiv 2405.21060): a state-space layer with a scalar decay per head.
 *   S_t = exp(dt_t A_h) S_{t-1} + B_t (dt_t x_t)',  y_t = S_t' C_t + D_h x_t
 *   dt = softplus(. + dt_bias), A = -exp(A_log); x, B, C pass a short convolution and SiLU;
 *   heads share B and C in groups; o = norm(y * silu(z)); the block has no MLP */
#include "core/mixers/mixer.h"

static const struct hy_option mamba2_options[] = {HY_OPTIONS_MAMBA2, {0}};

static struct hy_tensor *mamba2_build(struct hy_mixer *m, struct hy_tensor *x)
{
    return hy_mixer_mamba2(m, x, 0);
}

static int64_t mamba2_state(const struct hy_mixer *m, int64_t context)
{
    (void)context;
    return hy_mixer_mamba2_state(m) + hy_mixer_mamba2_conv_state(m);
}

const struct hy_variant hy_variant_mamba2 = {
    .name = "mamba2",
    .summary = "Mamba-2: a state-space layer with a decay and step per head, no MLP in its block",
    .options = mamba2_options,
    .no_mlp = 1,
    .build = mamba2_build,
    .state_elements = mamba2_state,
    .check = hy_mixer_check_mamba2,
};
