/* features.c - what the variants of attention over feature maps have in common: normalised linear
 * attention, alone and in one normaliser with softmax terms in a window. */
#include <math.h>
#include <string.h>

#include "core/mixers/mixer.h"
#include "core/ops/constant.h"
#include "core/ops/features/delayed.h"
#include "core/ops/features/feature_map.h"
#include "core/ops/features/joint.h"
#include "core/ops/features/linear_attention.h"

/* What the options say. */
struct form {
    struct hy_feature_map map; /* of queries; that of keys differs in in_heads and heads */
    int learned, has_bias;
    int kv_heads;
    int window, terraced; /* window 0: none */
    int affine;
    double gamma;
};

static enum hy_map map_of(const char *name)
{
    return !strcmp(name, "softmax") ? HY_MAP_SOFTMAX
           : !strcmp(name, "exp")   ? HY_MAP_EXP
           : !strcmp(name, "relu")  ? HY_MAP_RELU
                                    : HY_MAP_ELU1;
}

static struct form form_of(const struct hy_mixer *m)
{
    const struct hy_value *o = m->options;
    const int width = m->d_model / m->heads, given = (int)hy_get_int(o, "features");
    struct form f = {
        .learned = hy_get_bool(o, "learned"),
        .has_bias = hy_get_bool(o, "bias"),
        .kv_heads = hy_mixer_kv_heads(m),
        .window = hy_value_get(o, "window") ? (int)hy_get_int(o, "window") : 0,
        .terraced = !strcmp(hy_get_string_or(o, "window_kind", "sliding"), "terraced"),
        .affine = hy_get_bool_or(o, "affine", 0),
        .gamma = hy_get_real_or(o, "gamma", 1),
        .map = {.map = map_of(hy_get_string(o, "map")),
                .heads = m->heads,
                .in_heads = m->heads,
                .width = width},
    };
    const int both = f.map.map == HY_MAP_SOFTMAX || f.map.map == HY_MAP_EXP;
    f.map.columns = !f.learned ? width : given ? given : both ? (width + 1) / 2 : width;
    return f;
}

/* Tokens that the ring of keys and values holds. */
static int64_t kept(const struct form *f)
{
    return f->terraced ? 2 * (int64_t)f->window : f->window;
}

/* States of sums side by side: a terraced window's linear terms wait for the end of a block. */
static int64_t sums(const struct form *f)
{
    return f->terraced ? 2 : 1;
}

int hy_mixer_check_features(const struct hy_mixer *m, struct hy_err *e)
{
    const int rc = hy_mixer_check_attention(m, e);
    if (rc)
        return rc;
    if (!hy_get_bool(m->options, "learned") &&
        (hy_get_int(m->options, "features") || hy_get_bool(m->options, "bias")))
        return hy_fail(e, HY_E_USAGE,
                       "a map that is not learned has as many features as a head is wide, and no "
                       "bias: leave out features and bias, or set learned: true");
    return HY_OK;
}

int64_t hy_mixer_features_state(const struct hy_mixer *m, int64_t context)
{
    const struct form f = form_of(m);
    const int64_t width = f.map.width, keys = f.kv_heads * width;
    (void)context;
    return 2 * kept(&f) * keys + sums(&f) * m->heads * hy_feature_map_width(&f.map) * (width + 1) +
           hy_mixer_conv_state(m, m->d_model + 2 * keys);
}

/* What is learned; all of it belongs to the model, whatever the component. */
struct learned {
    struct hy_tensor *wq, *bq, *wk, *bk; /* NULL: not learned */
    struct hy_tensor *factor;            /* of the window, in front of the sigmoid; NULL: 1 */
};

static struct hy_tensor *matrix(struct hy_mixer *m, const struct form *f, const char *name)
{
    const int64_t dims[] = {m->heads, f->map.width, f->map.columns};
    return f->learned
               ? hy_mixer_param(m, name, 3, dims, (struct hy_init){.law = HY_INIT_IDENTITY}, 1)
               : NULL;
}

static struct hy_tensor *bias(struct hy_mixer *m, const struct form *f, const char *name)
{
    const int64_t dims[] = {m->heads, f->map.columns};
    return f->has_bias
               ? hy_mixer_param(m, name, 2, dims, (struct hy_init){.law = HY_INIT_CONSTANT}, 0)
               : NULL;
}

static struct learned learned_of(struct hy_mixer *m, const struct form *f)
{
    const int64_t heads = m->heads;
    const struct hy_init start = {.law = HY_INIT_CONSTANT, .a = log(f->gamma / (1 - f->gamma))};
    return (struct learned){
        .wq = matrix(m, f, "feature_map_q.weight"),
        .bq = bias(m, f, "feature_map_q.bias"),
        .wk = matrix(m, f, "feature_map_k.weight"),
        .bk = bias(m, f, "feature_map_k.bias"),
        .factor = f->window && f->gamma < 1
                      ? hy_mixer_param(m, "window_factor", 1, &heads, start, 0)
                      : NULL,
    };
}

/* A learned map belongs to a query head, so that keys of several query heads are mapped for each
 * of them. */
