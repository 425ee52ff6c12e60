/* mixer_scan.c - what the variants with recurrent states have in common. */
#include <math.h>

#include "core/ops/decay_gate.h"
#include "core/ops/delta_scan.h"
#include "core/ops/forget_gate.h"
#include "core/ops/l2norm.h"
#include "core/ops/lower_bound.h"
#include "core/ops/sigmoid.h"
#include "variants/variant.h"

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

static struct hy_tensor *matrix_state(struct hy_mixer *m, const struct hy_scan *s)
{
    return hy_mixer_state(m, "state", (int64_t)s->heads * s->key_width, s->value_width);
}

struct hy_tensor *hy_mixer_gated_scan(struct hy_mixer *m, struct hy_tensor *q, struct hy_tensor *k,
                                      struct hy_tensor *v, struct hy_tensor *decay,
                                      const struct hy_scan *s)
{
    struct hy_tensor *state = matrix_state(m, s);
    return hy_gated_scan(m->graph, q, k, v, decay, s, state, state ? &state : NULL);
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
                                 struct hy_tensor *decay)
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
    struct hy_tensor *state = matrix_state(m, &s);
    return hy_delta_scan(m->graph, qk[0], qk[1], kv[1], beta, decay, &s, state,
                         state ? &state : NULL);
}
