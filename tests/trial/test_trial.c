/* Laws of a trial: it repeats bit for bit, an interruption changes nothing, divergence is a result.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/ops/products/gemm.h"
#include "core/trial/engine.h"
#include "core/trial/trial.h"
#include "tests/support/config.h"
#include "tests/support/model_kit.h"
#include "tests/support/record.h"

enum { STEPS = 24 };

static char folder[64], corpus[96], checkpoint[96];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "trial_XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(corpus, sizeof corpus, "%s/corpus.txt", folder);
    snprintf(checkpoint, sizeof checkpoint, "%s/run.safetensors", folder);
    FILE *file = fopen(corpus, "w");
    if (!file)
        return 1;
    for (int i = 0; i < 600; i++)
        fprintf(file, "line %d says %d and %d\n", i, i * i % 97, i * 7 % 31);
    return fclose(file);
}

static int teardown(void **state)
{
    (void)state;
    unlink(checkpoint);
    unlink(corpus);
    return rmdir(folder);
}

static void configure(struct hy_config *c, const char *variant, double lr)
{
    char text[1024];
    struct hy_err e = {0};
    snprintf(
        text, sizeof text,
        "{\"name\": \"t\", \"model\": {\"d_model\": 16, \"layers\": 2, \"heads\": 2, \"mlp\": 16},"
        " \"mixer\": {\"variant\": \"%s\", \"ratio\": \"1:1\"},"
        " \"data\": {\"train\": [{\"task\": \"text\", \"path\": \"%s\"},"
        "   {\"task\": \"mqar\", \"vocab\": 16, \"pairs\": [2]}]},"
        " \"train\": {\"steps\": %d, \"batch\": 4, \"seq_len\": 20, \"lr\": %g, \"clip\": 0,"
        "   \"seed\": 3}, \"eval\": {\"every\": 10}}",
        variant, corpus, STEPS, lr);
    if (config_from_json(text, c, &e))
        fail_msg("%s", e.text);
}

static void test_equal_runs_are_bit_equal(void **state)
{
    (void)state;
    struct hy_config c;
    struct trial_record a = {0}, b = {0};
    configure(&c, "gla", 1e-2);
    record_trial(&c, &a, NULL);
    record_trial(&c, &b, NULL);
    assert_string_equal(a.end, "done");
    assert_true(a.rows.size > 100);
    assert_string_equal(a.rows.data, b.rows.data);
    hy_buf_release(&a.rows);
    hy_buf_release(&b.rows);
    hy_config_release(&c);
}

/* In one go, and in pieces that end at stops. */
static void resumed_equals_uninterrupted(const struct hy_config *c, const int64_t *stops, int count)
{
    struct trial_record whole = {0}, pieces = {0};
    record_trial(c, &whole, NULL);
    for (int i = 0; i < count; i++) {
        pieces.stop_at = stops[i];
        record_trial(c, &pieces, checkpoint);
        assert_string_equal(pieces.end, "interrupted");
        assert_int_equal(access(checkpoint, F_OK), 0);
    }
    pieces.stop_at = 0;
    record_trial(c, &pieces, checkpoint);
    assert_string_equal(pieces.end, "done");
    assert_int_equal(access(checkpoint, F_OK), 0); /* its owner's, who has the result now */
    unlink(checkpoint);
    /* Evaluations that a stop cut off are done once; the rest is the same text. */
    const char *last = strstr(whole.rows.data, "\"split\":\"test\"");
    const char *same = strstr(pieces.rows.data, "\"split\":\"test\"");
    assert_non_null(last);
    assert_non_null(same);
    assert_string_equal(last, same);
    hy_buf_release(&whole.rows);
    hy_buf_release(&pieces.rows);
}

static void resumed_in_precision(enum hy_precision precision)
{
    static const int64_t stops[] = {7, 10, 15}; /* 10: during an evaluation */
    struct hy_config c;
    configure(&c, "gated_deltanet", 1e-2);
    c.train.precision = precision;
    resumed_equals_uninterrupted(&c, stops, 3);
    hy_config_release(&c);
}

/* Layers of every kind that a sweep of the project has. */
static void test_resumed_compositions_equal_uninterrupted(void **state)
{
    (void)state;
    static const int64_t stops[] = {3};
    for (const char *const *path = kit_sweeps(); *path; path++) {
        struct kit k;
        kit_init_sweep(&k, *path, 1);
        k.config->train.steps = k.config->stages[0].steps = 5;
        k.config->train.batch = 2;
        k.config->eval.every = 2;
        resumed_equals_uninterrupted(k.config, stops, 1);
        kit_release(&k);
    }
}

static void test_resumed_equals_uninterrupted(void **state)
{
    (void)state;
    resumed_in_precision(HY_PRECISION_FLOAT32);
}

