/* Successive halving decides as its algorithm says, whatever the order in which scores come. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/rng.h"
#include "runner/lead/halving.h"
#include "tests/support/config.h"

enum { RUNS = 300, STEPS = 100 };

static struct hy_plan_run runs[RUNS];
static struct hy_plan plan = {.runs = runs};

/* A plan of runs that differ in seed, with the rule (JSON, "null": none) in section run. */
static struct hy_halving *make_plan(int count, const char *rule)
{
    struct hy_halving *h = NULL;
    plan.count = count;
    for (int i = 0; i < count; i++) {
        char text[512];
        struct hy_err e = {0};
        snprintf(text, sizeof text,
                 "{\"data\": {\"train\": [{\"task\": \"noop\"}]},"
                 " \"mixer\": {\"variant\": \"gla\", \"ratio\": \"pure\"},"
                 " \"model\": {\"layers\": %d}, \"train\": {\"steps\": %d, \"seed\": %d},"
                 " \"run\": {\"halving\": %s}}",
                 1 + i % 2, STEPS, i, rule);
        if (config_from_json(text, &runs[i].config, &e))
            fail_msg("%s", e.text);
    }
    assert_int_equal(hy_halving_new(&plan, &h, NULL), HY_OK);
    return h;
}

static void release(struct hy_halving *h)
{
    hy_halving_free(h);
    for (int i = 0; i < plan.count; i++)
        hy_config_release(&runs[i].config);
}

#define RULE(text) "{\"metric\": \"recall\", \"min_steps\": 10, \"factor\": 3" text "}"

static void rungs_lie_at_powers_of_the_factor_below_the_end(void **state)
{
    (void)state;
    struct hy_halving *h = make_plan(1, RULE(""));
    static const int64_t steps[] = {10, 30, 90, 0, 0};
    for (int k = 0; k < 5; k++)
        assert_int_equal(hy_halving_step(h, 0, k), steps[k]);
    release(h);
    h = make_plan(1, "null");
    assert_false(hy_halving_applies(h, 0));
    assert_int_equal(hy_halving_until(h, 0), 0);
    assert_int_equal(hy_halving_next(h), -1);
    release(h);
}

static void a_run_goes_on_while_it_is_among_the_best_so_far(void **state)
{
    (void)state;
    static const double scores[] = {0.1, 0.2, 0.3, 0.4, 0.35, 0.38, NAN, 0.5};
    /* The fourth overtakes the third; the sixth makes room for one more; a run that has no score
     * makes none. */
    static const int goes[] = {-1, -1, 2, 3, -1, 5, -1, 7};
    struct hy_halving *h = make_plan(8, RULE(""));
    for (int i = 0; i < 8; i++) {
        hy_halving_reach(h, i, scores[i]);
        assert_int_equal(hy_halving_until(h, i), 10);
        assert_int_equal(hy_halving_next(h), goes[i]);
        assert_int_equal(hy_halving_next(h), -1);
        assert_int_equal(hy_halving_until(h, i), goes[i] < 0 ? 10 : 30);
    }
    char text[128];
    hy_halving_reason(h, 4, 0, text, sizeof text);
    assert_string_equal(text, "recall 0.35 after 10 steps: not among the best 2 of 8 so far");
    hy_halving_reason(h, 7, 1, text, sizeof text);
    assert_string_equal(text, "recall 0.5 after 10 steps: among the best 2 of 8 so far");
    release(h);
}

static void the_lower_perplexity_is_the_better_one(void **state)
{
    (void)state;
    struct hy_halving *h = make_plan(3, RULE(""));
    for (int i = 0; i < 3; i++) {
        runs[i].config.run.halving.metric = HY_METRIC_PPL;
        hy_halving_reach(h, i, 5 + i);
    }
    assert_int_equal(hy_halving_next(h), 0);
    release(h);
}

static void a_run_that_diverged_is_the_worst_of_its_rung(void **state)
{
    (void)state;
    struct hy_halving *h = make_plan(3, RULE(""));
    hy_halving_reach(h, 0, 0);
    hy_halving_end(h, 1, "diverged");
    assert_int_equal(hy_halving_next(h), -1);
    hy_halving_end(h, 2, "diverged");
    assert_int_equal(hy_halving_next(h), 0);
    release(h);
}

