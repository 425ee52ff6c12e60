/* mixer_scan.c - what the variants with recurrent states have in common. */
#include <math.h>

#include "core/ops/decay_gate.h"
#include "core/ops/scan/delta_scan.h"
#include "core/ops/forget_gate.h"
#include "core/ops/l2norm.h"
#include "core/ops/lower_bound.h"
#include "core/ops/sigmoid.h"
#include "core/ops/softplus.h"
#include "core/mixers/mixer.h"

static double full_width(const struct hy_mixer *m, const char *key)
{
    return hy_get_real(m->options, key) * m->d_model;
}

static int check_width(const struct hy_mixer *m, const char *key, struct hy_err *e)
{
    const double width = full_width(m, key);
    if (width < m->heads || fmod(width, m->heads) != 0)
        return hy_fail(e, HY_E_USAGE, "%s %g times d_model %d is %g, not a multiple of heads %d",
                       key, hy_get_real(m->options, key), m->d_model, width, m->heads);
    return HY_OK;
}

int hy_mixer_check_heads(const struct hy_mixer *m, struct hy_err *e)
{
    const int rc = check_width(m, "expand_k", e);
    return rc ? rc : check_width(m, "expand_v", e);
}

struct hy_scan hy_mixer_heads(const struct hy_mixer *m)
{
    const int key_width = (int)full_width(m, "expand_k") / m->heads;
    return (struct hy_scan){
        .heads = m->heads,
        .key_width = key_width,
        .value_width = (int)full_width(m, "expand_v") / m->heads,
        .scale = 1 / sqrt((double)key_width),
    };
}

int64_t hy_mixer_heads_state(const struct hy_mixer *m, int64_t context)
{
    const struct hy_scan s = hy_mixer_heads(m);
    (void)context;
    return (int64_t)s.heads * s.key_width * s.value_width;
}

int64_t hy_mixer_conv_heads_state(const struct hy_mixer *m, int64_t context)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t channels = (int64_t)s.heads * (2 * s.key_width + s.value_width);
    return hy_mixer_heads_state(m, context) + hy_mixer_conv_state(m, channels);
}

static struct hy_tensor *matrix_state(struct hy_mixer *m, const struct hy_scan *s, int64_t levels)
{
    return hy_mixer_state(m, "state", levels * s->heads * s->key_width, s->value_width);
}

struct hy_tensor *hy_mixer_gated_scan(struct hy_mixer *m, struct hy_tensor *q, struct hy_tensor *k,
                                      struct hy_tensor *v, struct hy_tensor *decay,
                                      const struct hy_scan *s)
{
    struct hy_tensor *state = matrix_state(m, s, 1);
    return hy_gated_scan(m->graph, q, k, v, decay, s, state, state ? &state : NULL);
}

struct hy_tensor *hy_mixer_level_scan(struct hy_mixer *m, struct hy_tensor *q, struct hy_tensor *k,
                                      struct hy_tensor *v, struct hy_tensor *decay,
                                      struct hy_tensor *beta, struct hy_tensor *dl,
                                      const struct hy_scan *s)
{
    const int64_t dims[] = {s->heads, hy_get_int(m->options, "levels")};
    struct hy_tensor *weights =
        hy_mixer_param(m, "L", 2, dims, (struct hy_init){.law = HY_INIT_CONSTANT, .a = 1}, 0);
    return hy_level_scan(m->graph, q, k, v, decay, beta, hy_softplus_of(m->graph, dl, weights), s,
                         matrix_state(m, s, hy_levels_of(m->graph->shape.context)));
}

static double draw_log_uniform(struct hy_rng *rng, double least, double most)
{
    return log(least + (most - least) * hy_rng_uniform(rng));
}

/* The inverse softplus of dt, which is log-uniform. */
static double draw_dt_bias(struct hy_rng *rng, double least, double most)
{
    const double dt = least * exp(hy_rng_uniform(rng) * log(most / least));
    return dt + log(-expm1(-dt));
}

