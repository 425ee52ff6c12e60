/* Layers with both mixers and a gate between them: where gates are 0 or 1, from the start or
 * because they are cold, a model computes and learns the bits of the model that has the one mixer
 * alone. With shared projections it computes its bits, and learns what it learns but for rounding:
 * what flows back through projections that a mixer alone has in one matrix is then a sum of two
 * products. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/model/snapshot.h"
#include "core/model/trainer.h"
#include "core/selection/names.h"
#include "tests/support/model_kit.h"

enum { BATCH = 2, TOKENS = 24, LAYERS = 3, STEPS = 4 };
#define LOGITS (BATCH * TOKENS * SMALL_VOCAB)

/* A plain model and the one of both mixers that has its weights. */
struct pair {
    struct kit plain;
    struct hy_model_spec both;
    struct hy_gating gating;
};

/* layout: the plain model's; returns 0 where the mixers' blocks differ. */
static int pair_init(struct pair *p, const struct hy_variant *v, const char *options,
                     const char *layout, int shares)
{
    kit_init(&p->plain, v, options, layout, 1);
    const struct hy_kind *linear = &p->plain.spec.kinds[HY_LINEAR];
    const struct hy_kind *full = &p->plain.spec.kinds[HY_FULL];
    struct hy_kind k = {.name = "either",
                        .letter = '?',
                        .has_mlp = linear->has_mlp,
                        .combine = HY_COMBINE_SELECT,
                        .shares = shares};
    hy_kind_add_branch(&k, linear->branches[0].variant, linear->branches[0].options);
    hy_kind_add_branch(&k, full->branches[0].variant, full->branches[0].options);
    const struct hy_mixer layer = hy_model_mixer(&p->plain.spec, 0, NULL);
    struct hy_err e;
    p->both = p->plain.spec;
    p->both.kinds[p->both.kind_count] = k;
    memset(p->both.layout.kinds, p->both.kind_count++, LAYERS);
    p->both.gating = &p->gating;
    return linear->has_mlp == full->has_mlp && !hy_kind_check(&k, &layer, &e);
}

/* The gate that the plain model's layer stands for. */
static int is_open(const struct pair *p, int layer)
{
    return p->plain.spec.layout.kinds[layer] == HY_LINEAR;
}

/* A mixer's parameters come from the plain model where the layer has that mixer alone. */
static int plain_name(void *context, const char *parameter, char out[HY_NAME_SIZE])
{
    const struct pair *p = context;
    const int layer = hy_mixer_layer(parameter);
    char other[HY_NAME_SIZE];
    hy_plain_name(parameter, out);
    if (layer < 0 || !strcmp(out, parameter))
        return 1;
    return hy_branch_name(out, hy_model_kind(&p->plain.spec, layer)->branches[0].name, other) &&
           !strcmp(other, parameter);
}

static void trainer_init(struct hy_trainer *t, const struct hy_model_spec *spec)
{
    static const struct hy_shape shape = {
        .replicas = 1, .batch = BATCH, .tokens = TOKENS, .mode = HY_TRAIN};
    const struct hy_trainer_plan plan = {
        .spec = spec, .shape = &shape, .max_labels = (int64_t)BATCH * TOKENS};
    struct hy_err e;
    if (hy_trainer_init(t, &plan, &e))
        fail_msg("%s", e.text);
    t->optimizer.beta1 = .9;
    t->optimizer.beta2 = .95;
    t->optimizer.eps = 1e-8;
}

static double step(struct hy_trainer *t, int64_t n, double clip)
{
    const struct hy_update u = {.lr = 1e-2, .weight_decay = 0.1, .clip = clip};
    struct hy_err e;
    int steps;
    int32_t *tokens = hy_input(t->ends.tokens, 0), *labels = hy_input(t->ends.labels, 0);
    hy_real *weights = hy_input(t->weights, 0);
    for (int i = 0; i < BATCH * TOKENS; i++) {
        tokens[i] = kit_token(1 + (uint64_t)n, i);
        labels[i] = kit_token(1 + (uint64_t)n, i + 1);
        weights[i] = 1.f / (BATCH * TOKENS);
    }
    hy_trainer_step(t, n, &u);
    assert_int_equal(hy_trainer_collect(t, &steps, &e), HY_OK);
    return t->outcomes[0].loss;
}

/* How the gates of the model of both mixers are fed. */
static void feed(const struct pair *p, struct hy_trainer *t)
{
    struct hy_gates *gates = &t->ends.gates;
    hy_real *row = hy_input(gates->given ? gates->given : gates->noise, 0);
    for (int i = 0; i < LAYERS; i++) {
        row[i] = (hy_real)is_open(p, i);
        if (!gates->given) /* beyond any logit of these tests */
            row[i] = row[i] > 0 ? 50 : -50;
    }
    if (!gates->given)
        *(hy_real *)hy_input(gates->temperature, 0) = 1e-2f;
}