static void where_none_could_finish_the_best_does(void **state)
{
    (void)state;
    struct hy_halving *h = make_plan(2, RULE(""));
    hy_halving_reach(h, 0, 0.2);
    hy_halving_reach(h, 1, 0.3);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(hy_halving_next(h), -1);
        hy_halving_rescue(h);
        assert_int_equal(hy_halving_next(h), 1);
        if (k < 2)
            hy_halving_reach(h, 1, 0.1);
    }
    assert_int_equal(hy_halving_until(h, 1), 0);
    /* The next best takes the place of one that came to nothing, and nobody that of one that did.
     */
    hy_halving_end(h, 1, "failed");
    hy_halving_rescue(h);
    assert_int_equal(hy_halving_next(h), 0);
    hy_halving_reach(h, 0, 0.2);
    hy_halving_end(h, 1, "done");
    hy_halving_rescue(h);
    assert_int_equal(hy_halving_next(h), -1);
    release(h);
}

static void a_cell_is_compared_within_itself(void **state)
{
    (void)state;
    struct hy_halving *h = make_plan(6, RULE(", \"among\": \"cell\""));
    /* Even and odd runs differ in depth. */
    for (int i = 0; i < 6; i++)
        hy_halving_reach(h, i, i % 2 ? 0.1 * i : 0.9 - 0.1 * i);
    const int first = hy_halving_next(h), second = hy_halving_next(h);
    assert_true((first == 0 && second == 5) || (first == 5 && second == 0));
    assert_int_equal(hy_halving_next(h), -1);
    release(h);
}

/* Algorithm 2 as it is written: sorts every rung anew. */
struct plain {
    double scores[4][RUNS];
    int reached[4][RUNS], passed[4][RUNS], count[4];
};

static int plain_next(const struct plain *p, int *rung)
{
    for (int k = 2; k >= 0; k--) {
        int best = -1;
        for (int i = 0; i < RUNS; i++) {
            int better = 0;
            for (int j = 0; j < RUNS; j++)
                better += p->reached[k][j] && (p->scores[k][j] > p->scores[k][i] ||
                                               (p->scores[k][j] == p->scores[k][i] && j < i));
            if (p->reached[k][i] && !p->passed[k][i] && better < p->count[k] / 3 &&
                (best < 0 || p->scores[k][i] > p->scores[k][best]))
                best = i;
        }
        if (best >= 0) {
            *rung = k;
            return best;
        }
    }
    return -1;
}

static void many_runs_are_decided_on_as_by_the_plain_algorithm(void **state)
{
    (void)state;
    static struct plain p;
    struct hy_halving *h = make_plan(RUNS, RULE(""));
    struct hy_rng rng = hy_rng_start(7, HY_RNG_TRAIN, 0, 0);
    int decided = 0;
    memset(&p, 0, sizeof p);
    for (int fresh = 0; fresh < RUNS;) {
        int rung = 0, run = plain_next(&p, &rung);
        assert_int_equal(hy_halving_next(h), run);
        if (run >= 0) {
            p.passed[rung++][run] = 1;
            decided++;
        } else {
            run = fresh++;
            rung = 0;
        }
        assert_int_equal(hy_halving_until(h, run), hy_halving_step(h, run, rung));
        if (rung > 2)
            continue;
        /* Few values, so that many are equal. */
        const double score = hy_rng_below(&rng, 40) / 40.0;
        p.scores[rung][run] = score;
        p.reached[rung][run] = 1;
        p.count[rung]++;
        hy_halving_reach(h, run, score);
    }
    assert_true(decided > RUNS / 3);
    release(h);
}

static void what_an_earlier_program_decided_is_taken_over(void **state)
{
    (void)state;
    struct hy_halving *h = make_plan(7, RULE(""));
    hy_halving_pass(h, 0, 0.9);
    for (int i = 1; i < 6; i++)
        hy_halving_reach(h, i, 0.1 * i);
    assert_int_equal(hy_halving_until(h, 0), 30);
    /* Of six two may pass, and one has. */
    assert_int_equal(hy_halving_next(h), 5);
    assert_int_equal(hy_halving_next(h), -1);
    release(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rungs_lie_at_powers_of_the_factor_below_the_end),
        cmocka_unit_test(a_run_goes_on_while_it_is_among_the_best_so_far),
        cmocka_unit_test(the_lower_perplexity_is_the_better_one),
        cmocka_unit_test(a_run_that_diverged_is_the_worst_of_its_rung),
        cmocka_unit_test(where_none_could_finish_the_best_does),
        cmocka_unit_test(a_cell_is_compared_within_itself),
        cmocka_unit_test(many_runs_are_decided_on_as_by_the_plain_algorithm),
        cmocka_unit_test(what_an_earlier_program_decided_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
