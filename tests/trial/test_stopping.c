/* Runs that end before their last step: the rule, where it applies, and that an interruption does
 * not move the end. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/trial/stopping.h"
#include "core/trial/trial.h"
#include "tests/support/config.h"

static void a_run_ends_when_its_goal_is_reached(void **state)
{
    (void)state;
    const struct hy_stop_rule recall = {HY_METRIC_RECALL, .at = 0.9};
    const struct hy_stop_rule ppl = {HY_METRIC_PPL, .at = 4};
    struct hy_trained t = {.step = 10, .best = NAN};
    char why[128];
    assert_false(hy_stopping_now(&recall, &t, why, sizeof why));
    hy_stopping_see(&recall, 0.89, &t);
    assert_false(hy_stopping_now(&recall, &t, why, sizeof why));
    hy_stopping_see(&recall, 0.9, &t);
    assert_true(hy_stopping_now(&recall, &t, why, sizeof why));
    assert_string_equal(why, "recall 0.9 reached 0.9 at step 10");
    t.best = NAN;
    hy_stopping_see(&ppl, 4.01, &t);
    assert_false(hy_stopping_now(&ppl, &t, why, sizeof why));
    hy_stopping_see(&ppl, 4, &t);
    assert_true(hy_stopping_now(&ppl, &t, why, sizeof why));
}

static void patience_counts_evaluations_that_are_not_better(void **state)
{
    (void)state;
    static const double scores[] = {5, 4, 4, 4.5, 3, 3.5, 3, 3.1};
    static const int ends[] = {0, 0, 0, 0, 0, 0, 0, 1};
    const struct hy_stop_rule rule = {HY_METRIC_PPL, .patience = 3};
    struct hy_trained t = {.best = NAN};
    char why[128];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        hy_stopping_see(&rule, scores[i], &t);
        assert_int_equal(hy_stopping_now(&rule, &t, why, sizeof why), ends[i]);
    }
    assert_non_null(strstr(why, "ppl 3 has not improved in 3 evaluations"));
}

/* A run of 60 steps whose scores do not change, since its rate is 0; run: section run. */
static int resolve(const char *every, const char *run, struct hy_config *c, struct hy_err *e)
{
    char text[1024];
    snprintf(text, sizeof text,
             "{\"model\": {\"d_model\": 16, \"layers\": 1, \"heads\": 2, \"mlp\": 16},"
             " \"mixer\": {\"variant\": \"gla\", \"ratio\": \"pure\"},"
             " \"data\": {\"train\": [{\"task\": \"mqar\", \"vocab\": 16, \"pairs\": [2],"
             "   \"examples\": 8}]},"
             " \"train\": {\"steps\": 60, \"batch\": 4, \"seq_len\": 16, \"lr\": 0},"
             " \"eval\": {\"every\": %s}, \"run\": {%s}}",
             every, run);
    return config_from_json(text, c, e);
}

static void a_rule_that_cannot_apply_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *every, *run, *says;
    } cases[] = {
        {"10", "\"stop\": {\"metric\": \"recall\"}", "run.stop needs 'at' or 'patience'"},
        {"0", "\"stop\": {\"at\": 0.9}", "set eval.every"},
        {"10", "\"stop\": {\"at\": 99}", "recall is at most 1"},
        {"10", "\"stop\": {\"metric\": \"ppl\", \"at\": 9}", "no task in data.eval measures it"},
        {"10", "\"stop\": {\"patients\": 3}", "did you mean 'patience'?"},
        {"10", "\"stpo\": {\"patience\": 3}", "did you mean 'stop'?"},
        {"10", "\"stop\": 3", "run.stop must be a map"},
        {"10", "\"halving\": {\"factor\": 3}", "run.halving needs 'min_steps'"},
        {"10", "\"halving\": {\"min_steps\": 60}", "leaves nothing to save of 60 steps"},
        {"10", "\"halving\": {\"min_steps\": 6, \"metric\": \"ppl\"}", "no task in data.eval"},
        {"10", "\"halving\": {\"min_steps\": 6, \"factor\": 1}", "factor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hy_config c;
        struct hy_err e = {0};
        assert_int_equal(resolve(cases[i].every, cases[i].run, &c, &e), HY_E_USAGE);
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].says);
    }
}

static void key_of(const char *every, const char *run, char key[HY_HASH_TEXT])
{
    struct hy_config c;
    assert_int_equal(resolve(every, run, &c, NULL), HY_OK);
    assert_int_equal(hy_config_key(&c, NULL, key, NULL), HY_OK);
    hy_config_release(&c);
}

