/* Laws that hold for every variant and for every composition: each test loops over the registry,
 * pure and mixed with softmax, and over the models of sweeps/hybrids. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/ops/products/gemm.h"
#include "tests/support/model_kit.h"

enum { TOKENS = 150, BATCH = 2, CONTEXT = 160 }; /* TOKENS: two chunks and a ragged third */

struct subject {
    const struct hy_variant *variant; /* NULL: the model is that of a sweep file */
    const char *options;              /* JSON, NULL: the defaults */
    const char *layout;               /* or the sweep file */
    enum hy_precision precision;
};

/* Options that take other paths than the defaults do. */
static const struct {
    const char *variant, *options;
} others[] = {
    {"deltanet", "{\"conv\": 1, \"expand_v\": 0.5, \"negative_eigenvalues\": true}"},
    {"gated_softmax", "{\"gate\": \"elementwise\", \"kv_heads\": 1}"},
    {"gla", "{\"conv\": 3}"},
    {"hedgehog", "{\"map\": \"elu1\", \"learned\": false, \"kv_heads\": 1}"},
    {"hgrn2", "{\"expand_ratio\": 8}"},
    {"log_linear_gated_deltanet", "{\"conv\": 1, \"negative_eigenvalues\": true, \"levels\": 10}"},
    {"log_linear_mamba2", "{\"head_width\": 8, \"groups\": 2, \"state_width\": 5, \"levels\": 10}"},
    {"lolcats", "{\"window\": 9, \"affine\": true, \"kv_heads\": 1, \"conv\": 3}"},
    {"lolcats", "{\"window\": 16, \"window_kind\": \"terraced\", \"map\": \"exp\"}"},
    {"lolcats", "{\"window\": 1, \"gamma\": 1, \"features\": 12}"},
    {"mamba2", "{\"head_width\": 8, \"groups\": 2, \"state_width\": 5, \"conv\": 3}"},
    {"retnet", "{\"conv\": 1, \"rope_base\": 0}"},
    {"sliding_window", "{\"window\": 7, \"rope_base\": 0}"},
    {"softmax", "{\"conv\": 4, \"kv_heads\": 1}"},
    {"sliding_window", "{\"window\": 1000, \"kv_heads\": 1, \"qk_norm\": true}"},
};