struct hy_tensor *hy_mixer_decay(struct hy_mixer *m, struct hy_tensor *x, int64_t heads,
                                 double least, double most, struct hy_tensor **dt)
{
    const struct hy_init rates = {HY_INIT_DRAW, least, most, draw_log_uniform};
    const struct hy_init steps = {HY_INIT_DRAW, 1e-3, 0.1, draw_dt_bias};
    struct hy_tensor *a_log = hy_mixer_param(m, "A_log", 1, &heads, rates, 0);
    struct hy_tensor *dt_bias = x ? hy_mixer_param(m, "dt_bias", 1, &x->cols, steps, 0) : NULL;
    return hy_decay_gate(m->graph, x, a_log, dt_bias, dt);
}

struct hy_tensor *hy_mixer_forget_gate(struct hy_mixer *m, struct hy_tensor *x,
                                       struct hy_tensor **input)
{
    struct hy_tensor *logits =
        hy_mixer_shared_param(m, "lower_bounds", 2, (int64_t[]){m->layers, m->d_model},
                              (struct hy_init){.law = HY_INIT_CONSTANT}, 0);
    /* The first layer's bound is 0. */
    struct hy_tensor *bound = m->layer ? hy_lower_bound(m->graph, logits, m->layer) : NULL;
    return hy_forget_gate(m->graph, x, bound, input);
}

struct hy_tensor *hy_mixer_delta(struct hy_mixer *m, struct hy_tensor *qkv, struct hy_tensor *b,
                                 struct hy_tensor *decay, struct hy_tensor *dl)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t keys = (int64_t)s.heads * s.key_width, values = (int64_t)s.heads * s.value_width;
    struct hy_tensor *kv[2], *qk[2];
    qkv = hy_mixer_conv_qkv(m, qkv, keys, keys, values);
    hy_graph_split(m->graph, qkv, 2, (int64_t[]){2 * keys, values}, kv);
    hy_graph_split(m->graph, hy_l2norm(m->graph, kv[0], 2 * m->heads, 1e-6), 2,
                   (int64_t[]){keys, keys}, qk);
    struct hy_tensor *beta =
        hy_sigmoid_of(m->graph, b, hy_get_bool(m->options, "negative_eigenvalues") ? 2 : 1);
    if (dl)
        return hy_mixer_level_scan(m, qk[0], qk[1], kv[1], decay, beta, dl, &s);
    struct hy_tensor *state = matrix_state(m, &s, 1);
    return hy_delta_scan(m->graph, qk[0], qk[1], kv[1], beta, decay, &s, state,
                         state ? &state : NULL);
}

struct hy_tensor *hy_mixer_gated_delta(struct hy_mixer *m, struct hy_tensor *x, int64_t levels)
{
    const struct hy_scan s = hy_mixer_heads(m);
    const int64_t keys = s.heads * s.key_width, values = s.heads * s.value_width;
    struct hy_tensor *p[5] = {NULL};
    hy_mixer_project_parts(
        m, x, levels ? 7 : 6,
        (struct hy_projection[]){{"q_proj", keys},
                                 {"k_proj", keys},
                                 {"v_proj", values},
                                 {"g_proj", values},
                                 {"b_proj", m->heads},
                                 {"a_proj", m->heads},
                                 {"l_proj", m->heads * levels}},
        levels ? 5 : 4,
        (int64_t[]){2 * keys + values, values, m->heads, m->heads, m->heads * levels}, p);
    struct hy_tensor *decay =
        hy_mixer_decay(m, p[3], m->heads, 0, hy_get_real(m->options, "a_max"), NULL);
    struct hy_tensor *o = hy_mixer_delta(m, p[0], p[2], decay, p[4]);
    o = hy_mixer_norm(m, o, "o_norm.weight", s.value_width, p[1], HY_GATE_SILU);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}
