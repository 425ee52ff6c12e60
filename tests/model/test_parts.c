/* Laws of mixers of a window and a linear part: what their components are of each other, and what
 * training with some of them is. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/model/trainer.h"
#include "tests/support/model_kit.h"

enum { BATCH = 2, TOKENS = 50, STEPS = 5, WINDOW = 9 };
#define LOGITS (BATCH * TOKENS * SMALL_VOCAB)

/* Weights depend on the parameters' names and the seed alone, so that models share what has one
 * name in both. */
static float *logits_of(const char *variant, const char *options, enum hy_component component)
{
    struct kit k;
    struct hy_model_ends ends;
    float *out = malloc(LOGITS * sizeof *out);
    assert_non_null(out);
    kit_init(&k, hy_variant_find(variant), options, "LL", 1);
    k.spec.component = component;
    struct hy_graph *g = kit_graph(&k, HY_EVAL, BATCH, TOKENS, 0, NULL, &ends, NULL, 3);
    int32_t *tokens = hy_input(ends.tokens, 0);
    for (int i = 0; i < BATCH * TOKENS; i++)
        tokens[i] = kit_token(5, i);
    hy_graph_run(g, NULL);
    memcpy(out, hy_data(ends.logits, 0), LOGITS * sizeof *out);
    hy_graph_free(g);
    kit_release(&k);
    return out;
}

static double largest_difference(const float *a, const float *b)
{
    double worst = 0;
    for (int i = 0; i < LOGITS; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

static void check_equal(const char *one, const char *options, enum hy_component component,
                        const char *other, const char *other_options,
                        enum hy_component other_component, double tolerance)
{
    float *a = logits_of(one, options, component);
    float *b = logits_of(other, other_options, other_component);
    const double worst = largest_difference(a, b);
    if (!(worst <= tolerance))
        fail_msg("%s %s and %s %s differ by %g", one, options, other, other_options, worst);
    free(b);
    free(a);
}

static void a_window_as_long_as_the_sequence_is_softmax(void **state)
{
    (void)state;
    static const char *const options[] = {
        "{\"window\": 50, \"gamma\": 1}",
        "{\"window\": 50}",
        "{\"window\": 64, \"affine\": true}",
        "{\"window\": 50, \"window_kind\": \"terraced\"}",
        "{\"window\": 25, \"window_kind\": \"terraced\", \"gamma\": 1}",
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        check_equal("lolcats", options[i], HY_COMPONENT_FULL, "softmax", "{}", HY_COMPONENT_FULL,
                    2e-5);
}

static void the_window_alone_is_a_sliding_window(void **state)
{
    (void)state;
    check_equal("lolcats", "{\"window\": 9}", HY_COMPONENT_WINDOW, "sliding_window",
                "{\"window\": 9}", HY_COMPONENT_FULL, 0);
}

static void without_its_window_it_is_the_linear_part(void **state)
{
    (void)state;
    static const char *const maps[] = {"", ", \"map\": \"exp\"",
                                       ", \"map\": \"elu1\", \"learned\": false",
                                       ", \"map\": \"relu\", \"bias\": true, \"features\": 12"};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        char joint[128], alone[128];
        snprintf(joint, sizeof joint, "{\"window\": 9%s}", maps[i]);
        snprintf(alone, sizeof alone, "{\"kv_heads\": 0%s}", maps[i]);
        check_equal("lolcats", joint, HY_COMPONENT_DROPPED, "hedgehog", alone, HY_COMPONENT_FULL,
                    0);
        check_equal("lolcats", joint, HY_COMPONENT_NONE, "hedgehog", alone, HY_COMPONENT_NONE, 0);
        check_equal("lolcats", joint, HY_COMPONENT_SINKS, "hedgehog", alone, HY_COMPONENT_SINKS, 0);
    }
}

/* The heads' outputs of one layer, and the share of what lies outside the window. */
static void heads_of(const char *options, enum hy_component component, float *o, float *far)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = BATCH, .tokens = TOKENS, .mode = HY_EVAL};
    struct kit k;
    struct hy_model_ends ends;
    struct hy_err e;
    kit_init(&k, hy_variant_find("lolcats"), options, "L", 1);
    k.spec.component = component;
    struct hy_graph *g = hy_graph_new(&shape, &k.params, NULL, NULL);
    assert_non_null(g);
    hy_model_build(&k.spec, g, 0, &ends);
    const struct hy_heads *inside = &ends.inside[0];
    hy_graph_keep(inside->o);
    if (inside->far)
        hy_graph_keep(inside->far);
    assert_int_equal(hy_slab_allocate(&k.params, &e), HY_OK);
    assert_int_equal(hy_slab_draw(&k.params, 0, 3, &e), HY_OK);
    if (hy_graph_plan(g, &e))
        fail_msg("%s", e.text);
    int32_t *tokens = hy_input(ends.tokens, 0);
    for (int i = 0; i < BATCH * TOKENS; i++)
        tokens[i] = kit_token(5, i);
    hy_graph_run(g, NULL);
    assert_int_equal(hy_graph_read(inside->o, 0, o, &e), HY_OK);
    if (inside->far && far)
        assert_int_equal(hy_graph_read(inside->far, 0, far, &e), HY_OK);
    hy_graph_free(g);
    kit_release(&k);
}

