/* One call of a sweep fails, then one of a report, each in its turn: the outcome is an error that
 * says so or the right result; the database is sound, and the next sweep completes it. Under
 * sanitizers: no leak and no crash.
 *
 *     test_failures [all]     all: every call instead of some of each kind
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>

#include "core/base/log.h"
#include "report/format.h"
#include "report/table.h"
#include "runner/run.h"
#include "tests/inject/inject.h"
#include "tests/support/results.h"

static long tries = 40; /* of each kind; 0: all */

/* Measures the processor's speed, which takes longer than all else here. */
double __wrap_hy_gemm_peak(int precision);
double __wrap_hy_gemm_peak(int precision)
{
    (void)precision;
    return 1e10;
}

static const char sweep_text[] = "data: {train: [{task: noop, points: 3}]}\n"
                                 "mixer: {variant: gla, ratio: pure}\n"
                                 "train: {steps: 4}\n"
                                 "run: {isolate: none}\n"
                                 "matrix: {train.seed: [1, 2]}\n";

static int run_sweep(struct hy_err *e)
{
    const struct hy_run_request request = {
        .sweep = "s.yaml", .database = "s.db", .version = "1", .patience = 60};
    *e = (struct hy_err){0};
    return hy_run_sweep(&request, e);
}

static void clear(void)
{
    assert_int_equal(system("rm -rf s.db*"), 0);
}

/* All that a sweep is for, as one text. */
static char *read_results(void)
{
    struct hy_store *s = results_open("s.db", HY_STORE_READ);
    char *text = strdup(results_query(
        s, "SELECT (SELECT integrity_check FROM pragma_integrity_check) || "
           "(SELECT group_concat(seed || status || recall_test || recall_valid) FROM "
           "(SELECT * FROM results ORDER BY seed)) || "
           "(SELECT group_concat(run || name || step || value) FROM (SELECT * FROM history "
           "JOIN results USING (run) ORDER BY seed, history.name, step))"));
    hy_store_close(s);
    return text;
}

/* Steps through the calls of a kind, of which a run without failures makes so many. */
static long stride(long calls)
{
    return tries && calls > tries ? calls / tries : 1;
}

static void a_sweep_survives(enum inject_kind kind)
{
    struct hy_err e;
    clear();
    inject_arm(kind, 0);
    const int rc = run_sweep(&e);
    const long calls = inject_disarm();
    if (rc)
        fail_msg("%s", e.text);
    assert_true(calls > 0);
    char *expected = read_results();
    for (long n = 1; n <= calls; n += stride(calls)) {
        clear();
        alarm(60);
        inject_arm(kind, n);
        const int failed = run_sweep(&e);
        inject_disarm();
        if (failed && !e.text[0])
            fail_msg("%s %ld: an error that says nothing", inject_names[kind], n);
        if (run_sweep(&e))
            fail_msg("%s %ld: cannot go on: %s", inject_names[kind], n, e.text);
        char *found = read_results();
        if (strcmp(found, expected))
            fail_msg("%s %ld: %s\ninstead of %s", inject_names[kind], n, found, expected);
        free(found);
    }
    alarm(0);
    printf("sweep: %ld calls (%s)\n", calls, inject_names[kind]);
    free(expected);
}

/* A table in a format, as `hylas report` makes it. */
static int report(const struct hy_table *table, const struct hy_format *format, struct hy_buf *out,
                  struct hy_err *e)
{
    struct hy_store *s = NULL;
    struct hy_grid grid = {0};
    *e = (struct hy_err){0};
    int rc = hy_store_open("s.db", HY_STORE_READ, &s, e);
    if (!rc)
        rc = table->fill(s, NULL, &grid, e);
    if (!rc && hy_grid_failed(&grid))
        rc = hy_fail_memory(e);
    if (!rc)
        format->write(&grid, out);
    if (!rc && hy_buf_failed(out))
        rc = hy_fail_memory(e);
    hy_grid_release(&grid);
    hy_store_close(s);
    return rc;
}

static void a_report_is_right_or_none(const struct hy_table *table, const struct hy_format *format,
                                      enum inject_kind kind)
{
    struct hy_buf expected = {0};
    struct hy_err e;
    inject_arm(kind, 0);
    const int rc = report(table, format, &expected, &e);
    const long calls = inject_disarm();
    if (rc)
        fail_msg("%s", e.text);
    const long step = tries ? calls / 8 + 1 : 1; /* tables by formats are many */
    for (long n = 1; n <= calls; n += step) {
        struct hy_buf found = {0};
        inject_arm(kind, n);
        const int failed = report(table, format, &found, &e);
        inject_disarm();
        if (failed ? !e.text[0] : strcmp(found.data, expected.data) != 0)
            fail_msg("%s, %s, %s %ld: %s", table->name, format->name, inject_names[kind], n,
                     failed ? "an error that says nothing" : found.data);
        hy_buf_release(&found);
    }
    hy_buf_release(&expected);
}

static void sweeps_survive_failed_allocations(void **state)
{
    (void)state;
    a_sweep_survives(INJECT_MEMORY);
}

static void sweeps_survive_failed_file_operations(void **state)
{
    (void)state;
    a_sweep_survives(INJECT_FILES);
}

static void sweeps_survive_failed_allocations_of_sqlite(void **state)
{
    (void)state;
    a_sweep_survives(INJECT_SQLITE_MEMORY);
}

static void sweeps_survive_failed_file_operations_of_sqlite(void **state)
{
    (void)state;
    a_sweep_survives(INJECT_SQLITE_FILES);
}

static void reports_are_right_or_none(void **state)
{
    (void)state;
    struct hy_err e;
    clear();
    if (run_sweep(&e))
        fail_msg("%s", e.text);
    for (int t = 0; hy_tables[t]; t++)
        for (int f = 0; hy_formats[f].name; f++)
            for (int kind = 0; kind < INJECT_KINDS; kind++)
                if (hy_tables[t]->plots || !hy_formats[f].draws)
                    a_report_is_right_or_none(hy_tables[t], &hy_formats[f], (enum inject_kind)kind);
}

static int enter(void **state)
{
    FILE *file;
    if (results_enter(state) || !(file = fopen("s.yaml", "w")))
        return -1;
    fputs(sweep_text, file);
    return fclose(file);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweeps_survive_failed_allocations),
        cmocka_unit_test(sweeps_survive_failed_file_operations),
        cmocka_unit_test(sweeps_survive_failed_allocations_of_sqlite),
        cmocka_unit_test(sweeps_survive_failed_file_operations_of_sqlite),
        cmocka_unit_test(reports_are_right_or_none),
    };
    if (argc > 1 && !strcmp(argv[1], "all"))
        tries = 0;
    hy_log_set_level(HY_LOG_QUIET);
    inject_install();
    return cmocka_run_group_tests(tests, enter, results_leave);
}
