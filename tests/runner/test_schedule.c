/* Laws of the schedule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runner/plan/schedule.h"

static void longest_runs_come_first_and_equal_ones_keep_their_order(void **state)
{
    (void)state;
    const double seconds[] = {1, 5, 3, 5, 2};
    const int expected[] = {1, 3, 2, 4, 0};
    int order[5];
    hy_schedule_order(seconds, 5, order);
    assert_memory_equal(order, expected, sizeof order);
}

static double makespan(const double *seconds, int count, int ranks)
{
    int order[16];
    double end = -1;
    hy_schedule_order(seconds, count, order);
    assert_int_equal(hy_schedule_makespan(seconds, order, count, ranks, &end, NULL), HY_OK);
    return end;
}

static void a_free_rank_takes_the_next_run(void **state)
{
    (void)state;
    const double seconds[] = {1, 5, 3, 5, 2};
    assert_float_equal(makespan(seconds, 5, 1), 16, 1e-12);
    /* 5 + 2 + 1 beside 5 + 3 */
    assert_float_equal(makespan(seconds, 5, 2), 8, 1e-12);
    assert_float_equal(makespan(seconds, 5, 5), 5, 1e-12);
}

static void surplus_ranks_and_no_runs_cost_nothing(void **state)
{
    (void)state;
    const double seconds[] = {4};
    assert_float_equal(makespan(seconds, 1, 1000000), 4, 0);
    assert_float_equal(makespan(seconds, 0, 3), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_runs_come_first_and_equal_ones_keep_their_order),
        cmocka_unit_test(a_free_rank_takes_the_next_run),
        cmocka_unit_test(surplus_ranks_and_no_runs_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
