/* lolcats.c - softmax attention in a window and linear attention before it, under one normaliser
 * (LoLCATs, arXiv 2410.10254):
 *   o_t = (sum_near gamma e^{l_s - max l} v_s + sum_far (phi(q_t)' phi(k_s)) v_s) / (the same of 1)
 * with l_s = q_t' k_s / sqrt(d_head), gamma learned per head, and the maps of hedgehog. */
#include "core/mixers/mixer.h"

static const struct hy_option lolcats_options[] = {
    HY_OPTIONS_WINDOW, HY_OPTIONS_FEATURES, HY_OPTIONS_HEADS, {0}};

const struct hy_variant hy_variant_lolcats = {
    .name = "lolcats",
    .summary = "softmax in a window and linear attention before it, under one normaliser",
    .options = lolcats_options,
    .components = 1,
    .build = hy_mixer_features,
    .state_elements = hy_mixer_features_state,
    .check = hy_mixer_check_features,
};
