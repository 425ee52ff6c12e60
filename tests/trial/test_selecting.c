/* Runs that select their layers: neither an interruption at any moment nor a gang whose members
 * find other layouts changes a bit; the model of full branches is the source; training with gates
 * costs no more than both mixers, and behind the choice a model costs what its layout costs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/trial/engine.h"
#include "tests/support/config.h"
#include "tests/support/record.h"

static char folder[64], source[96], checkpoint[2][96];

#define MODEL                                                                                \
    "\"model\": {\"d_model\": 16, \"layers\": 3, \"heads\": 2, \"mlp\": 16},"                \
    "\"data\": {\"train\": [{\"task\": \"mqar\", \"vocab\": 32, \"pairs\": [2],"             \
    "  \"examples\": 16}]},"                                                                 \
    "\"train\": {\"steps\": %d, \"batch\": 4, \"seq_len\": 16, \"lr\": 0.01, \"seed\": %d}," \
    "\"eval\": {\"every\": 5},"
#define LINEAR "\"mixer\": {\"variant\": \"gla\", \"expand_k\": 1, \"expand_v\": 1},"
#define SOURCE \
    "\"init\": {\"from\": {\"mixer.ratio\": \"full\", \"train.steps\": 60, \"train.seed\": 0}},"

static void configure(struct hy_config *c, int steps, int seed, const char *rest)
{
    char text[4096];
    struct hy_err e = {0};
    const int head = snprintf(text, sizeof text, "{" MODEL, steps, seed);
    snprintf(text + head, sizeof text - (size_t)head, "%s}", rest);
    if (config_from_json(text, c, &e))
        fail_msg("%s", e.text);
}

static int make_source(void **state)
{
    (void)state;
    struct hy_config c;
    struct trial_record r = {0};
    strcpy(folder, "selecting_XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(source, sizeof source, "%s/source.safetensors", folder);
    for (int i = 0; i < 2; i++)
        snprintf(checkpoint[i], sizeof checkpoint[i], "%s/%d.safetensors", folder, i);
    configure(&c, 60, 0, "\"mixer\": {\"variant\": \"softmax\", \"ratio\": \"full\"}");
    record_trials(&(struct hy_trial_order){.config = &c, .checkpoint = source, .keep = 1}, 1, &r);
    hy_buf_release(&r.rows);
    hy_config_release(&c);
    return strcmp(r.end, "done") != 0;
}

static int remove_source(void **state)
{
    (void)state;
    unlink(source);
    return rmdir(folder);
}

/* One of every sort: gates with and without a source, probes, evaluations, nothing; with layers
 * that are given back. */
static const char *const selections[] = {
    LINEAR "\"select\": {\"method\": \"gates\", \"budget\": 1, \"steps\": 11, \"ramp\": 0.5}",
    LINEAR "\"select\": {\"method\": \"gates\", \"tolerance\": \"0 recall\", \"price\": 0.5,"
           " \"steps\": 11, \"repair\": 2}",
    SOURCE LINEAR "\"select\": {\"method\": \"gates\", \"form\": \"soft\", \"weights\": \"frozen\","
                  " \"budget\": 2, \"align\": 4, \"steps\": 7}",
    SOURCE LINEAR "\"select\": {\"method\": \"kl\", \"tolerance\": \"0 recall\", \"align\": 4,"
                  " \"steps\": 4, \"repair\": 2}",
    SOURCE LINEAR "\"select\": {\"method\": \"greedy\", \"budget\": 1, \"align\": 6, \"share\": "
                  "\"qkvo\"}",
    LINEAR "\"select\": {\"method\": \"middle\", \"tolerance\": \"0 recall\", \"repair\": 2}",
    SOURCE LINEAR
    "\"select\": {\"method\": \"random\", \"budget\": 1, \"align\": 4, \"restart\": true}",
};
enum { SELECTIONS = sizeof selections / sizeof *selections, STEPS = 12 };

static const char *results_of(const struct trial_record *r)
{
    const char *at = strstr(r->rows.data, "\"split\":\"test\"");
    assert_non_null(at);
    return at;
}

static struct hy_trial_order order_of(const struct hy_config *c, const char *path)
{
    return (struct hy_trial_order){
        .config = c, .checkpoint = path, .source = c->init.source ? source : NULL};
}

/* Stopped at every evaluation's step, and before, at, and behind the ends of stages. */
static void an_interruption_changes_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < SELECTIONS; i++) {
        struct hy_config c;
        struct trial_record whole = {0}, pieces = {0};
        configure(&c, STEPS, 3, selections[i]);
        struct hy_trial_order order = order_of(&c, NULL);
        record_trials(&order, 1, &whole);
        assert_string_equal(whole.end, "done");
        order.checkpoint = checkpoint[0];
        for (int64_t at = 1; at < c.train.steps + c.select.repair * STEPS; at += 1 + at % 3) {
            pieces.stop_at = at;
            record_trials(&order, 1, &pieces);
            if (!strcmp(pieces.end, "done"))
                break; /* it had no layer to give back */
            assert_string_equal(pieces.end, "interrupted");
        }
        pieces.stop_at = 0;
        if (strcmp(pieces.end, "done"))
            record_trials(&order, 1, &pieces);
        assert_string_equal(pieces.end, "done");
        assert_string_equal(pieces.reason, whole.reason);
        if (strcmp(results_of(&whole), results_of(&pieces)))
            fail_msg("%s: an interruption changed the results", selections[i]);
        unlink(checkpoint[0]);
        hy_buf_release(&whole.rows);
        hy_buf_release(&pieces.rows);
        hy_config_release(&c);
    }
}