static struct hy_tensor *map(struct hy_mixer *m, const struct form *f, struct hy_tensor *x,
                             int in_heads, struct hy_tensor *w, struct hy_tensor *b)
{
    struct hy_feature_map s = f->map;
    s.in_heads = in_heads;
    s.heads = w ? m->heads : in_heads;
    return hy_feature_map(m->graph, x, w, b, &s);
}

static double zero(int64_t k, double unused)
{
    (void)k, (void)unused;
    return 0;
}

/* The caches of one layer; all NULL outside cached graphs. */
struct caches {
    struct hy_tensor *k, *v, *sums;
};

static struct caches caches_of(struct hy_mixer *m, const struct form *f)
{
    const int64_t keys = (int64_t)f->kv_heads * f->map.width;
    struct caches c = {0};
    if (f->window) {
        c.k = hy_mixer_state(m, "keys", kept(f), keys);
        c.v = hy_mixer_state(m, "values", kept(f), keys);
    }
    c.sums = hy_mixer_state(m, "sums", sums(f) * m->heads * hy_feature_map_width(&f->map),
                            f->map.width + 1);
    return c;
}

/* The linear terms' sums. In a cached graph features are made of what leaves the window. */
static struct hy_tensor *add_far(struct hy_mixer *m, const struct form *f, const struct hy_qkv *in,
                                 const struct learned *l, const struct caches *c, int lag,
                                 struct hy_heads *inside, struct hy_tensor **d)
{
    struct hy_tensor *k = in->k, *v = in->v, *ht = c->sums;
    if (c->sums && lag) {
        k = hy_delayed(m->graph, k, c->k, lag);
        v = hy_delayed(m->graph, v, c->v, lag);
    }
    inside->f = map(m, f, in->q, m->heads, l->wq, l->bq);
    inside->g = map(m, f, k, f->kv_heads, l->wk, l->bk);
    inside->features = (int)hy_feature_map_width(&f->map);
    inside->feature_heads = f->learned ? m->heads : f->kv_heads;
    const struct hy_linear_attention s = {
        .heads = m->heads,
        .key_heads = inside->feature_heads,
        .value_heads = f->kv_heads,
        .features = inside->features,
        .value_width = f->map.width,
        .lag = lag,
        .terraced = lag && f->terraced,
    };
    const struct hy_linear_attention_in sums_in = {
        .f = inside->f, .g = inside->g, .v = v, .dropped = m->dropped, .h0 = c->sums};
    return hy_linear_attention(m->graph, &sums_in, &s, d, c->sums ? &ht : NULL);
}

/* The heads' outputs: both sorts of terms, as far as the component has them. */
static struct hy_tensor *join(struct hy_mixer *m, const struct form *f, struct hy_qkv *in,
                              const struct learned *l, struct hy_heads *inside)
{
    const enum hy_component c = m->component;
    const int far = c != HY_COMPONENT_WINDOW,
              near = f->window && c != HY_COMPONENT_LINEAR && c != HY_COMPONENT_DROPPED;
    const int lag = c == HY_COMPONENT_FULL || c == HY_COMPONENT_LINEAR ? f->window : 0;
    const struct caches caches = caches_of(m, f);
    struct hy_joint_in terms = {.dropped = near ? m->dropped : NULL};
    const struct hy_joint shape = {m->heads, f->map.width, f->affine};
    in->shape.window = f->window;
    in->shape.terraced = f->terraced;
    if (far)
        terms.n = add_far(m, f, in, l, &caches, lag, inside, &terms.d);
    if (near)
        terms.w = hy_attention_excess(m->graph, in->q, in->k, in->v, &in->shape, caches.k, caches.v,
                                      &terms.x);
    if (!far)
        return terms.w;
    terms.factor = near ? l->factor : NULL;
    return hy_joint(m->graph, &terms, &shape,
                    near && m->graph->shape.mode == HY_EVAL ? &inside->far : NULL);
}

static struct hy_tensor *heads_of(struct hy_mixer *m, const struct form *f, struct hy_qkv *in,
                                  const struct learned *l, struct hy_heads *inside)
{
    const enum hy_component c = m->component;
    if (c == HY_COMPONENT_NONE || (c == HY_COMPONENT_WINDOW && !f->window))
        return hy_constant(m->graph, in->q ? in->q->rows : 1, m->d_model, zero, 0);
    if (c != HY_COMPONENT_SINKS)
        return join(m, f, in, l, inside);
    in->shape.first = HY_SINKS;
    return hy_attention(m->graph, in->q, in->k, in->v, &in->shape, NULL, NULL);
}

struct hy_tensor *hy_mixer_features(struct hy_mixer *m, struct hy_tensor *x)
{
    const struct form f = form_of(m);
    struct hy_qkv in = hy_mixer_qkv(m, x, 0);
    const struct learned l = learned_of(m, &f);
    struct hy_heads inside = {
        .heads = m->heads,
        .kv_heads = f.kv_heads,
        .width = f.map.width,
        .scale = in.shape.scale,
        .window = m->component == HY_COMPONENT_DROPPED ? 0 : f.window,
        .terraced = f.terraced,
        .affine = f.affine,
        .factor = l.factor,
        .q = in.q,
        .k = in.k,
    };
    inside.o = heads_of(m, &f, &in, &l, &inside);
    if (m->inside)
        *m->inside = inside;
    return hy_mixer_linear(m, inside.o, "o_proj", m->d_model);
}
