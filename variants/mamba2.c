/* mamba2.c - Mamba-2 (arXiv 2405.21060): a state-space layer with a scalar decay per head.
 *   S_t = exp(dt_t A_h) S_{t-1} + B_t (dt_t x_t)',  y_t = S_t' C_t + D_h x_t
 *   dt = softplus(. + dt_bias), A = -exp(A_log); x, B, C pass a short convolution and SiLU;
 *   heads share B and C in groups; o = norm(y * silu(z)); the block has no MLP */
#include "core/ops/rmsnorm.h"
#include "core/ops/skip.h"
#include "variants/variant.h"

static const struct hy_option mamba2_options[] = {
    {"expand", HY_OPT_INT, .def = 2, .min = 1, .max = 16,
     .help = "inner width as a multiple of d_model"},
    {"head_width", HY_OPT_INT, .def = 0, .min = 0, .max = 4096,
     .help = "width of a head; 0: the largest divisor of the inner width up to 64"},
    {"state_width", HY_OPT_INT, .def = 128, .min = 1, .max = 4096,
     .help = "rows of a head's state"},
    {"groups", HY_OPT_INT, .def = 1, .min = 1, .max = 4096,
     .help = "groups of heads that share B and C"},
    {"conv", HY_OPT_INT, .def = 4, .min = 1, .max = 16,
     .help = "tokens that the short convolution sees"},
    {"norm_eps", HY_OPT_REAL, .def = 1e-5, .min = 1e-12, .max = 0.1,
     .help = "epsilon of the output's RMSNorm"},
    {0},
};

static int inner_width(const struct hy_mixer *m)
{
    return (int)hy_get_int(m->options, "expand") * m->d_model;
}

static int head_width(const struct hy_mixer *m)
{
    const int given = (int)hy_get_int(m->options, "head_width");
    return given ? given : (int)hy_mixer_divisor(inner_width(m), 64);
}

static struct hy_scan heads_of(const struct hy_mixer *m)
{
    return (struct hy_scan){
        .heads = inner_width(m) / head_width(m),
        .key_width = (int)hy_get_int(m->options, "state_width"),
        .value_width = head_width(m),
        .scale = 1,
        .key_heads = (int)hy_get_int(m->options, "groups"),
    };
}

static int64_t conv_channels(const struct hy_mixer *m, const struct hy_scan *s)
{
    return inner_width(m) + 2 * (int64_t)s->key_heads * s->key_width;
}

static int mamba2_check(const struct hy_mixer *m, struct hy_err *e)
{
    const struct hy_scan s = heads_of(m);
    if (inner_width(m) % s.value_width)
        return hy_fail(e, HY_E_USAGE, "head_width %d does not divide the inner width %d; %lld does",
                       s.value_width, inner_width(m),
                       (long long)hy_mixer_divisor(inner_width(m), s.value_width));
    if (s.heads % s.key_heads)
        return hy_fail(e, HY_E_USAGE, "groups %d does not divide the %d heads; %lld does",
                       s.key_heads, s.heads, (long long)hy_mixer_divisor(s.heads, s.key_heads));
    return HY_OK;
}

static struct hy_tensor *mamba2_build(struct hy_mixer *m, struct hy_tensor *x)
{
    struct hy_graph *g = m->graph;
    const struct hy_scan s = heads_of(m);
    const int64_t inner = inner_width(m), shared = (int64_t)s.key_heads * s.key_width;
    const int64_t channels = conv_channels(m, &s), heads = s.heads;
    const struct hy_init zero = {.law = HY_INIT_CONSTANT};
    const struct hy_init one = {.law = HY_INIT_CONSTANT, .a = 1};
    struct hy_tensor *p[3], *xbc[3], *dt;
    hy_mixer_project_parts(m, x, 1, (struct hy_projection[]){{"in_proj", inner + channels + heads}},
                           3, (int64_t[]){inner, channels, heads}, p);
    struct hy_tensor *conv = hy_mixer_conv(
        m, p[1], 1, (struct hy_projection[]){{"conv1d", channels}}, hy_get_int(m->options, "conv"),
        hy_mixer_param(m, "conv1d.bias", 1, &channels, zero, 0));
    hy_graph_split(g, conv, 3, (int64_t[]){inner, shared, shared}, xbc);
    struct hy_tensor *decay = hy_mixer_decay(m, p[2], heads, 1, 16, &dt);
    struct hy_tensor *y =
        hy_mixer_gated_scan(m, xbc[2], xbc[1], hy_gated(g, xbc[0], dt, HY_GATE_PLAIN), decay, &s);
    y = hy_skip(g, y, xbc[0], hy_mixer_param(m, "D", 1, &heads, one, 0));
    y = hy_rmsnorm(g, hy_gated(g, y, p[0], HY_GATE_SILU),
                   hy_mixer_param(m, "norm.weight", 1, &inner, one, 0),
                   hy_get_real(m->options, "norm_eps"));
    return hy_mixer_linear(m, y, "out_proj", m->d_model);
}

static int64_t mamba2_state(const struct hy_mixer *m, int64_t context)
{
    const struct hy_scan s = heads_of(m);
    (void)context;
    return (int64_t)inner_width(m) * s.key_width +
           (hy_get_int(m->options, "conv") - 1) * conv_channels(m, &s);
}

const struct hy_variant hy_variant_mamba2 = {
    .name = "mamba2",
    .summary = "Mamba-2: a state-space layer with a decay and step per head, no MLP in its block",
    .options = mamba2_options,
    .no_mlp = 1,
    .build = mamba2_build,
    .state_elements = mamba2_state,
    .check = mamba2_check,
};
