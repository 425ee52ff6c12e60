/* hedgehog.c - normalised linear attention over feature maps (Hedgehog, arXiv 2402.04347):
 *   o_t = sum_{s<=t} (phi(q_t)' phi(k_s)) v_s / sum_{s<=t} phi(q_t)' phi(k_s)
 * with phi(x) = [softmax(x W), softmax(-x W)], W learned per head; or another map. */
#include "core/mixers/mixer.h"

static const struct hy_option hedgehog_options[] = {HY_OPTIONS_FEATURES, HY_OPTIONS_HEADS, {0}};

const struct hy_variant hy_variant_hedgehog = {
    .name = "hedgehog",
    .summary = "normalised linear attention over learned feature maps of queries and keys",
    .options = hedgehog_options,
    .components = 1,
    .build = hy_mixer_features,
    .state_elements = hy_mixer_features_state,
    .check = hy_mixer_check_features,
};
