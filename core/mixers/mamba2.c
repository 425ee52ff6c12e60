/* mixer_mamba2.c - the layer of Mamba-2 (arXiv 2405.21060), with one state or with one per level.
 */
#include "core/ops/rmsnorm.h"
#include "core/ops/skip.h"
#include "core/mixers/mixer.h"

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

int hy_mixer_check_mamba2(const struct hy_mixer *m, struct hy_err *e)
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

struct hy_tensor *hy_mixer_mamba2(struct hy_mixer *m, struct hy_tensor *x, int64_t levels)
{
    struct hy_graph *g = m->graph;
    const struct hy_scan s = heads_of(m);
    const int64_t inner = inner_width(m), shared = (int64_t)s.key_heads * s.key_width;
    const int64_t channels = conv_channels(m, &s), heads = s.heads;
    const struct hy_init zero = {.law = HY_INIT_CONSTANT};
    const struct hy_init one = {.law = HY_INIT_CONSTANT, .a = 1};
    struct hy_tensor *p[4] = {NULL}, *xbc[3], *dt;
    hy_mixer_project_parts(
        m, x, 1, (struct hy_projection[]){{"in_proj", inner + channels + heads * (1 + levels)}},
        levels ? 4 : 3, (int64_t[]){inner, channels, heads, heads * levels}, p);
    struct hy_tensor *conv = hy_mixer_conv(
        m, p[1], 1, (struct hy_projection[]){{"conv1d", channels}}, hy_get_int(m->options, "conv"),
        hy_mixer_param(m, "conv1d.bias", 1, &channels, zero, 0));
    hy_graph_split(g, conv, 3, (int64_t[]){inner, shared, shared}, xbc);
    struct hy_tensor *decay = hy_mixer_decay(m, p[2], heads, 1, 16, &dt);
    struct hy_tensor *input = hy_gated(g, xbc[0], dt, HY_GATE_PLAIN);
    struct hy_tensor *y = levels
                              ? hy_mixer_level_scan(m, xbc[2], xbc[1], input, decay, NULL, p[3], &s)
                              : hy_mixer_gated_scan(m, xbc[2], xbc[1], input, decay, &s);
    y = hy_skip(g, y, xbc[0], hy_mixer_param(m, "D", 1, &heads, one, 0));
    y = hy_rmsnorm(g, hy_gated(g, y, p[0], HY_GATE_SILU),
                   hy_mixer_param(m, "norm.weight", 1, &inner, one, 0),
                   hy_get_real(m->options, "norm_eps"));
    return hy_mixer_linear(m, y, "out_proj", m->d_model);
}

int64_t hy_mixer_mamba2_state(const struct hy_mixer *m)
{
    return (int64_t)inner_width(m) * heads_of(m).key_width;
}

int64_t hy_mixer_mamba2_conv_state(const struct hy_mixer *m)
{
    const struct hy_scan s = heads_of(m);
    return hy_mixer_conv_state(m, conv_channels(m, &s));
}