/* y = (1 - far) window + far linear, head by head. */
static void components_add_up(void **state)
{
    (void)state;
    static const char *const options[] = {
        "{\"window\": 9, \"gamma\": 0.5}",
        "{\"window\": 9, \"affine\": true, \"kv_heads\": 1}",
        "{\"window\": 8, \"window_kind\": \"terraced\"}",
        "{\"window\": 1, \"map\": \"elu1\"}",
    };
    enum { ROWS = BATCH * TOKENS, WIDTH = 32, HEADS = 2 };
    static const enum hy_component pairs[][2] = {{HY_COMPONENT_FULL, HY_COMPONENT_LINEAR},
                                                 {HY_COMPONENT_OVERLAP, HY_COMPONENT_DROPPED}};
    static float whole[ROWS * WIDTH], window[ROWS * WIDTH], linear[ROWS * WIDTH], far[ROWS * HEADS];
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        for (int p = 0; p < 2; p++) {
            double reached = 0;
            heads_of(options[i], pairs[p][0], whole, far);
            heads_of(options[i], HY_COMPONENT_WINDOW, window, NULL);
            heads_of(options[i], pairs[p][1], linear, NULL);
            for (int k = 0; k < ROWS * WIDTH; k++) {
                const float share = far[k / WIDTH * HEADS + k % WIDTH / (WIDTH / HEADS)];
                const float sum = (1 - share) * window[k] + share * linear[k];
                assert_true(fabsf(sum - whole[k]) <= 1e-5f);
                reached = fmax(reached, (double)share);
            }
            assert_true(reached > .05); /* the linear part takes part */
        }
}

/* ---- Training ---- */

static void trainer_init(struct hy_trainer *t, struct kit *k, const struct hy_stage *stage,
                         const struct hy_model_spec *teacher)
{
    static const struct hy_shape shape = {
        .replicas = 1, .batch = BATCH, .tokens = TOKENS, .mode = HY_TRAIN};
    const struct hy_trainer_plan plan = {.spec = &k->spec,
                                         .shape = &shape,
                                         .max_labels = (int64_t)BATCH * TOKENS,
                                         .stage = stage,
                                         .teacher = teacher};
    struct hy_err e;
    if (hy_trainer_init(t, &plan, &e))
        fail_msg("%s", e.text);
    t->optimizer.beta1 = .9;
    t->optimizer.beta2 = .95;
    t->optimizer.eps = 1e-8;
    assert_int_equal(hy_slab_draw(&t->params, 0, 3, &e), HY_OK);
}

static double step(struct hy_trainer *t, int64_t n, int dropped)
{
    const struct hy_update u = {.lr = 1e-2, .weight_decay = 0.1, .clip = 1};
    struct hy_err e;
    int steps;
    int32_t *tokens = hy_input(t->ends.tokens, 0);
    for (int i = 0; i < BATCH * TOKENS; i++)
        tokens[i] = kit_token(1 + (uint64_t)n, i);
    if (t->ends.labels) {
        int32_t *labels = hy_input(t->ends.labels, 0);
        hy_real *weights = hy_input(t->weights, 0);
        for (int i = 0; i < BATCH * TOKENS; i++) {
            labels[i] = kit_token(1 + (uint64_t)n, i + 1);
            weights[i] = 1.f / (BATCH * TOKENS);
        }
    }
    if (t->ends.dropped)
        for (int i = 0; i < t->ends.dropped->cols; i++)
            ((hy_real *)hy_input(t->ends.dropped, 0))[i] = (hy_real)dropped;
    hy_trainer_step(t, n, &u);
    assert_int_equal(hy_trainer_collect(t, &steps, &e), HY_OK);
    return t->outcomes[0].loss;
}

