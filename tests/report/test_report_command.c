/* `hylas report` and `hylas status` as people call them. */
#include "tests/support/results.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static char output[16384];

/* Runs hylas with these arguments; its output and messages are in output, its exit code is given.
 */
static int hylas(const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "%s %s 2>&1", getenv("HYLAS"), arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    output[fread(output, 1, sizeof output - 1, pipe)] = 0;
    return WEXITSTATUS(pclose(pipe));
}

static void check_shows(const char *part)
{
    if (!strstr(output, part))
        fail_msg("no '%s' in\n%s", part, output);
}

static void make_database(void)
{
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const struct results_run runs[] = {
        {.variant = "gla", .ratio = "3:1", .status = "done", .recall_test = 0.5},
        {.variant = "gla", .ratio = "pure", .status = "failed", .reason = "out of memory"},
        {.variant = "gla", .ratio = "1:1"},
    };
    const int64_t sweep = results_sweep(s, "study");
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        results_add(s, sweep, &runs[i]);
    hy_store_close(s);
}

static void the_default_is_recall_by_ratio_as_text(void **state)
{
    (void)state;
    make_database();
    assert_int_equal(hylas("report x.db"), 0);
    check_shows("Recall on test data");
    check_shows("0.500 (1)");
    char first[sizeof output];
    strcpy(first, output);
    assert_int_equal(hylas("report x.db ratio-vs-recall --format text --sweep study"), 0);
    assert_string_equal(output, first);
    assert_int_equal(hylas("report --output t.txt x.db"), 0);
    assert_string_equal(output, "");
    FILE *file = fopen("t.txt", "r");
    output[fread(output, 1, sizeof output - 1, file)] = 0;
    fclose(file);
    assert_string_equal(output, first);
}

static void every_table_and_format_is_listed(void **state)
{
    (void)state;
    make_database();
    assert_int_equal(hylas("report --list"), 0);
    check_shows("ratio-vs-perplexity");
    check_shows("latex");
    assert_int_equal(hylas("report x.db pareto --format svg"), 0);
    check_shows("<svg ");
}

static void bad_input_names_what_is_wrong_and_what_is_near(void **state)
{
    (void)state;
    static const struct {
        const char *arguments;
        int code;
        const char *says;
    } cases[] = {
        {"report", 2, "the database is missing; usage: hylas report DB"},
        {"report x.db runs more", 2, "unexpected argument 'more'"},
        {"report x.db ratio-vs-recal", 2, "did you mean 'ratio-vs-recall'?"},
        {"report x.db qqqqqqqqqqqqqqqq", 2,
         "valid: components, layers, lr, memory, pareto, ratio-vs-perplexity"},
        {"report x.db memory --format svg", 2,
         "those with one: components, layers, pareto, "
         "ratio-vs-perplexity"},
        {"report x.db --format latx", 2, "did you mean 'latex'?"},
        {"report x.db --format", 2, "option --format needs a value"},
        {"report x.db --colour", 2, "unknown option --"},
        {"report x.db --sweep studdy", 2, "did you mean 'study'?"},
        {"report none.db", 3, "there is no database none.db"},
        {"report t.yaml", 3, "t.yaml is no hylas database"},
        {"report x.db -o none/t.md", 3, "cannot write none/t.md: No such file"},
        {"report x.db -o /dev/full", 3, "cannot write /dev/full: No space left"},
        {"status", 2, "the database is missing"},
        {"status x.db more", 2, "unexpected argument 'more'"},
        {"status --wait x.db", 2, "option --"},
        {"status none.db", 3, "there is no database none.db"},
        {"status t.yaml", 3, "t.yaml is no hylas database"},
    };
    make_database();
    assert_int_equal(system("echo 'name: a sweep file, which is no database at all' > t.yaml"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int code = hylas(cases[i].arguments);
        if (code != cases[i].code)
            fail_msg("hylas %s ends with %d:\n%s", cases[i].arguments, code, output);
        check_shows(cases[i].says);
    }
}

static void status_counts_runs_and_says_why_some_have_no_result(void **state)
{
    (void)state;
    make_database();
    assert_int_equal(hylas("status x.db"), 0);
    check_shows("sweep  runs  done  running  pending  interrupted  failed  timeout  diverged  "
                "pruned\n");
    check_shows(
        "study     3     1        0        1            0       1        0         0       0\n");
    check_shows("out of memory");
    check_shows("No sweep is running. The same `hylas run` goes on.");
}

/* A writer in another process: one run done, one on its way with 40 of 100 steps, one waiting. */
static pid_t start_sweep(int *ready)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
        const int64_t sweep = results_sweep(s, "study");
        const struct results_run done = {.variant = "gla", .ratio = "pure", .status = "done"};
        const struct results_run on_its_way = {
            .variant = "gla", .ratio = "3:1", .status = "running"};
        const struct results_run waiting = {.variant = "gla", .ratio = "1:1"};
        results_fact(s, results_add(s, sweep, &done), "wall_s", 7200);
        /* The run that waits is taken for the mean of two hours and half an hour. Batches of 4
         * sequences of 64: 60 steps are 15360 tokens, half an hour at this speed. */
        const struct hy_row row = {
            .type = HY_ROW_PROGRESS, .step = 40, .steps = 100, .value = 15360.0 / 1800};
        hy_store_row(s, results_add(s, sweep, &on_its_way), &row, NULL);
        results_add(s, sweep, &waiting);
        if (hy_store_flush(s, NULL) || write(ends[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    close(ends[1]);
    *ready = ends[0];
    return child;
}

static void status_of_a_sweep_that_runs_says_where_it_is_and_when_it_ends(void **state)
{
    (void)state;
    int ready;
    char byte;
    const pid_t child = start_sweep(&ready);
    assert_int_equal(read(ready, &byte, 1), 1);
    assert_int_equal(hylas("status x.db"), 0);
    check_shows("n01 rank 0  40/100");
    check_shows("30 min 00 s");
    check_shows("Ends in about 1 h 45 min: 1 running, 1 waiting.");
    assert_int_equal(hylas("report x.db"), 0);

    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready);
    assert_int_equal(hylas("status x.db"), 0);
    check_shows("No sweep is running: what is listed as running was cut off.");
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, results_enter, results_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(the_default_is_recall_by_ratio_as_text),
        LAW(every_table_and_format_is_listed),
        LAW(bad_input_names_what_is_wrong_and_what_is_near),
        LAW(status_counts_runs_and_says_why_some_have_no_result),
        LAW(status_of_a_sweep_that_runs_says_where_it_is_and_when_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
