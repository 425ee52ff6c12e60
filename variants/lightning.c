/* lightning.c - lightning attention (arXiv 2401.04658): a fixed decay per head, longer in later
 * layers, no positions, otherwise as retention.
 *   S_t = exp(g_h) S_{t-1} + k_t v_t',  o_t = S_t' q_t / sqrt(dk)
 *   g_h = -(8/H) (1 - layer/layers) h for heads h = 0 .. H-1; q and k pass SiLU */
#include "core/ops/constant.h"
#include "core/ops/silu.h"
#include "core/mixers/mixer.h"

static const struct hy_option lightning_options[] = {HY_OPTIONS_WIDTHS(1, 2), {0}};

static double log_decay(int64_t head, double slope)
{
    return -slope * (double)head;
}

static struct hy_tensor *lightning_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t keys = s.heads * s.key_width, values = s.heads * s.value_width;
    const double slope = 8.0 / m->heads * (1 - (double)m->layer / m->layers);
    struct hy_tensor *p[4];
    hy_mixer_project(
        m, x, 4,
        (struct hy_projection[]){
            {"q_proj", keys}, {"k_proj", keys}, {"v_proj", values}, {"g_proj", values}},
        p);
    struct hy_tensor *decay = hy_constant(m->graph, 1, m->heads, log_decay, slope);
    struct hy_tensor *o = hy_mixer_gated_scan(m, hy_silu_of(m->graph, p[0]),
                                              hy_silu_of(m->graph, p[1]), p[2], decay, &s);
    o = hy_mixer_norm(m, o, "g_norm_swish_gate.weight", s.value_width, p[3], HY_GATE_SILU);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}

const struct hy_variant hy_variant_lightning = {
    .name = "lightning",
    .summary = "lightning attention: a fixed decay per head and layer, gated output",
    .options = lightning_options,
    .build = lightning_build,
    .state_elements = hy_mixer_heads_state,
    .check = hy_mixer_check_heads,
};