/* Calls law() for every variant, alone and mixed with full layers. */
static void for_all(void (*law)(const struct subject *))
{
    for (int i = 0; hy_variants[i]; i++) {
        law(&(struct subject){hy_variants[i], NULL, "LL", HY_PRECISION_FLOAT32});
        law(&(struct subject){hy_variants[i], NULL, "LF", HY_PRECISION_FLOAT32});
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        law(&(struct subject){hy_variant_find(others[i].variant), others[i].options, "LL",
                              HY_PRECISION_FLOAT32});
    for (const char *const *sweep = kit_sweeps(); *sweep; sweep++)
        law(&(struct subject){NULL, NULL, *sweep, HY_PRECISION_FLOAT32});
}

/* Likewise in bf16, where this machine has it. */
static void for_all_bf16(void (*law)(const struct subject *))
{
    struct hy_err e;
    if (hy_gemm_check(HY_PRECISION_BF16, &e))
        skip();
    for (int i = 0; hy_variants[i]; i++)
        law(&(struct subject){hy_variants[i], NULL, "LF", HY_PRECISION_BF16});
}

static void for_all_bf16_and_sweeps(void (*law)(const struct subject *))
{
    for_all_bf16(law);
    for (const char *const *sweep = kit_sweeps(); *sweep; sweep++)
        law(&(struct subject){NULL, NULL, *sweep, HY_PRECISION_BF16});
}

static const char *name_of(const struct subject *s)
{
    return s->variant ? s->variant->name : "sweep";
}

static void open_kit(struct kit *k, const struct subject *s, int replicas)
{
    if (s->variant)
        kit_init(k, s->variant, s->options, s->layout, replicas);
    else
        kit_init_sweep(k, s->layout, replicas);
    k->precision = s->precision;
}

static void fill_tokens(struct hy_graph *g, struct hy_tensor *t, uint64_t seed, int first)
{
    for (int r = 0; r < g->shape.replicas; r++) {
        int32_t *data = hy_data(t, r);
        for (int b = 0; b < g->shape.batch; b++)
            for (int i = 0; i < g->shape.tokens; i++)
                data[b * g->shape.tokens + i] =
                    kit_token(seed + (uint64_t)r, (int64_t)b * 100000 + first + i);
    }
}

/* Logits of the whole sequence by the parallel form, [BATCH, TOKENS, SMALL_VOCAB]; the caller
 * frees.
 */
static float *parallel_logits(struct kit *k)
{
    struct hy_model_ends ends;
    struct hy_graph *g = kit_graph(k, HY_EVAL, BATCH, TOKENS, 0, NULL, &ends, NULL, 7);
    const size_t bytes = sizeof(float) * BATCH * TOKENS * SMALL_VOCAB;
    float *out = malloc(bytes);
    assert_non_null(out);
    fill_tokens(g, ends.tokens, 7, 0);
    hy_graph_run(g, NULL);
    memcpy(out, hy_data(ends.logits, 0), bytes);
    hy_graph_free(g);
    return out;
}

static void check_close(const float *a, const float *b, int64_t count, double tolerance,
                        const struct subject *s, const char *law)
{
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    if (!(worst <= tolerance))
        fail_msg("%s %s %s %s: %s differs by %g", name_of(s), s->options ? s->options : "",
                 s->layout, hy_precision_name(s->precision), law, worst);
}

static void sees_no_future(const struct subject *s)
{
    const int cut = 70;
    struct kit k;
    struct hy_model_ends ends;
    open_kit(&k, s, 1);
    float *before = parallel_logits(&k);
    struct hy_graph *g = kit_graph(&k, HY_EVAL, BATCH, TOKENS, 0, NULL, &ends, NULL, 7);
    fill_tokens(g, ends.tokens, 7, 0);
    int32_t *tokens = hy_data(ends.tokens, 0);
    for (int b = 0; b < BATCH; b++)
        for (int t = cut; t < TOKENS; t++)
            tokens[b * TOKENS + t] = (tokens[b * TOKENS + t] + 1 + t % 5) % SMALL_VOCAB;
    hy_graph_run(g, NULL);
    const float *after = hy_data(ends.logits, 0);
    for (int b = 0; b < BATCH; b++) {
        const int64_t at = (int64_t)b * TOKENS * SMALL_VOCAB;
        check_close(before + at, after + at, (int64_t)cut * SMALL_VOCAB, 0, s,
                    "the past of a changed token");
        /* The change is seen from its own position on: else the test would prove nothing. */
        assert_true(fabsf(before[at + cut * SMALL_VOCAB] - after[at + cut * SMALL_VOCAB]) > 1e-4f);
    }
    hy_graph_free(g);
    free(before);
    kit_release(&k);
}

/* Runs cached graphs over pieces of the sequence and compares with the parallel form. */
static void continues(const struct subject *s, const int *pieces, const char *law)
{
    struct kit k;
    open_kit(&k, s, 1);
    float *whole = parallel_logits(&k);
    const double tolerance = 1e-4 * k.spec.layers; /* differences add up */
    struct hy_slab cache;
    hy_slab_init(&cache, 1);
    struct hy_graph *g = NULL;
    struct hy_model_ends ends;
    for (int at = 0, i = 0; at < TOKENS; at += g->shape.tokens) {
        const int n = pieces[i] ? pieces[i++] : pieces[i - 1];
        if (!g || g->shape.tokens != n) {
            hy_graph_free(g);
            g = kit_graph(&k, HY_CACHED, BATCH, n, CONTEXT, &cache, &ends, NULL, 7);
        }
        fill_tokens(g, ends.tokens, 7, at);
        g->position = at;
        hy_graph_run(g, NULL);
        const float *logits = hy_data(ends.logits, 0);
        for (int b = 0; b < BATCH; b++)
            check_close(logits + (int64_t)b * n * SMALL_VOCAB,
                        whole + ((int64_t)b * TOKENS + at) * SMALL_VOCAB, (int64_t)n * SMALL_VOCAB,
                        tolerance, s, law);
    }
    hy_graph_free(g);
    hy_slab_release(&cache);
    free(whole);
    kit_release(&k);
}

static void cut_in_two(const struct subject *s)
{
    continues(s, (const int[]){83, TOKENS - 83, 0}, "a sequence cut in two");
}

static void decodes(const struct subject *s)
{
    continues(s, (const int[]){1, 0}, "decoding token by token");
}

static void prefills_and_decodes(const struct subject *s)
{
    continues(s, (const int[]){130, 1, 0}, "decoding after a prefill");
}

static void declares_its_cache(const struct subject *s)
{
    for (int context = 1; context <= 300; context += 299) {
        struct kit k;
        struct hy_slab cache;
        struct hy_model_ends ends;
        open_kit(&k, s, 1);
        hy_slab_init(&cache, 1);
        hy_graph_free(kit_graph(&k, HY_CACHED, BATCH, 1, context, &cache, &ends, NULL, 7));
        assert_int_equal(cache.count, BATCH * hy_model_state_elements(&k.spec, context));
        hy_slab_release(&cache);
        kit_release(&k);
    }
}

/* Trains `steps` steps with a rate per replica; the first replica is number `first` of the gang. */
static void train(struct kit *k, int first, int steps)
{
    struct hy_model_ends ends;
    struct hy_tensor *weights;
    const int tokens = 40;
    struct hy_graph *g =
        kit_graph(k, HY_TRAIN, BATCH, tokens, 0, NULL, &ends, &weights, 100 + (uint64_t)first);
    for (int step = 1; step <= steps; step++) {
        fill_tokens(g, ends.tokens, 31 * (uint64_t)step + (uint64_t)first, 0);
        fill_tokens(g, ends.labels, 31 * (uint64_t)step + (uint64_t)first, 1);
        for (int r = 0; r < g->shape.replicas; r++)
            for (int i = 0; i < BATCH * tokens; i++)
                hy_real_data(weights, r)[i] = 1.0f / (BATCH * tokens);
        hy_graph_run(g, NULL);
        for (int r = 0; r < g->shape.replicas; r++)
            hy_adamw_step(&k->optimizer, &k->params, &k->grads, r, step, 1e-3 * (1 + first + r), .1,
                          1, hy_adamw_norm(&k->optimizer, &k->grads, r));
    }
    hy_graph_free(g);
}

static void gang_equals_solo(const struct subject *s)
{
    enum { GANG = 3, STEPS = 3 };
    struct kit gang;
    open_kit(&gang, s, GANG);
    train(&gang, 0, STEPS);
    for (int r = 0; r < GANG; r++) {
        struct kit solo;
        open_kit(&solo, s, 1);
        train(&solo, r, STEPS);
        assert_memory_equal(solo.params.data, gang.params.data + r * gang.params.count,
                            (size_t)solo.params.count * sizeof(hy_real));
        kit_release(&solo);
    }
    kit_release(&gang);
}

enum { LEARNING_STEPS = 60 };

/* The losses of training on one batch. */
static void learn(const struct subject *s, double losses[LEARNING_STEPS])
{
    struct kit k;
    struct hy_model_ends ends;
    struct hy_tensor *weights;
    const int tokens = 40;
    open_kit(&k, s, 1);
    struct hy_graph *g = kit_graph(&k, HY_TRAIN, BATCH, tokens, 0, NULL, &ends, &weights, 5);
    for (int step = 0; step < LEARNING_STEPS; step++) {
        fill_tokens(g, ends.tokens, 5, 0);
        fill_tokens(g, ends.labels, 5, 1);
        losses[step] = 0;
        for (int i = 0; i < BATCH * tokens; i++)
            hy_real_data(weights, 0)[i] = 1.0f / (BATCH * tokens);
        hy_graph_run(g, NULL);
        for (int i = 0; i < BATCH * tokens; i++)
            losses[step] += (double)hy_real_data(ends.nll, 0)[i] / (BATCH * tokens);
        hy_adamw_step(&k.optimizer, &k.params, &k.grads, 0, step + 1, 3e-3, 0, 1,
                      hy_adamw_norm(&k.optimizer, &k.grads, 0));
    }
    hy_graph_free(g);
    kit_release(&k);
}

static void learns(const struct subject *s)
{
    double losses[LEARNING_STEPS];
    learn(s, losses);
    if (!(losses[LEARNING_STEPS - 1] < .5 * losses[0]))
        fail_msg("%s %s %s: the loss on one batch went from %g to %g only", name_of(s),
                 s->options ? s->options : "", s->layout, losses[0], losses[LEARNING_STEPS - 1]);
}

static struct subject in_float32(const struct subject *s)
{
    struct subject other = *s;
    other.precision = HY_PRECISION_FLOAT32;
    return other;
}

/* The bound is three times the largest deviation of any variant. */
static void learns_like_float32(const struct subject *s)
{
    const struct subject exact = in_float32(s);
    double losses[LEARNING_STEPS], wanted[LEARNING_STEPS], worst = 0;
    learn(s, losses);
    learn(&exact, wanted);
    for (int i = 0; i < LEARNING_STEPS; i++)
        worst = fmax(worst, isnan(losses[i]) ? INFINITY : fabs(losses[i] - wanted[i]));
    if (!(worst < .22))
        fail_msg("%s %s: losses in bf16 and float32 differ by %g", name_of(s), s->layout, worst);
}

/* In the l2 norm: single elements can move more where a norm enlarges small numbers. The bound is
 * three times the largest deviation of any variant. Cached graphs compute in float32, so this is
 * also what decoding differs from a bf16 model's evaluation by. */
static void computes_like_float32(const struct subject *s)
{
    const struct subject exact = in_float32(s);
    struct kit k;
    double apart = 0, size = 0;
    open_kit(&k, s, 1);
    float *logits = parallel_logits(&k);
    kit_release(&k);
    open_kit(&k, &exact, 1);
    float *wanted = parallel_logits(&k);
    kit_release(&k);
    for (int i = 0; i < BATCH * TOKENS * SMALL_VOCAB; i++) {
        apart += pow((double)logits[i] - (double)wanted[i], 2);
        size += pow((double)wanted[i], 2);
    }
    if (!(sqrt(apart / size) < .12))
        fail_msg("%s %s: logits in bf16 and float32 differ by %g", name_of(s), s->layout,
                 sqrt(apart / size));
    free(wanted);
    free(logits);
}

#define LAW(name)                         \
    static void test_##name(void **state) \
    {                                     \
        (void)state;                      \
        for_all(name);                    \
    }
#define BF16_LAW(name, for_subjects)           \
    static void test_bf16_##name(void **state) \
    {                                          \
        (void)state;                           \
        for_subjects(name);                    \
    }
LAW(sees_no_future)
LAW(cut_in_two)
LAW(decodes)
LAW(prefills_and_decodes)
LAW(declares_its_cache)
LAW(gang_equals_solo)
LAW(learns)
BF16_LAW(sees_no_future, for_all_bf16_and_sweeps)
BF16_LAW(computes_like_float32, for_all_bf16)
BF16_LAW(gang_equals_solo, for_all_bf16_and_sweeps)
BF16_LAW(learns_like_float32, for_all_bf16)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sees_no_future),
        cmocka_unit_test(test_cut_in_two),
        cmocka_unit_test(test_decodes),
        cmocka_unit_test(test_prefills_and_decodes),
        cmocka_unit_test(test_declares_its_cache),
        cmocka_unit_test(test_gang_equals_solo),
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_bf16_sees_no_future),
        cmocka_unit_test(test_bf16_computes_like_float32),
        cmocka_unit_test(test_bf16_gang_equals_solo),
        cmocka_unit_test(test_bf16_learns_like_float32),
    };
    return cmocka_run_group_tests_name("laws of the variants", tests, NULL, NULL);
}
