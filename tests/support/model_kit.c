#include "tests/support/model_kit.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

void kit_init(struct kit *k, const struct hy_variant *v, const char *options, const char *layout,
              int replicas)
{
    struct hy_err e = {0};
    struct hy_value *given = NULL;
    memset(k, 0, sizeof *k);
    if (options)
        assert_int_equal(hy_value_from_json(options, "options", &given, &e), HY_OK);
    assert_int_equal(hy_options_resolve(v->options, given, v->name, NULL, &k->options, &e), HY_OK);
    hy_value_free(given);
    struct hy_value *full = k->options;
    if (!v->full)
        assert_int_equal(
            hy_options_resolve(small_model_full(v)->options, NULL, "softmax", NULL, &full, &e),
            HY_OK);
    k->spec = small_model(v, layout, k->options, full);
    hy_slab_init(&k->params, replicas);
}

void kit_release(struct kit *k)
{
    const struct hy_value *full = k->spec.kinds[HY_FULL].branches[0].options;
    if (full != k->options)
        hy_value_free((struct hy_value *)full);
    hy_value_free(k->options);
    hy_adamw_release(&k->optimizer);
    hy_slab_release(&k->grads);
    hy_slab_release(&k->params);
}

struct hy_graph *kit_graph(struct kit *k, enum hy_mode mode, int batch, int tokens, int context,
                           struct hy_slab *cache, struct hy_model_ends *ends,
                           struct hy_tensor **weights, uint64_t seed)
{
    const struct hy_shape shape = {.replicas = k->params.replicas,
                                   .batch = batch,
                                   .tokens = tokens,
                                   .context = context,
                                   .mode = mode,
                                   .precision = k->precision};
    const int64_t rows = (int64_t)batch * tokens;
    const int train = mode == HY_TRAIN;
    struct hy_err e = {0};
    struct hy_graph *g = hy_graph_new(&shape, &k->params, train ? &k->grads : NULL, cache);
    assert_non_null(g);
    hy_model_build(&k->spec, g, train ? rows : 0, ends);
    if (train)
        *weights = hy_graph_input(g, "weights", HY_REAL, rows, 1);
    if (g->err.code)
        fail_msg("%s", g->err.text);
    if (!k->params.data) {
        assert_int_equal(hy_slab_allocate(&k->params, &e), HY_OK);
        for (int r = 0; r < shape.replicas; r++)
            assert_int_equal(hy_slab_draw(&k->params, r, seed + (uint64_t)r, &e), HY_OK);
    }
    if (train) {
        if (!k->grads.data) {
            assert_int_equal(hy_slab_like(&k->grads, &k->params, &e), HY_OK);
            assert_int_equal(hy_adamw_init(&k->optimizer, &k->params, &e), HY_OK);
            k->optimizer.beta1 = .9;
            k->optimizer.beta2 = .95;
            k->optimizer.eps = 1e-8;
        }
        assert_int_equal(hy_graph_backward(g, 1, &ends->nll, weights, &e), HY_OK);
    }
    if (cache && !cache->data)
        assert_int_equal(hy_slab_allocate(cache, &e), HY_OK);
    assert_int_equal(hy_graph_plan(g, &e), HY_OK);
    return g;
}

int32_t kit_token(uint64_t seed, int64_t i)
{
    struct hy_rng rng = hy_rng_start(seed, HY_RNG_CHECK, 0, (uint32_t)i);
    return (int32_t)hy_rng_below(&rng, SMALL_VOCAB);
}
