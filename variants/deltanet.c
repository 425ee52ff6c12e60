/* deltanet.c - the delta rule (arXiv 2406.06484): correct what the key recalls.
 *   S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}' k_t)',  o_t = S_t' q_t / sqrt(dk)
 *   beta = sigmoid(b x) per head; q, k, v pass a short convolution and SiLU, q and k are
 *   l2-normalised */
#include "core/mixers/mixer.h"

static const struct hy_option deltanet_options[] = {
    HY_OPTIONS_WIDTHS(1, 1),
    HY_OPTIONS_DELTA,
    {0},
};

static struct hy_tensor *deltanet_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t keys = s.heads * s.key_width, values = s.heads * s.value_width;
    struct hy_tensor *p[2];
    hy_mixer_project_parts(
        m, x, 4,
        (struct hy_projection[]){
            {"q_proj", keys}, {"k_proj", keys}, {"v_proj", values}, {"b_proj", m->heads}},
        2, (int64_t[]){2 * keys + values, m->heads}, p);
    struct hy_tensor *o = hy_mixer_delta(m, p[0], p[1], NULL, NULL);
    o = hy_mixer_norm(m, o, "o_norm.weight", s.value_width, NULL, HY_GATE_PLAIN);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}

const struct hy_variant hy_variant_deltanet = {
    .name = "deltanet",
    .summary = "delta rule: overwrites what a key recalls",
    .options = deltanet_options,
    .build = deltanet_build,
    .state_elements = hy_mixer_conv_heads_state,
    .check = hy_mixer_check_heads,
};
