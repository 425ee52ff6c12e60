/* gated_softmax.c - full attention whose heads' outputs pass a gate (arXiv 2505.06708).
 *   o_t = sigmoid(g_t) * sum_{s<=t} softmax_s(q_t' k_s / sqrt(d_head)) v_s,  g = W x */
#include "core/mixers/mixer.h"

static const struct hy_option gated_softmax_options[] = {
    {"gate", HY_OPT_CHOICE, .text = "headwise", .choices = "headwise|elementwise",
     .help = "a gate for each head, or for each element of its output"},
    HY_OPTIONS_ATTENTION,
    {0},
};

static struct hy_tensor *gated_softmax_build(struct hy_mixer *m, struct hy_tensor *x)
{
    return hy_mixer_attention(m, x, 0, hy_get_string(m->options, "gate"));
}

const struct hy_variant hy_variant_gated_softmax = {
    .name = "gated_softmax",
    .summary = "full causal attention with a sigmoid gate on each head's output",
    .options = gated_softmax_options,
    .full = 1,
    .build = gated_softmax_build,
    .state_elements = hy_mixer_attention_state,
    .check = hy_mixer_check_attention,
};
