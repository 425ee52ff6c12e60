/* hgrn2.c - HGRN with its state expanded to a matrix (arXiv 2404.07904): GLA whose keys are what
 * the gate lets in.
 *   S_t = diag(f_t) S_{t-1} + (1 - f_t) i_t',  o_t = S_t' silu(q_t) / sqrt(dk)
 *   f = b + (1 - b) sigmoid(F x), b a bound per layer and channel that grows with depth */
#include <math.h>

#include "core/ops/silu.h"
#include "core/mixers/mixer.h"

static const struct hy_option hgrn2_options[] = {
    {"expand_ratio", HY_OPT_INT, .def = 0, .min = 0, .max = 4096,
     .help = "rows of a head's state, of which there are d_model/expand_ratio; 0: the largest "
             "divisor of d_model up to 128"},
    {0},
};

static int head_width(const struct hy_mixer *m)
{
    const int given = (int)hy_get_int(m->options, "expand_ratio");
    return given ? given : (int)hy_mixer_divisor(m->d_model, 128);
}

static int hgrn2_check(const struct hy_mixer *m, struct hy_err *e)
{
    const int width = head_width(m);
    if (m->d_model % width)
        return hy_fail(e, HY_E_USAGE, "expand_ratio %d does not divide d_model %d; %lld does",
                       width, m->d_model, (long long)hy_mixer_divisor(m->d_model, width));
    return HY_OK;
}

static struct hy_tensor *hgrn2_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const int64_t d = m->d_model;
    const int width = head_width(m);
    const struct hy_scan s = {
        .heads = m->d_model / width,
        .key_width = width,
        .value_width = width,
        .scale = 1 / sqrt((double)width),
    };
    struct hy_tensor *p[3], *k;
    hy_mixer_project(m, x, 3, (struct hy_projection[]){{"q_proj", d}, {"f_proj", d}, {"i_proj", d}},
                     p);
    struct hy_tensor *decay = hy_mixer_forget_gate(m, p[1], &k);
    struct hy_tensor *o = hy_mixer_gated_scan(m, hy_silu_of(m->graph, p[0]), k, p[2], decay, &s);
    o = hy_mixer_norm(m, o, "g_norm.weight", d, NULL, HY_GATE_PLAIN);
    return hy_mixer_linear(m, o, "o_proj", d);
}

static int64_t hgrn2_state(const struct hy_mixer *m, int64_t context)
{
    (void)context;
    return (int64_t)m->d_model * head_width(m);
}

const struct hy_variant hy_variant_hgrn2 = {
    .name = "hgrn2",
    .summary = "HGRN with matrix states: keys are what the forget gate lets in",
    .options = hgrn2_options,
    .build = hgrn2_build,
    .state_elements = hgrn2_state,
    .check = hgrn2_check,
};
