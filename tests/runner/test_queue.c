/* The queue gives every run out once, longest first, and counts what became of each. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#include "core/base/keys.h"
#include "runner/lead/queue.h"

static void a_key_keeps_its_first_number(void **state)
{
    (void)state;
    struct hy_keys keys;
    char key[HY_HASH_TEXT];
    assert_int_equal(hy_keys_init(&keys, 100, NULL), HY_OK);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 100; i++) {
            hy_hash_bytes(&i, sizeof i, key);
            assert_int_equal(hy_keys_find(&keys, key), round ? i : -1);
            assert_int_equal(hy_keys_put(&keys, key, i + round), round ? i : -1);
        }
    hy_keys_release(&keys);
}

/* Three runs, of 1, 3 and 2 seconds. */
static struct hy_plan_run runs[3] = {
    {.seconds = 1, .source = -1}, {.seconds = 3, .source = -1}, {.seconds = 2, .source = -1}};
static const struct hy_plan plan = {.runs = runs, .count = 3};

static struct hy_queue *open_queue(void)
{
    struct hy_queue *r = NULL;
    assert_int_equal(hy_queue_new(&plan, &r, NULL), HY_OK);
    return r;
}

static void the_longest_run_that_waits_is_next(void **state)
{
    (void)state;
    struct hy_queue *r = open_queue();
    hy_queue_end(r, 2, "done");
    assert_int_equal(hy_queue_next(r), 1);
    assert_int_equal(hy_queue_next(r), 1);
    hy_queue_begin(r, 1);
    assert_false(hy_queue_is_empty(r));
    assert_int_equal(hy_queue_next(r), 0);
    hy_queue_begin(r, 0);
    assert_int_equal(hy_queue_next(r), -1);
    /* Tried again, it waits where it waited. */
    hy_queue_end(r, 1, "failed");
    hy_queue_wait(r, 1);
    assert_int_equal(hy_queue_next(r), 1);
    hy_queue_free(r);
}

static void a_run_counts_as_what_it_is_now(void **state)
{
    (void)state;
    struct hy_queue *r = open_queue();
    struct hy_progress p = hy_queue_progress(r, 1);
    assert_int_equal(p.total, 3);
    assert_int_equal(p.waiting, 3);
    assert_true(p.eta < 0);
    hy_queue_begin(r, 0);
    hy_queue_begin(r, 1);
    hy_queue_begin(r, 2);
    hy_queue_end(r, 0, "failed");
    hy_queue_wait(r, 0);
    hy_queue_end(r, 1, "diverged");
    hy_queue_end(r, 2, "done");
    p = hy_queue_progress(r, 1);
    assert_int_equal(p.waiting, 1);
    assert_int_equal(p.running, 0);
    assert_int_equal(p.failed, 0);
    assert_int_equal(p.diverged, 1);
    assert_int_equal(p.done, 1);
    assert_true(p.eta >= 0);
    hy_queue_begin(r, 0);
    hy_queue_end(r, 0, "timeout");
    p = hy_queue_progress(r, 1);
    assert_int_equal(p.waiting, 0);
    assert_int_equal(p.failed, 1);
    hy_queue_free(r);
}

static void a_run_waits_for_its_source(void **state)
{
    (void)state;
    static struct hy_plan_run all[] = {{.seconds = 9, .source = 2},
                                       {.seconds = 1, .source = -1},
                                       {.seconds = 2, .source = -1, .dependants = 1}};
    static const struct hy_plan hybrid = {.runs = all, .count = 3};
    struct hy_queue *r = NULL;
    assert_int_equal(hy_queue_new(&hybrid, &r, NULL), HY_OK);
    assert_true(hy_queue_is_held(r, 0));
    assert_int_equal(hy_queue_next(r), 2);
    hy_queue_begin(r, 2);
    hy_queue_end(r, 2, "failed");
    hy_queue_begin(r, 1);
    hy_queue_end(r, 1, "done");
    assert_true(hy_queue_is_held(r, 0));
    assert_int_equal(hy_queue_next(r), -1);
    assert_int_equal(hy_queue_progress(r, 1).held, 1);
    hy_queue_wait(r, 2);
    hy_queue_begin(r, 2);
    hy_queue_end(r, 2, "done");
    assert_false(hy_queue_is_held(r, 0));
    assert_int_equal(hy_queue_next(r), 0);
    hy_queue_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_keeps_its_first_number),
        cmocka_unit_test(the_longest_run_that_waits_is_next),
        cmocka_unit_test(a_run_counts_as_what_it_is_now),
        cmocka_unit_test(a_run_waits_for_its_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