/* Also where one has gone ahead. */
static void a_gang_equals_its_members_alone(void **state)
{
    (void)state;
    for (int i = 0; i < SELECTIONS; i++) {
        struct hy_config c[2];
        struct hy_trial_order orders[2];
        struct trial_record alone[2] = {0}, gang[2] = {0}, first = {.stop_at = 15};
        for (int r = 0; r < 2; r++) {
            configure(&c[r], STEPS, 3 + r, selections[i]);
            orders[r] = order_of(&c[r], NULL);
            record_trials(&orders[r], 1, &alone[r]);
        }
        record_trials(orders, 2, gang);
        for (int r = 0; r < 2; r++) {
            assert_string_equal(gang[r].end, "done");
            assert_string_equal(gang[r].rows.data, alone[r].rows.data);
            hy_buf_release(&gang[r].rows);
            orders[r].checkpoint = checkpoint[r];
        }
        record_trials(orders, 1, &first);
        memset(gang, 0, sizeof gang);
        gang[1].stop_at = 13;
        record_trials(orders, 2, gang);
        for (int r = 0; r < 2; r++) {
            struct trial_record rest = {0};
            record_trials(&orders[r], 1, &rest);
            assert_string_equal(rest.end, "done");
            assert_string_equal(results_of(&rest), results_of(&alone[r]));
            unlink(checkpoint[r]);
            hy_buf_release(&rest.rows);
            hy_buf_release(&gang[r].rows);
            hy_buf_release(&alone[r].rows);
            hy_config_release(&c[r]);
        }
        hy_buf_release(&first.rows);
    }
}

/* A number in the last row of the record that has the text. */
static double last_value(const struct trial_record *r, const char *text)
{
    const char *found = NULL;
    for (const char *at = r->rows.data; (at = strstr(at, text)); at++)
        found = at;
    assert_non_null(found);
    const char *value = strstr(found, "\"value\":");
    assert_non_null(value);
    return strtod(value + strlen("\"value\":"), NULL);
}

/* While linear branches are aligned the model is still the source, and its score the source's. */
static void full_branches_are_the_source(void **state)
{
    (void)state;
    struct hy_config c, whole;
    struct trial_record own = {0}, other = {0};
    configure(&whole, 60, 0, "\"mixer\": {\"variant\": \"softmax\", \"ratio\": \"full\"}");
    configure(&c, 1, 3,
              SOURCE LINEAR "\"select\": {\"method\": \"uniform\", \"budget\": 1, \"align\": 9}");
    struct hy_trial_order order = order_of(&c, NULL);
    record_trials(&order, 1, &own);
    record_trial(&whole, &other, NULL);
    char row[64];
    snprintf(row, sizeof row, "\"step\":5,\"name\":\"valid.recall\"");
    const double score = last_value(&own, row);
    snprintf(row, sizeof row, "\"step\":60,\"name\":\"valid.recall\"");
    assert_true(score == last_value(&other, row));
    hy_buf_release(&own.rows);
    hy_buf_release(&other.rows);
    hy_config_release(&c);
    hy_config_release(&whole);
}

static double step_flops(const char *rest, int stage, int64_t *params)
{
    struct hy_config c;
    struct hy_engine x;
    struct hy_err e;
    unsigned char full[3] = {0, 1, 0};
    configure(&c, STEPS, 0, rest);
    const struct hy_layout layout = hy_config_selected_layout(&c, full);
    const struct hy_engine_plan plan = {.configs = (const struct hy_config *[]){&c},
                                        .count = 1,
                                        .stage = stage,
                                        .layout = c.select.method ? &layout : NULL,
                                        .dry = 1};
    if (hy_engine_init(&x, &plan, &e))
        fail_msg("%s", e.text);
    const double flops = x.trainer.cost.flops;
    *params = hy_model_params(&x.trainer.params);
    hy_engine_release(&x);
    hy_config_release(&c);
    return flops;
}

static void gates_cost_both_mixers_and_then_nothing(void **state)
{
    (void)state;
    static const char gates[] =
        LINEAR "\"select\": {\"method\": \"gates\", \"budget\": 1, \"share\": \"none\"}";
    int64_t params, plain;
    const double linear =
        step_flops("\"mixer\": {\"variant\": \"gla\", \"expand_k\": 1, \"expand_v\": 1,"
                   " \"ratio\": \"pure\"}",
                   0, &params);
    const double full =
        step_flops("\"mixer\": {\"variant\": \"softmax\", \"ratio\": \"full\"}", 0, &params);
    const double both = step_flops(gates, 0, &params);
    assert_true(both <= linear + full && both > linear && both > full);
    const double chosen = step_flops(gates, 1, &params);
    assert_true(chosen == step_flops("\"mixer\": {\"variant\": \"gla\", \"expand_k\": 1,"
                                     " \"expand_v\": 1, \"layers\": [1]}",
                                     0, &plain));
    assert_int_equal(params, plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interruption_changes_nothing),
        cmocka_unit_test(a_gang_equals_its_members_alone),
        cmocka_unit_test(full_branches_are_the_source),
        cmocka_unit_test(gates_cost_both_mixers_and_then_nothing),
    };
    return cmocka_run_group_tests(tests, make_source, remove_source);
}
