#include "tests/support/model_kit.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "runner/plan/sweep.h"

enum { MOST_SWEEPS = 64, PATH_SIZE = 4096 };

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

void kit_init_sweep(struct kit *k, const char *path, int replicas)
{
    static const char *const sizes[] = {
        "model.d_model=32",      "model.heads=2",
        "model.mlp=24",          "train.seq_len=40",
        "eval.contexts=[40,64]", "data.train=[{task: mqar, vocab: 64, pairs: [4], examples: 8}]"};
    char full[PATH_SIZE];
    struct hy_sweep sweep;
    struct hy_err e = {0};
    memset(k, 0, sizeof *k);
    snprintf(full, sizeof full, "%s/%s", getenv("HYLAS_SOURCE"), path);
    k->config = calloc(1, sizeof *k->config);
    assert_non_null(k->config);
    if (hy_sweep_load(full, sizes, sizeof sizes / sizeof *sizes, &sweep, &e) ||
        hy_config_resolve(sweep.cells[0], k->config, &e))
        fail_msg("%s", e.text);
    hy_sweep_release(&sweep);
    k->spec = hy_config_model(k->config, SMALL_VOCAB);
    k->spec.init_std = .2;
    hy_slab_init(&k->params, replicas);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

const char *const *kit_sweeps(void)
{
    static char paths[MOST_SWEEPS][PATH_SIZE];
    static const char *list[MOST_SWEEPS + 1];
    int count = 0;
    if (list[0])
        return list;
    snprintf(paths[count++], PATH_SIZE, "tests/support/gated.yaml");
    char folder[PATH_SIZE];
    snprintf(folder, sizeof folder, "%s/sweeps/hybrids", getenv("HYLAS_SOURCE"));
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) && count < MOST_SWEEPS;)
        if (strstr(entry->d_name, ".yaml"))
            snprintf(paths[count++], PATH_SIZE, "sweeps/hybrids/%s", entry->d_name);
    closedir(entries);
    assert_true(count > 10); /* the folder was found */
    qsort(paths, (size_t)count, sizeof *paths, by_name);
#ifdef __SANITIZE_ADDRESS__
    const int step = 6; /* each takes ten times as long: a few of them */
#else
    const int step = 1;
#endif
    for (int i = count - 1, n = 0; i >= 0; i -= step)
        list[n++] = paths[i];
    return list;
}

void kit_release(struct kit *k)
{
    if (k->config) {
        hy_config_release(k->config);
        free(k->config);
        hy_adamw_release(&k->optimizer);
        hy_slab_release(&k->grads);
        hy_slab_release(&k->params);
        return;
    }
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
            assert_int_equal(hy_adamw_init(&k->optimizer, &k->params, &k->grads, &e), HY_OK);
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
