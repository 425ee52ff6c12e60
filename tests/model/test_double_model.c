/* Law: a whole model's gradient, parameter by parameter, equals finite differences of its loss. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/support/model_kit.h"

enum { BATCH = 2, TOKENS = 21 };

static double loss(struct hy_graph *g, const struct hy_model_ends *ends,
                   const struct hy_tensor *weights)
{
    double sum = 0;
    hy_graph_run(g, NULL);
    for (int i = 0; i < BATCH * TOKENS; i++)
        sum += hy_real_data(weights, 0)[i] * hy_real_data(ends->nll, 0)[i];
    return sum;
}

static void check_entry(const char *model, struct kit *k, struct hy_graph *g,
                        const struct hy_model_ends *ends, const struct hy_tensor *weights,
                        const struct hy_entry *entry)
{
    const double epsilon = 3e-6;
    hy_real *w = k->params.data + entry->offset;
    double slope = 0, values[4], *direction = malloc((size_t)entry->count * sizeof *direction);
    assert_non_null(direction);
    loss(g, ends, weights);
    struct hy_rng rng = hy_rng_start(3, HY_RNG_CHECK, 0, (uint32_t)entry->offset);
    for (int64_t i = 0; i < entry->count; i++) {
        direction[i] = hy_rng_normal(&rng);
        slope += direction[i] * k->grads.data[entry->offset + i];
    }
    /* Five-point differences: the error is of fourth order in epsilon. */
    static const int at[] = {-2, -1, 1, 2};
    for (int p = 0, before = 0; p < 4; before = at[p++]) {
        for (int64_t i = 0; i < entry->count; i++)
            w[i] += epsilon * (at[p] - before) * direction[i];
        values[p] = loss(g, ends, weights);
    }
    for (int64_t i = 0; i < entry->count; i++)
        w[i] -= 2 * epsilon * direction[i];
    free(direction);
    const double measured =
        (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * epsilon);
    const double scale = fmax(fabs(measured), 1e-3);
    if (!(fabs(measured - slope) <= 1e-6 * scale))
        fail_msg("%s: %s: the gradient says %.12g, differences say %.12g", model, entry->name,
                 slope, measured);
}

static void check_kit(const char *model, struct kit *k)
{
    struct hy_model_ends ends;
    struct hy_tensor *weights;
    struct hy_graph *g = kit_graph(k, HY_TRAIN, BATCH, TOKENS, 0, NULL, &ends, &weights, 11);
    int32_t *tokens = hy_data(ends.tokens, 0), *labels = hy_data(ends.labels, 0);
    for (int i = 0; i < BATCH * TOKENS; i++) {
        tokens[i] = kit_token(1, i);
        labels[i] = i % 3 ? kit_token(2, i) : -100;
        hy_real_data(weights, 0)[i] = i % 3 ? 0.01 * (1 + i % 7) : 0;
    }
    for (int i = 0; i < k->params.entry_count; i++)
        check_entry(model, k, g, &ends, weights, &k->params.entries[i]);
    hy_graph_free(g);
    kit_release(k);
}

static void check_model(const struct hy_variant *v, const char *layout, int readout)
{
    struct kit k;
    kit_init(&k, v, NULL, layout, 1);
    k.spec.readout = readout;
    check_kit(v->name, &k);
}

static void test_gradients_equal_differences(void **state)
{
    (void)state;
    for (int i = 0; hy_variants[i]; i++) {
        check_model(hy_variants[i], "LL", 0);
        check_model(hy_variants[i], "LF", 0);
    }
    check_model(hy_variant_find("gla"), "LF", 1);
    for (const char *const *sweep = kit_sweeps(); *sweep; sweep++) {
        struct kit k;
        kit_init_sweep(&k, *sweep, 1);
        check_kit(*sweep, &k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients_equal_differences)};
    return cmocka_run_group_tests_name("gradients of whole models", tests, NULL, NULL);
}
