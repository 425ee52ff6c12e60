/* attention_build.c - the builders of attention, for attention.c. */
#include <string.h>

#include "core/ops/support/attention.h"
#include "core/ops/support/build.h"

/* Is there attention of this kind? */
static int exists(struct hy_graph *g, const struct hy_attention *s, int cached)
{
    if (s->heads < 1 || s->kv_heads < 1 || s->heads % s->kv_heads || s->window < 0) {
        hy_graph_fail(g, "attention: %d heads, %d key heads, window %d", s->heads, s->kv_heads,
                      s->window);
        return 0;
    }
    if (s->first < 0 || (s->first && (s->window || cached)) || (s->terraced && !s->window)) {
        hy_graph_fail(g, "attention: window %d%s, the first %d tokens alone%s", s->window,
                      s->terraced ? ", terraced" : "", s->first, cached ? ", a cache" : "");
        return 0;
    }
    return 1;
}

/* Do q, k, v and the caches have the shapes that s implies? */
static int fits(struct hy_graph *g, struct hy_tensor *const in[5], const struct hy_attention *s)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t keys = (int64_t)s->kv_heads * s->key_width;
    const int64_t values = (int64_t)s->kv_heads * s->value_width;
    const int64_t kept = g->shape.batch * hy_window_kept(s, &g->shape);
    return hy_has_shape(g, "attention", "q", in[0], rows, (int64_t)s->heads * s->key_width) &&
           hy_has_shape(g, "attention", "k", in[1], rows, keys) &&
           hy_has_shape(g, "attention", "v", in[2], rows, values) &&
           (!in[3] || (hy_has_shape(g, "attention", "the cache of keys", in[3], kept, keys) &&
                       hy_has_shape(g, "attention", "the cache of values", in[4], kept, values)));
}

/* Records the op with the first so many of its outputs; out: those, or NULLs. */
static void record(struct hy_graph *g, struct hy_tensor *const in[5], const struct hy_attention *s,
                   int outputs, struct hy_tensor **out)
{
    const struct hy_tensor *q = in[0];
    struct hy_tensor *made[HY_ATTENTION_EXCESS + 1] = {0};
    memset(out, 0, (size_t)outputs * sizeof *out);
    if (!q || !in[1] || !in[2] || !in[3] != !in[4] || !exists(g, s, in[3] != NULL) ||
        !fits(g, in, s))
        return;
    for (int i = 0; i < outputs; i++) {
        const int64_t width = i == HY_ATTENTION_O ? s->value_width : 1;
        made[i] = hy_graph_tensor(g, q->rows, s->heads * width);
        if (!made[i])
            return;
    }
    if (hy_graph_op(g, &hy_op_attention, 5, in, outputs, made, s, sizeof *s))
        memcpy(out, made, (size_t)outputs * sizeof *out);
}

struct hy_tensor *hy_attention_lse(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                   struct hy_tensor *v, const struct hy_attention *s,
                                   struct hy_tensor *cache_k, struct hy_tensor *cache_v,
                                   struct hy_tensor **lse)
{
    struct hy_tensor *out[2];
    record(g, (struct hy_tensor *[]){q, k, v, cache_k, cache_v}, s, 2, out);
    *lse = out[HY_ATTENTION_LSE];
    return out[HY_ATTENTION_O];
}

struct hy_tensor *hy_attention_excess(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                      struct hy_tensor *v, const struct hy_attention *s,
                                      struct hy_tensor *cache_k, struct hy_tensor *cache_v,
                                      struct hy_tensor **excess)
{
    struct hy_tensor *out[3];
    record(g, (struct hy_tensor *[]){q, k, v, cache_k, cache_v}, s, 3, out);
    if (out[HY_ATTENTION_LSE])
        out[HY_ATTENTION_LSE]->differentiable = 0; /* for backward alone */
    *excess = out[HY_ATTENTION_EXCESS];
    return out[HY_ATTENTION_O];
}

struct hy_tensor *hy_attention(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                               struct hy_tensor *v, const struct hy_attention *s,
                               struct hy_tensor *cache_k, struct hy_tensor *cache_v)
{
    struct hy_tensor *lse, *o = hy_attention_lse(g, q, k, v, s, cache_k, cache_v, &lse);
    if (lse)
        lse->differentiable = 0; /* for backward alone */
    return o;
}
