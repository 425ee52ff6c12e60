/* softmax.c - full causal attention (arXiv 1706.03762) with rotary positions (arXiv 2104.09864).
 *   o_t = sum_{s<=t} softmax_s(q_t' k_s / sqrt(d_head)) v_s */
#include "core/mixers/mixer.h"

static const struct hy_option softmax_options[] = {
    HY_OPTIONS_ATTENTION, HY_OPTION_OUTPUT_GATE, {0}};

static struct hy_tensor *softmax_build(struct hy_mixer *m, struct hy_tensor *x)
{
    return hy_mixer_attention(m, x, 0, hy_get_string_or(m->options, "gate", "none"));
}

const struct hy_variant hy_variant_softmax = {
    .name = "softmax",
    .summary = "full causal attention with rotary positions: a cache that grows with the context",
    .options = softmax_options,
    .full = 1,
    .build = softmax_build,
    .state_elements = hy_mixer_attention_state,
    .check = hy_mixer_check_attention,
};
