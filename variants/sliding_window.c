/* sliding_window.c - softmax attention over the last `window` tokens (arXiv 2004.05150).
 *   o_t = sum_{t-w<s<=t} softmax_s(q_t' k_s / sqrt(d_head)) v_s */
#include "core/mixers/mixer.h"

static const struct hy_option sliding_window_options[] = {
    {"window", HY_OPT_INT, .def = 64, .min = 1, .max = 1 << 20,
     .help = "tokens that a query sees, its own included"},
    HY_OPTIONS_ATTENTION,
    HY_OPTION_OUTPUT_GATE,
    {0},
};

static struct hy_tensor *sliding_window_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const int window = (int)hy_get_int(m->options, "window");
    return hy_mixer_attention(m, x, window, hy_get_string_or(m->options, "gate", "none"));
}

static int64_t sliding_window_state(const struct hy_mixer *m, int64_t context)
{
    (void)context;
    return hy_mixer_attention_state(m, hy_get_int(m->options, "window"));
}

const struct hy_variant hy_variant_sliding_window = {
    .name = "sliding_window",
    .summary = "softmax attention over the last tokens: a cache of fixed size",
    .options = sliding_window_options,
    .build = sliding_window_build,
    .state_elements = sliding_window_state,
    .check = hy_mixer_check_attention,
};