/* The weights that the plain model has too. */
static void compare(const struct pair *p, const struct hy_trainer *plain,
                    const struct hy_trainer *both, const char *what)
{
    int compared = 0;
    for (int i = 0; i < both->params.entry_count; i++) {
        const struct hy_entry *entry = &both->params.entries[i];
        char name[HY_NAME_SIZE];
        if (!plain_name((void *)p, entry->name, name))
            continue;
        const int at = hy_slab_find(&plain->params, name);
        if (at < 0)
            continue;
        if (memcmp(both->params.data + entry->offset,
                   plain->params.data + plain->params.entries[at].offset,
                   (size_t)entry->count * sizeof(hy_real)))
            fail_msg("%s: %s differs", what, entry->name);
        compared++;
    }
    assert_int_equal(compared, plain->params.entry_count);
}

static void learns_what_the_plain_model_learns(struct pair *p, enum hy_gating_mode mode,
                                               const char *what)
{
    const int shares = p->both.kinds[p->both.kind_count - 1].shares;
    struct hy_trainer plain, both;
    struct hy_snapshot weights = {0};
    struct hy_err e;
    p->gating = (struct hy_gating){mode, 1};
    trainer_init(&plain, &p->plain.spec);
    trainer_init(&both, &p->both);
    assert_int_equal(hy_slab_draw(&plain.params, 0, 7, &e), HY_OK);
    assert_int_equal(hy_slab_draw(&both.params, 0, 8, &e), HY_OK);
    assert_int_equal(hy_snapshot_take(&weights, &plain.params, 0, &e), HY_OK);
    assert_int_equal(hy_snapshot_give(&weights, plain_name, p, &both.params, 0, &e), HY_OK);
    compare(p, &plain, &both, what);
    for (int n = 1; n <= STEPS; n++) {
        /* Clipping is by the norm of all gradients, whose sum has another order here. */
        const double loss = step(&plain, n, 0);
        feed(p, &both);
        const double other = step(&both, n, 0);
        if (fabs(loss - other) > (shares && n > 1 ? 1e-5 * loss : 0))
            fail_msg("%s: loss %.9g at step %d, alone %.9g", what, other, n, loss);
    }
    if (!shares)
        compare(p, &plain, &both, what);
    hy_snapshot_release(&weights);
    hy_trainer_release(&both);
    hy_trainer_release(&plain);
}

static void gates_of_0_and_1_give_the_pure_models(void **state)
{
    (void)state;
    static const char *const layouts[] = {"LLL", "FFF", "LFL"};
    int shared = 0, alone = 0;
    for (int i = 0; hy_variants[i]; i++)
        for (int l = 0; l < 3 && !hy_variants[i]->full; l++)
            for (int shares = 0; shares <= 1; shares++) {
                char what[128];
                struct pair p;
                const int fits = pair_init(&p, hy_variants[i], NULL, layouts[l], shares);
                snprintf(what, sizeof what, "%s %s%s", hy_variants[i]->name, layouts[l],
                         shares ? ", shared" : "");
                if (fits)
                    learns_what_the_plain_model_learns(&p, HY_GATING_GIVEN, what);
                *(shares ? &shared : &alone) += fits;
                kit_release(&p.plain);
            }
    assert_true(shared >= 6 && alone >= 24);
}

static void cold_gates_are_the_branch_that_they_choose(void **state)
{
    (void)state;
    static const enum hy_gating_mode modes[] = {HY_GATING_HARD, HY_GATING_SOFT};
    for (int m = 0; m < 2; m++) {
        struct pair p;
        assert_true(
            pair_init(&p, hy_variant_find("gla"), "{\"expand_k\": 1, \"expand_v\": 1}", "LFL", 0));
        learns_what_the_plain_model_learns(&p, modes[m], m ? "soft" : "hard");
        kit_release(&p.plain);
    }
}

/* While twins are aligned the stream is that of the full branches, whatever the linear ones do. */
static void twins_stand_beside_the_stream(void **state)
{
    (void)state;
    struct pair p;
    assert_true(
        pair_init(&p, hy_variant_find("gla"), "{\"expand_k\": 1, \"expand_v\": 1}", "FFF", 0));
    struct hy_trainer plain, both;
    struct hy_snapshot weights = {0};
    struct hy_err e;
    p.gating = (struct hy_gating){HY_GATING_TWINS, 1};
    trainer_init(&plain, &p.plain.spec);
    trainer_init(&both, &p.both);
    assert_int_equal(hy_slab_draw(&plain.params, 0, 7, &e), HY_OK);
    assert_int_equal(hy_slab_draw(&both.params, 0, 8, &e), HY_OK);
    assert_int_equal(hy_snapshot_take(&weights, &plain.params, 0, &e), HY_OK);
    assert_int_equal(hy_snapshot_give(&weights, plain_name, &p, &both.params, 0, &e), HY_OK);
    assert_true(step(&plain, 1, 0) == step(&both, 1, 0));
    compare(&p, &plain, &both, "twins");
    hy_snapshot_release(&weights);
    hy_trainer_release(&both);
    hy_trainer_release(&plain);
    kit_release(&p.plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gates_of_0_and_1_give_the_pure_models),
        cmocka_unit_test(cold_gates_are_the_branch_that_they_choose),
        cmocka_unit_test(twins_stand_beside_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