/* Trains lolcats by two stages; all steps and the final weights have the same bits. */
static void check_same_training(const struct hy_stage *a, const struct hy_stage *b, int dropped)
{
    struct hy_trainer one, other;
    struct kit k, l;
    kit_init(&k, hy_variant_find("lolcats"), "{\"window\": 9}", "LL", 1);
    kit_init(&l, hy_variant_find("lolcats"), "{\"window\": 9}", "LL", 1);
    trainer_init(&one, &k, a, NULL);
    trainer_init(&other, &l, b, NULL);
    for (int n = 1; n <= STEPS; n++)
        assert_true(step(&one, n, dropped) == step(&other, n, dropped));
    for (int i = 0; i < one.params.entry_count; i++) {
        const struct hy_entry *p = &one.params.entries[i];
        const int at = hy_slab_find(&other.params, p->name);
        assert_true(at >= 0);
        assert_memory_equal(one.params.data + p->offset,
                            other.params.data + other.params.entries[at].offset,
                            (size_t)p->count * sizeof(hy_real));
    }
    hy_trainer_release(&other);
    hy_trainer_release(&one);
    kit_release(&l);
    kit_release(&k);
}

static const struct hy_stage plain = {.objective_count = 1,
                                      .objectives = {{&hy_objective_lm, NULL, 1}}};

static void windows_that_are_never_dropped_change_nothing(void **state)
{
    (void)state;
    struct hy_stage rate_zero = plain;
    rate_zero.dropout_count = 1;
    check_same_training(&plain, &rate_zero, 0);
}

static void windows_that_are_always_dropped_are_not_there(void **state)
{
    (void)state;
    struct hy_stage always = plain, dropped = plain;
    always.dropout_count = 1;
    dropped.component = HY_COMPONENT_DROPPED;
    check_same_training(&always, &dropped, 1);
}

static void rates_hold_for_equal_parts(void **state)
{
    (void)state;
    const struct hy_stage s = {.steps = 10, .window_dropout = {.9, .5, .25}, .dropout_count = 3};
    static const double wanted[] = {.9, .9, .9, .9, .5, .5, .5, .25, .25, .25};
    for (int i = 0; i < 10; i++)
        assert_true(hy_stage_dropout(&s, i) == wanted[i]);
}

/* Transfer trains maps towards the teacher; what its loss does not depend on is not run. */
static void transfer_learns_and_runs_nothing_else(void **state)
{
    (void)state;
    const struct hy_objective *attention = hy_objective_find("attention");
    struct hy_value *trains = hy_value_list();
    struct hy_err e;
    assert_int_equal(hy_value_append(trains, hy_value_string("feature_map"), &e), HY_OK);
    struct hy_stage transfer = {.objective_count = 1,
                                .objectives = {{attention, NULL, 1}},
                                .trains = trains,
                                .component = HY_COMPONENT_DROPPED};
    struct kit student, teacher;
    struct hy_trainer t;
    kit_init(&student, hy_variant_find("lolcats"), "{\"window\": 9}", "LL", 1);
    kit_init(&teacher, hy_variant_find("softmax"), "{}", "LL", 1);
    teacher.spec.prefix = HY_TEACHER_PREFIX;
    trainer_init(&t, &student, &transfer, &teacher.spec);
    double first = 0, last = 0;
    for (int n = 1; n <= 30; n++) {
        last = step(&t, n, 0);
        first = n == 1 ? last : first;
    }
    assert_true(last < first);
    for (int i = 0; i < t.optimizer.m.entry_count; i++)
        assert_non_null(strstr(t.optimizer.m.entries[i].name, "feature_map"));
    int gates = 0;
    for (int i = 0; i < t.graph->op_count; i++)
        gates += !strcmp(t.graph->ops[i]->kind->name, "gate") && !t.graph->ops[i]->replaced;
    assert_int_equal(gates, 1); /* of the teacher's first MLP: its second feeds no mixer */
    hy_trainer_release(&t);
    kit_release(&teacher);
    kit_release(&student);
    hy_value_free(trains);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_as_long_as_the_sequence_is_softmax),
        cmocka_unit_test(the_window_alone_is_a_sliding_window),
        cmocka_unit_test(without_its_window_it_is_the_linear_part),
        cmocka_unit_test(components_add_up),
        cmocka_unit_test(windows_that_are_never_dropped_change_nothing),
        cmocka_unit_test(windows_that_are_always_dropped_are_not_there),
        cmocka_unit_test(rates_hold_for_equal_parts),
        cmocka_unit_test(transfer_learns_and_runs_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
