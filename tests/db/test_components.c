/* What parts of a model score is kept apart from what the whole scores, and says whether the whole
 * uses its linear part. */
#include "tests/support/components.h"

static const struct results_run hybrid = {
    .variant = "gla", .ratio = "3:1", .status = "done", .recall_test = 0.9};

static int64_t add_seed(struct hy_store *s, int seed)
{
    struct results_run run = hybrid;
    run.seed = seed;
    return results_add(s, results_sweep(s, "a"), &run);
}

static const char *collapsed_of(struct hy_store *s, int64_t run)
{
    char sql[96];
    snprintf(sql, sizeof sql, "SELECT collapsed FROM results WHERE run = %d", (int)run);
    return results_query(s, sql);
}

static void a_component_is_no_score_of_the_model(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = add_seed(s, 0);
    for (int pass = 0; pass < 2; pass++) {
        components_score(s, run, "window", "mqar", "", "accuracy", 0.25 * pass);
        components_score(s, run, "", "mqar", "", "accuracy", 0.75);
    }
    components_score(s, run, NULL, "mqar", "pairs=8", "accuracy", 1);
    components_score(s, run, NULL, "memory", "context=64", "bytes", 9);
    assert_string_equal(results_query(s, "SELECT value FROM slices WHERE slice = ''"), "0.75");
    assert_string_equal(results_query(s, "SELECT count(*) FROM slices"), "3");
    /* `full` has what a part has, and nothing else. */
    assert_string_equal(results_query(s,
                                      "SELECT component || slice || '=' || value || ',' || delta "
                                      "FROM components ORDER BY component"),
                        "full=0.75,0.0 window=0.25,-0.5");
    hy_store_close(s);
}

static void a_new_attempt_drops_what_components_scored(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t first = add_seed(s, 0), second = add_seed(s, 1);
    components_three(s, first, "mqar", "", "accuracy", 0.9, 0.9, 0.1);
    components_three(s, second, "mqar", "", "accuracy", 0.9, 0.9, 0.1);
    assert_int_equal(hy_store_begin_run(s, first, "n01", 0, NULL), 0);
    assert_string_equal(results_query(s, "SELECT DISTINCT run FROM components"), "2");
    assert_string_equal(collapsed_of(s, first), "-");
    hy_store_close(s);
}

static void a_model_that_loses_nothing_without_its_linear_part_is_collapsed(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = add_seed(s, 0);
    components_three(s, run, "mqar", "", "accuracy", 0.9, 0.875, 0.1);
    components_three(s, run, "mqar", "beyond=16", "accuracy", 0.5, 0.5, 0.25);
    components_three(s, run, "text", "", "nll", 2, 2.0625, 4);
    components_score(s, run, "linear", "text", "", "nll", 3);
    assert_string_equal(results_query(s, "SELECT use FROM linear_use ORDER BY task, slice"),
                        "0.03125 0.0 0.03125");
    assert_string_equal(results_query(s, "SELECT linear FROM linear_use WHERE task = 'text'"),
                        "3.0");
    assert_string_equal(collapsed_of(s, run), "1");
    assert_string_equal(results_query(s, "SELECT collapsed FROM ratio_recall"), "1");
    assert_string_equal(results_query(s, "SELECT collapsed FROM rates"), "1");
    /* One that does, in a single quantity, is not. */
    components_three(s, run, "mqar", "beyond=16", "accuracy", 0.5, 0.25, 0.125);
    assert_string_equal(collapsed_of(s, run), "0");
    components_three(s, run, "mqar", "beyond=16", "accuracy", 0.5, 0.5, 0.125);
    components_three(s, run, "text", "", "nll", 2, 2.5, 4);
    assert_string_equal(collapsed_of(s, run), "0");
    hy_store_close(s);
}

static void what_is_worth_too_little_does_not_count(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = add_seed(s, 0);
    /* Hardly more than nothing scores, whatever the window alone does. */
    components_three(s, run, "mqar", "", "accuracy", 0.125, 0.125, 0.09375);
    components_three(s, run, "text", "", "nll", 2, 2, 2.03125);
    assert_string_equal(results_query(s, "SELECT use FROM linear_use"), "- -");
    assert_string_equal(collapsed_of(s, run), "0");
    components_three(s, run, "niah", "", "accuracy", 0.9, 0.9, 0.1);
    assert_string_equal(collapsed_of(s, run), "1");
    components_three(s, run, "mqar", "", "accuracy", 0.125, 0, 0.09375);
    assert_string_equal(collapsed_of(s, run), "1");
    /* Neither do other slices, splits and metrics. */
    components_three(s, run, "niah", "within=16", "accuracy", 0.9, 0.1, 0.1);
    components_three(s, run, "niah", "pairs=8", "accuracy", 0.9, 0.1, 0.1);
    components_three(s, run, "text", "", "ppl", 9, 90, 99);
    assert_string_equal(collapsed_of(s, run), "1");
    hy_store_close(s);
}

static void without_all_three_nothing_is_said(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    static const char *const lacking[][2] = {{"window", "linear"}, {"none", "linear"}};
    for (int i = 0; i < 2; i++) {
        const int64_t run = add_seed(s, i);
        components_score(s, run, NULL, "mqar", "", "accuracy", 0.9);
        for (int k = 0; k < 2; k++)
            components_score(s, run, lacking[i][k], "mqar", "", "accuracy", 0.9);
        assert_string_equal(collapsed_of(s, run), "-");
    }
    const int64_t run = add_seed(s, 2);
    components_score(s, run, "window", "mqar", "", "accuracy", 0.9);
    components_score(s, run, "none", "mqar", "", "accuracy", 0.1);
    assert_string_equal(collapsed_of(s, run), "-");
    assert_string_equal(results_query(s, "SELECT collapsed FROM ratio_recall"), "-");
    hy_store_close(s);
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, results_enter, results_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(a_component_is_no_score_of_the_model),
        LAW(a_new_attempt_drops_what_components_scored),
        LAW(a_model_that_loses_nothing_without_its_linear_part_is_collapsed),
        LAW(what_is_worth_too_little_does_not_count),
        LAW(without_all_three_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