static void test_resumed_equals_uninterrupted_in_bf16(void **state)
{
    struct hy_err e;
    (void)state;
    if (hy_gemm_check(HY_PRECISION_BF16, &e))
        skip();
    resumed_in_precision(HY_PRECISION_BF16);
}

/* What a run says of its memory and of decoding. */
struct account {
    double params, gradients, optimizer, activations, all;
    int caches, speeds;
};

static void note(void *context, const struct hy_row *row)
{
    struct account *a = context;
    const struct {
        const char *name;
        double *to;
    } facts[] = {{"param_bytes", &a->params},
                 {"gradient_bytes", &a->gradients},
                 {"optimizer_bytes", &a->optimizer},
                 {"activation_bytes", &a->activations},
                 {"train_bytes", &a->all}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (row->type == HY_ROW_FACT && !strcmp(row->name, facts[i].name))
            *facts[i].to = row->value;
    if (row->type != HY_ROW_SLICE || strncmp(row->slice, "context=", 8) != 0)
        return;
    a->caches += !strcmp(row->task, "memory") && row->value > 0;
    a->speeds += !strcmp(row->task, "speed") && row->value > 0;
}

static void test_memory_adds_up_and_decoding_is_timed_at_each_context(void **state)
{
    (void)state;
    struct hy_config c;
    struct account a = {0};
    struct hy_err e = {0};
    configure(&c, "gla", 1e-2);
    c.eval.context_count = 2;
    c.eval.contexts[1] = 300;
    assert_int_equal(hy_trial_run(&(struct hy_trial_order){.config = &c}, 1,
                                  &(struct hy_trial_io){.emit = note, .context = &a}, &e),
                     0);
    assert_true(a.params > 0 && a.activations > 0);
    assert_true(a.gradients == a.params && a.optimizer == 2 * a.params);
    assert_true(a.all == a.params + a.gradients + a.optimizer + a.activations);
    assert_int_equal(a.caches, 2);
    assert_int_equal(a.speeds, 2);
    hy_config_release(&c);
}

static void test_divergence_is_a_result(void **state)
{
    (void)state;
    struct hy_config c;
    struct trial_record r = {0};
    configure(&c, "retnet", 1);
    c.stages[0].lr = 1e30;
    record_trial(&c, &r, NULL);
    assert_string_equal(r.end, "diverged");
    assert_non_null(strstr(r.reason, "step"));
    hy_buf_release(&r.rows);
    hy_config_release(&c);
}

static void test_a_damaged_checkpoint_costs_only_time(void **state)
{
    (void)state;
    struct hy_config c;
    struct trial_record whole = {0}, again = {0};
    configure(&c, "gla", 1e-2);
    record_trial(&c, &whole, NULL);
    FILE *file = fopen(checkpoint, "w");
    assert_non_null(file);
    fputs("no checkpoint at all", file);
    fclose(file);
    record_trial(&c, &again, checkpoint);
    assert_string_equal(again.end, "done");
    assert_string_equal(whole.rows.data, again.rows.data);
    hy_buf_release(&whole.rows);
    hy_buf_release(&again.rows);
    hy_config_release(&c);
}

static void test_estimate_equals_the_run(void **state)
{
    (void)state;
    struct hy_config c;
    struct hy_estimate estimate;
    struct hy_err e = {0};
    configure(&c, "gated_deltanet", 1e-2);
    assert_int_equal(hy_trial_estimate(&c, &estimate, &e), HY_OK);
    assert_true(estimate.params > 0 && estimate.train_bytes > 16 * estimate.params);
    assert_true(estimate.total_flops >
                (double)STEPS * c.train.batch * c.train.seq_len * estimate.flops_per_token);
    hy_config_release(&c);
}

static void configure_lengths(struct hy_config *c, const char *eval)
{
    char text[1024];
    struct hy_err e = {0};
    snprintf(text, sizeof text,
             "{\"model\": {\"d_model\": 16, \"layers\": 2, \"heads\": 2, \"mlp\": 16},"
             " \"mixer\": {\"variant\": \"gla\", \"ratio\": \"1:1\"},"
             " \"data\": {\"train\": [{\"task\": \"mqar\", \"vocab\": 16, \"pairs\": 2,"
             "   \"examples\": 10}], \"eval\": [%s]},"
             " \"train\": {\"steps\": 8, \"batch\": 4, \"seq_len\": 16, \"lr\": 0.01}}",
             eval);
    if (config_from_json(text, c, &e))
        fail_msg("%s", e.text);
}

/* What the run with these evaluation entries says of the test split. */
static void evaluated(const char *eval, struct trial_record *r)
{
    struct hy_config c;
    configure_lengths(&c, eval);
    record_trial(&c, r, NULL);
    assert_string_equal(r->end, "done");
    hy_config_release(&c);
}

static int count_of(const struct trial_record *r, const char *text)
{
    int count = 0;
    for (const char *at = r->rows.data; (at = strstr(at, text)); at++)
        count++;
    return count;
}

static void test_other_lengths_are_slices_of_their_own(void **state)
{
    (void)state;
    struct trial_record usual = {0}, longer = {0};
    evaluated("{\"task\": \"mqar\"}", &usual);
    evaluated("{\"task\": \"mqar\"}, {\"task\": \"mqar\", \"seq_len\": 80, \"pairs\": [2, 7]},"
              "{\"task\": \"mqar\", \"seq_len\": 9}",
              &longer);
    assert_int_equal(count_of(&usual, "length="), 0);
    /* In each of validation and test: the whole and each number of pairs. */
    assert_int_equal(count_of(&longer, "\"length=80\""), 2);
    assert_int_equal(count_of(&longer, "\"length=80,pairs=2\""), 2);
    assert_int_equal(count_of(&longer, "\"length=80,pairs=7\""), 2);
    assert_int_equal(count_of(&longer, "\"length=9,pairs=2\""), 2);
    /* The summary is over sequences of training's length. */
    const char *summary = strstr(usual.rows.data, "\"recall_test\"");
    const char *same = strstr(longer.rows.data, "\"recall_test\"");
    assert_non_null(summary);
    assert_non_null(same);
    assert_string_equal(summary, same);
    hy_buf_release(&usual.rows);
    hy_buf_release(&longer.rows);
}

static void test_two_entries_of_one_task_keep_their_rows_apart(void **state)
{
    (void)state;
    struct trial_record r = {0};
    evaluated("{\"task\": \"mqar\"}, {\"task\": \"mqar\", \"fill\": \"zero\"},"
              "{\"task\": \"mqar\", \"seq_len\": 80}",
              &r);
    /* In each of validation and test: the whole and pairs=2. */
    assert_int_equal(count_of(&r, "\"mqar\""), 2 * 2 * 2);
    assert_int_equal(count_of(&r, "\"mqar#2\""), 2 * 2);
    hy_buf_release(&r.rows);
}

static void test_longer_sequences_come_in_smaller_batches(void **state)
{
    (void)state;
    static const int shapes[3][2] = {{4, 16}, {2, 24}, {1, 200}}; /* batch, tokens */
    struct hy_config c;
    struct hy_engine x;
    struct hy_err e;
    configure_lengths(&c, "{\"task\": \"mqar\"}, {\"task\": \"mqar\", \"seq_len\": 24},"
                          "{\"task\": \"mqar\", \"seq_len\": 200}, {\"task\": \"mqar\"}");
    const struct hy_engine_plan plan = {
        .configs = (const struct hy_config *[]){&c}, .count = 1, .dry = 1};
    if (hy_engine_init(&x, &plan, &e))
        fail_msg("%s", e.text);
    assert_int_equal(x.evaluator_count, 3);
    for (int s = 0; s < 4; s++) {
        const struct hy_shape *shape = &hy_engine_evaluator(&x, s)->graph->shape;
        assert_int_equal(shape->batch, shapes[s % 3][0]);
        assert_int_equal(shape->tokens, shapes[s % 3][1]);
    }
    hy_engine_release(&x);
    hy_config_release(&c);
}

static void test_a_length_costs_what_its_tokens_cost(void **state)
{
    (void)state;
    static const char *const evals[] = {
        "{\"task\": \"mqar\"}",
        "{\"task\": \"mqar\", \"seq_len\": 128, \"examples\": 64}",
    };
    struct hy_estimate estimates[2];
    for (int i = 0; i < 2; i++) {
        struct hy_config c;
        struct hy_err e;
        configure_lengths(&c, evals[i]);
        if (hy_trial_estimate(&c, &estimates[i], &e))
            fail_msg("%s", e.text);
        hy_config_release(&c);
    }
    assert_true(estimates[1].total_flops > estimates[0].total_flops);
    assert_int_equal(estimates[1].train_bytes, estimates[0].train_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_runs_are_bit_equal),
        cmocka_unit_test(test_resumed_equals_uninterrupted),
        cmocka_unit_test(test_resumed_equals_uninterrupted_in_bf16),
        cmocka_unit_test(test_resumed_compositions_equal_uninterrupted),
        cmocka_unit_test(test_memory_adds_up_and_decoding_is_timed_at_each_context),
        cmocka_unit_test(test_divergence_is_a_result),
        cmocka_unit_test(test_a_damaged_checkpoint_costs_only_time),
        cmocka_unit_test(test_estimate_equals_the_run),
        cmocka_unit_test(test_other_lengths_are_slices_of_their_own),
        cmocka_unit_test(test_two_entries_of_one_task_keep_their_rows_apart),
        cmocka_unit_test(test_longer_sequences_come_in_smaller_batches),
        cmocka_unit_test(test_a_length_costs_what_its_tokens_cost),
    };
    return cmocka_run_group_tests_name("trials", tests, setup, teardown);
}
