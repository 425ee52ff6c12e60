/* Gangs are formed of the runs that differ in seed, rate and decay alone, as many as may. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner/plan/gang.h"

enum { RUNS = 10 };

/* Two models of four runs each, and two runs that train nothing. */
static void make(const char *rule, struct hy_plan *plan)
{
    static const char models[] =
        "model: {d_model: 16, heads: 2, layers: 1, mlp: 16}\n"
        "mixer: {variant: gla, ratio: pure}\n"
        "data: {train: [{task: mqar, vocab: 16, pairs: 2}]}\n"
        "train: {batch: 2, seq_len: 16}\n"
        "run: {gang: %s}\n"
        "matrix:\n"
        "  mixer.variant: [gla, retnet]\n"
        "  train.seed: [0, 1]\n"
        "  train.weight_decay: [0, 0.1]\n"
        "  include:\n"
        "    - {data.train: [{task: noop}], data.eval: [{task: noop}]}\n"
        "    - {data.train: [{task: noop}], data.eval: [{task: noop}], train.lr: 0.1}\n";
    char path[] = "gang_XXXXXX";
    struct hy_sweep sweep = {0};
    struct hy_err e;
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fprintf(file, models, rule);
    fclose(file);
    if (hy_sweep_load(path, NULL, 0, &sweep, &e) || hy_plan_make(&sweep, plan, &e))
        fail_msg("%s", e.text);
    unlink(path);
    hy_sweep_release(&sweep);
    assert_int_equal(plan->count, RUNS);
    for (int i = 0; i < RUNS; i++) {
        plan->runs[i].seconds = 1;
        plan->runs[i].estimate.replicas = 1;
    }
}

/* The gangs of a plan whose runs are all open but `done`, as digits; '-': none. */
static const char *form(const struct hy_plan *plan, int ranks, int done)
{
    static char text[RUNS + 1];
    unsigned char open[RUNS];
    int gangs[RUNS], count = 0;
    struct hy_err e;
    memset(open, 1, sizeof open);
    if (done >= 0)
        open[done] = 0;
    if (hy_gangs_form(plan, ranks, open, gangs, &count, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < RUNS; i++)
        text[i] = gangs[i] < 0 ? '-' : (char)('0' + gangs[i]);
    return text;
}

static void gangs_are_as_large_as_they_are_told_to_be(void **state)
{
    (void)state;
    struct hy_plan plan;
    make("3", &plan);
    assert_string_equal(form(&plan, 1, -1), "0001222345");
    assert_string_equal(form(&plan, 1, 1), "0-00111234");
    hy_plan_release(&plan);
    make("1", &plan);
    assert_string_equal(form(&plan, 1, -1), "0123456789");
    hy_plan_release(&plan);
}

static void the_longest_runs_begin_first(void **state)
{
    (void)state;
    struct hy_plan plan;
    make("2", &plan);
    plan.runs[5].seconds = 9;
    assert_string_equal(form(&plan, 1, -1), "1122300345");
    hy_plan_release(&plan);
}

static void auto_fits_devices_and_leaves_no_rank_without_work(void **state)
{
    (void)state;
    struct hy_plan plan;
    make("auto", &plan);
    assert_string_equal(form(&plan, 1, -1), "0123456789"); /* CPUs */
    for (int i = 0; i < RUNS; i++)
        plan.runs[i].estimate.replicas = 100;
    assert_string_equal(form(&plan, 1, -1), "0000111123");
    assert_string_equal(form(&plan, 2, -1), "0011223345");
    for (int i = 0; i < RUNS; i++)
        plan.runs[i].estimate.replicas = 3;
    assert_string_equal(form(&plan, 1, -1), "0001222345");
    assert_string_equal(form(&plan, 2, -1), "0123456789");
    hy_plan_release(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gangs_are_as_large_as_they_are_told_to_be),
        cmocka_unit_test(the_longest_runs_begin_first),
        cmocka_unit_test(auto_fits_devices_and_leaves_no_rank_without_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