static void the_rule_is_part_of_the_key_and_halving_is_not(void **state)
{
    (void)state;
    char plain[HY_HASH_TEXT], other[HY_HASH_TEXT], stop[HY_HASH_TEXT];
    key_of("10", "", plain);
    key_of("20", "\"halving\": {\"min_steps\": 6}", other);
    assert_string_equal(plain, other);
    key_of("10", "\"stop\": {\"patience\": 2}", stop);
    assert_string_not_equal(plain, stop);
    key_of("20", "\"stop\": {\"patience\": 2}", other);
    assert_string_not_equal(stop, other);
    key_of("10", "\"stop\": {\"patience\": 3}", other);
    assert_string_not_equal(stop, other);
}

struct record {
    struct hy_buf rows;
    char end[16], reason[128];
    volatile int stop;
    int64_t stop_at, last;
};

static void listen(void *context, const struct hy_row *row)
{
    struct record *r = context;
    if (row->type == HY_ROW_END) {
        snprintf(r->end, sizeof r->end, "%s", row->name);
        snprintf(r->reason, sizeof r->reason, "%s", row->text ? row->text : "");
    }
    if (row->type == HY_ROW_HISTORY) {
        hy_row_encode(row, &r->rows);
        r->last = row->step;
        r->stop = r->stop || row->step == r->stop_at;
    }
}

static void run(const struct hy_config *c, struct record *r, int64_t stop_at, int64_t until)
{
    const struct hy_trial_order order = {
        .config = c, .checkpoint = "stopping.safetensors", .until = until};
    const struct hy_trial_io io = {.emit = listen, .context = r, .stop = &r->stop};
    struct hy_err e = {0};
    r->stop = 0;
    r->stop_at = stop_at;
    r->rows.size = 0; /* each attempt tells the whole history */
    if (hy_trial_run(&order, 1, &io, &e))
        fail_msg("%s", e.text);
}

static void an_interruption_or_a_pause_does_not_move_the_end(void **state)
{
    (void)state;
    struct hy_config c;
    struct record whole = {0}, pieces = {0};
    assert_int_equal(resolve("10", "\"stop\": {\"patience\": 2}", &c, NULL), HY_OK);
    run(&c, &whole, 0, 0);
    assert_string_equal(whole.end, "done");
    assert_int_equal(whole.last, 30);
    assert_non_null(strstr(whole.reason, "has not improved in 2 evaluations, at step 30"));
    for (int64_t at = 10; at <= 20; at += 10) { /* during the evaluations of these steps */
        run(&c, &pieces, at, 0);
        assert_string_equal(pieces.end, "interrupted");
    }
    run(&c, &pieces, 0, 20);
    assert_string_equal(pieces.end, "paused");
    run(&c, &pieces, 0, 20); /* its end was not heard */
    assert_string_equal(pieces.end, "paused");
    run(&c, &pieces, 0, 0);
    assert_string_equal(pieces.end, "done");
    assert_string_equal(pieces.reason, whole.reason);
    assert_string_equal(pieces.rows.data, whole.rows.data);
    run(&c, &pieces, 0, 0); /* nor was this one */
    assert_string_equal(pieces.end, "done");
    assert_string_equal(pieces.rows.data, whole.rows.data);
    unlink("stopping.safetensors");
    hy_buf_release(&whole.rows);
    hy_buf_release(&pieces.rows);
    hy_config_release(&c);
}

static void a_pause_evaluates_and_leaves_a_checkpoint(void **state)
{
    (void)state;
    struct hy_config c;
    struct record whole = {0}, pieces = {0};
    assert_int_equal(resolve("0", "\"halving\": {\"min_steps\": 7, \"factor\": 10}", &c, NULL),
                     HY_OK);
    run(&c, &pieces, 0, 7);
    assert_string_equal(pieces.end, "paused");
    assert_int_equal(pieces.last, 7);
    assert_non_null(strstr(pieces.rows.data, "\"step\":7,\"name\":\"valid.recall\""));
    assert_int_equal(access("stopping.safetensors", F_OK), 0);
    run(&c, &pieces, 0, 0);
    assert_string_equal(pieces.end, "done");
    assert_int_equal(pieces.last, 60);
    unlink("stopping.safetensors");
    run(&c, &whole, 0, 0);
    assert_string_equal(pieces.rows.data, whole.rows.data);
    hy_buf_release(&whole.rows);
    hy_buf_release(&pieces.rows);
    hy_config_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_ends_when_its_goal_is_reached),
        cmocka_unit_test(patience_counts_evaluations_that_are_not_better),
        cmocka_unit_test(a_rule_that_cannot_apply_is_refused),
        cmocka_unit_test(the_rule_is_part_of_the_key_and_halving_is_not),
        cmocka_unit_test(an_interruption_or_a_pause_does_not_move_the_end),
        cmocka_unit_test(a_pause_evaluates_and_leaves_a_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
