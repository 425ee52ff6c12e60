/* hgrn.c - hierarchically gated recurrence (arXiv 2311.04823): a state of one vector.
 *   h_t = f_t h_{t-1} + (1 - f_t) silu(i_t),  o = norm(h) * silu(g)
 *   f = b + (1 - b) sigmoid(F x), b a bound per layer and channel that grows with depth */
#include "core/ops/scan/vector_scan.h"
#include "core/mixers/mixer.h"

static const struct hy_option hgrn_options[] = {{0}};

static struct hy_tensor *hgrn_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const int64_t d = m->d_model;
    struct hy_tensor *p[3], *input, *state = hy_mixer_state(m, "state", 1, d);
    hy_mixer_project(m, x, 3, (struct hy_projection[]){{"i_proj", d}, {"f_proj", d}, {"g_proj", d}},
                     p);
    struct hy_tensor *decay = hy_mixer_forget_gate(m, p[1], &input);
    struct hy_tensor *o = hy_vector_scan(m->graph, hy_gated(m->graph, input, p[0], HY_GATE_SILU),
                                         decay, state, state ? &state : NULL);
    o = hy_mixer_norm(m, o, "g_norm.weight", d, p[2], HY_GATE_SILU);
    return hy_mixer_linear(m, o, "o_proj", d);
}

static int64_t hgrn_state(const struct hy_mixer *m, int64_t context)
{
    (void)context;
    return m->d_model;
}

const struct hy_variant hy_variant_hgrn = {
    .name = "hgrn",
    .summary = "hierarchically gated recurrence: a state of one vector, longer memory in depth",
    .options = hgrn_options,
    .build = hgrn_build,
    .state_elements = hgrn_state,
};
