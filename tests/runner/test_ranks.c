/* Ranks that fall silent, and what is said of runs that end badly. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "runner/lead/ranks.h"
#include "runner/rank/child_status.h"

static void the_silent_rank_is_lost_once_and_comes_back_when_it_asks(void **state)
{
    (void)state;
    struct hy_ranks *c;
    struct hy_err e;
    int lost;
    assert_int_equal(hy_ranks_new(3, 0.2, &c, &e), HY_OK);
    for (int rank = 0; rank < 3; rank++)
        hy_ranks_ready(c, rank);
    hy_ranks_set_run(c, 2, 7);
    assert_false(hy_ranks_is_idle(c, 2));
    do {
        usleep(1000);
        hy_ranks_hear(c, 1); /* rank 0 need not be heard */
        lost = hy_ranks_find_lost(c);
    } while (lost < 0);
    assert_int_equal(lost, 2);
    assert_int_equal(hy_ranks_find_lost(c), -1);
    assert_true(hy_ranks_is_lost(c, 2));
    assert_int_equal(hy_ranks_run(c, 2), 7);
    hy_ranks_ready(c, 2);
    assert_false(hy_ranks_is_lost(c, 2));
    assert_false(hy_ranks_is_idle(c, 2)); /* while it has a run */
    hy_ranks_set_run(c, 2, -1);
    hy_ranks_ready(c, 2);
    assert_true(hy_ranks_is_idle(c, 2));
    hy_ranks_free(c);
}

static void child_statuses_name_the_cause(void **state)
{
    (void)state;
    char words[] = "one\ntwo\nthree\nfour\n";
    const struct hy_buf said = {.data = words, .size = sizeof words - 1}, nothing = {0};
    const int killed = SIGKILL, failed = 3 << 8;
    const struct {
        struct hy_ending ending;
        const char *status, *reason;
    } cases[] = {
        {{0, "done", "", &nothing, HY_CAUSE_NONE, 0}, "done", ""},
        {{0, "done", "", &nothing, HY_CAUSE_STOP, 0}, "done", ""},
        {{0, "interrupted", "", &nothing, HY_CAUSE_STOP, 0}, "interrupted", "stopped by a signal"},
        {{killed, "", "", &nothing, HY_CAUSE_NONE, 0},
         "failed",
         "killed by SIGKILL (out of memory?)"},
        {{killed, "done", "", &nothing, HY_CAUSE_NONE, 0},
         "failed",
         "killed by SIGKILL (out of memory?)"},
        {{killed, "", "", &nothing, HY_CAUSE_TIMEOUT, 5}, "timeout", "not done after 5 s"},
        {{killed, "", "", &said, HY_CAUSE_SILENCE, 60},
         "failed",
         "killed: it reported nothing for 60 s: two three four"},
        {{failed, "", "", &said, HY_CAUSE_NONE, 0}, "failed", "two three four"},
        {{failed, "", "", &nothing, HY_CAUSE_NONE, 0}, "failed", "ended without a result"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reason[256];
        assert_string_equal(hy_child_status(&cases[i].ending, reason, sizeof reason),
                            cases[i].status);
        assert_string_equal(reason, cases[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_silent_rank_is_lost_once_and_comes_back_when_it_asks),
        cmocka_unit_test(child_statuses_name_the_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
