/* One call of a command fails, each in its turn: the outcome is an error that says so, or what the
 * command does when nothing fails. After a sweep the database is sound, and the same sweep again
 * completes it. Under sanitizers: no leak and no crash.
 *
 *     test_failures [N | all]     N times as many calls of each kind as usual, or every one
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>

#include "report/format.h"
#include "report/table.h"
#include "tests/inject/inject.h"
#include "tests/inject/program.h"
#include "tests/support/results.h"

static long often = 1; /* that many times the usual tries; 0: every call */

/* Measures the processor's speed, which takes longer than all else here. */
double __wrap_hy_gemm_peak(int precision);
double __wrap_hy_gemm_peak(int precision)
{
    (void)precision;
    return 1e10;
}

/* ---- Commands ---- */

/* What a command did. */
struct outcome {
    int code;
    char *out, *err; /* what it wrote */
    long calls;      /* of the kind that was armed */
};

static void forget(struct outcome *o)
{
    free(o->out);
    free(o->err);
}

/* Runs hylas, of whose calls of a kind the n-th fails; 0: none. */
static struct outcome hylas(const char *arguments, enum inject_kind kind, long n)
{
    char line[256], *argv[16] = {"hylas"}, *rest = NULL;
    int argc = 1;
    size_t size;
    struct outcome o = {0};
    FILE *const usual_out = stdout, *const usual_err = stderr;
    snprintf(line, sizeof line, "%s --quiet", arguments);
    for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    stdout = open_memstream(&o.out, &size);
    stderr = open_memstream(&o.err, &size);
    alarm(600); /* none may wait for ever */
    inject_arm(kind, n);
    o.code = hylas_main(argc, argv);
    o.calls = inject_disarm();
    alarm(0);
    fclose(stdout);
    fclose(stderr);
    stdout = usual_out;
    stderr = usual_err;
    return o;
}

static struct outcome succeed(const char *arguments, enum inject_kind kind)
{
    struct outcome o = hylas(arguments, kind, 0);
    if (o.code)
        fail_msg("hylas %s: %s", arguments, o.err);
    return o;
}

static void run_sweep(void)
{
    struct outcome o = succeed("run s.yaml -o s.db", INJECT_MEMORY);
    forget(&o);
}

/* From one call that fails to the next, where tries of them are enough. */
static long stride(long calls, long tries)
{
    return often && calls > tries * often ? calls / (tries * often) : 1;
}

/* ---- Sweeps ---- */

static void write_sweep(const char *isolate)
{
    FILE *file = fopen("s.yaml", "w");
    assert_non_null(file);
    fprintf(file,
            "data: {train: [{task: noop, points: 3}]}\n"
            "mixer: {variant: gla, ratio: pure}\n"
            "train: {steps: 4}\n"
            "stages: [{steps: 2, train: [mixers]}, {steps: 2, lora: {rank: 2, on: [q_proj]}}]\n"
            "run: {isolate: %s}\n"
            "matrix:\n"
            "  train.seed: [1, 2, 3]\n"
            "  train.batch: [2, 4]\n"
            "  exclude: [{train.seed: 3, train.batch: 2}, {train.seed: 2, train.batch: 4}]\n",
            isolate);
    assert_int_equal(fclose(file), 0);
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
        s, "SELECT integrity_check FROM pragma_integrity_check UNION ALL "
           "SELECT * FROM (SELECT json_array(key, sweep, name, status, seed, recall_test, "
           "recall_valid, version, length(config)) FROM results ORDER BY key) UNION ALL "
           "SELECT * FROM (SELECT json_array(key, history.name, step, value) FROM history "
           "JOIN results USING (run) ORDER BY key, history.name, step) UNION ALL "
           "SELECT * FROM (SELECT json_array(key, task, split, slice, metric, value) FROM "
           "slices JOIN results USING (run) ORDER BY key, task, split, slice, metric)"));
    hy_store_close(s);
    return text;
}

static void a_sweep_survives(enum inject_kind kind, long tries)
{
    clear();
    struct outcome good = succeed("run s.yaml -o s.db", kind);
    assert_true(good.calls > 0);
    char *expected = read_results();
    for (long n = 1; n <= good.calls; n += stride(good.calls, tries)) {
        clear();
        struct outcome o = hylas("run s.yaml -o s.db", kind, n);
        if (o.code && !*o.err)
            fail_msg("%s %ld: an error that says nothing", inject_names[kind], n);
        struct outcome again = hylas("run s.yaml -o s.db", kind, 0);
        if (again.code)
            fail_msg("%s %ld: %s\nand it cannot go on: %s", inject_names[kind], n, o.err,
                     again.err);
        char *found = read_results();
        if (strcmp(found, expected))
            fail_msg("%s %ld: %s\ngives %s\ninstead of %s", inject_names[kind], n, o.err, found,
                     expected);
        free(found);
        forget(&again);
        forget(&o);
    }
    printf("%ld calls: %s (%zu)\n", good.calls, inject_names[kind], strlen(expected));
    free(expected);
    forget(&good);
}

static void sweeps_of_threads_survive(void **state)
{
    (void)state;
    write_sweep("none");
    for (int kind = 0; kind < INJECT_KINDS; kind++)
        a_sweep_survives((enum inject_kind)kind, 40);
}

/* Calls of the rank: its trials are processes of their own. */
static void sweeps_of_processes_survive(void **state)
{
    (void)state;
    write_sweep("process");
    a_sweep_survives(INJECT_MEMORY, 10);
    a_sweep_survives(INJECT_FILES, 10);
}

/* The keys of all runs, or of those that are done; "" of a database that the failure left unmade.
 */
static void read_keys(const char *condition, char *keys, size_t size)
{
    struct hy_store *s;
    struct hy_err e;
    char query[128];
    *keys = 0;
    if (hy_store_open("s.db", HY_STORE_READ, &s, &e))
        return;
    snprintf(query, sizeof query, "SELECT group_concat(key, ' ') FROM results WHERE %s", condition);
    snprintf(keys, size, "%s", results_query(s, query));
    hy_store_close(s);
}

static void expect_checkpoints(const char *keys, const char *done)
{
    char list[512], path[128], *rest = NULL;
    snprintf(list, sizeof list, "%s", keys);
    for (char *key = strtok_r(list, " ", &rest); key; key = strtok_r(NULL, " ", &rest)) {
        snprintf(path, sizeof path, "s.db.ckpt/%s.safetensors", key);
        if (!strstr(done, key) && access(path, F_OK))
            fail_msg("%s is not done, and its checkpoint is gone", key);
    }
}

/* A result that the store could not keep is trained for again, but not from its beginning. */
static void checkpoints_outlive_what_is_not_kept(void **state)
{
    (void)state;
    char keys[512], done[512], command[1024];
    clear();
    write_sweep("none");
    struct outcome good = succeed("run s.yaml -o s.db", INJECT_SQLITE_FILES);
    read_keys("1", keys, sizeof keys);
    assert_true(*keys);
    snprintf(command, sizeof command,
             "mkdir s.db.ckpt && for key in %s; do touch s.db.ckpt/$key.safetensors; done", keys);
    for (long n = 1; n <= good.calls; n += stride(good.calls, 100)) {
        clear();
        assert_int_equal(system(command), 0);
        struct outcome o = hylas("run s.yaml -o s.db", INJECT_SQLITE_FILES, n);
        read_keys("status = 'done'", done, sizeof done);
        expect_checkpoints(keys, done);
        forget(&o);
    }
    forget(&good);
}

/* ---- Other commands ---- */

/* With a single failing call the command writes what it writes without one, or says what failed. */
static void is_right_or_none(const char *arguments, int code, long tries)
{
    for (int k = 0; k < INJECT_KINDS; k++) {
        const enum inject_kind kind = (enum inject_kind)k;
        struct outcome good = hylas(arguments, kind, 0);
        if (good.code != code)
            fail_msg("hylas %s: code %d, %s", arguments, good.code, good.err);
        for (long n = 1; n <= good.calls; n += stride(good.calls, tries)) {
            struct outcome o = hylas(arguments, kind, n);
            if (o.code ? !*o.err : code || strcmp(o.out, good.out))
                fail_msg("hylas %s, %s %ld: code %d, %s%s\ninstead of %s%s", arguments,
                         inject_names[kind], n, o.code, o.out, o.err, good.out, good.err);
            forget(&o);
        }
        forget(&good);
    }
}

static void reports_are_right_or_none(void **state)
{
    (void)state;
    char arguments[128];
    clear();
    write_sweep("none");
    run_sweep();
    for (int t = 0; hy_tables[t]; t++)
        for (const struct hy_format *format = hy_formats; format->name; format++) {
            if (format->draws && !hy_tables[t]->plots)
                continue;
            snprintf(arguments, sizeof arguments, "report s.db %s -f %s", hy_tables[t]->name,
                     format->name);
            is_right_or_none(arguments, 0, 6);
        }
    is_right_or_none("report s.db --sweep s -o t.txt", 0, 40);
    is_right_or_none("status s.db", 0, 40);
}

/* Runs that start from others, in stages, with every sort of layer. */
static void write_hybrid(void)
{
    FILE *file = fopen("h.yaml", "w");
    assert_non_null(file);
    fputs("model: {d_model: 16, layers: 3, heads: 2, mlp: 16}\n"
          "mixer: {variant: gla, expand_k: 1, expand_v: 1}\n"
          "kinds:\n"
          "  both: {parallel: [softmax, {variant: gated_deltanet, expand_v: 1}], combine: gate,\n"
          "    share: qkvo}\n"
          "layers: {list: [linear, both, full]}\n"
          "init: {from: {layers.list: [full, full, full]}, map: {lm_head.weight: null}}\n"
          "stages:\n"
          "  - {objective: [output, {name: logits, temperature: 2}], train: [mixers, '*_norm*']}\n"
          "  - {lora: {rank: 2, on: [q_proj, '*_proj']}}\n"
          "data: {train: [{task: mqar, vocab: 16, pairs: [2], examples: 4}]}\n"
          "train: {steps: 2, batch: 2, seq_len: 16}\n",
          file);
    assert_int_equal(fclose(file), 0);
}

static void plans_are_right_or_none(void **state)
{
    (void)state;
    clear();
    write_hybrid();
    is_right_or_none("plan h.yaml -o h.db", 0, 20);
    write_sweep("none");
    is_right_or_none("plan s.yaml -o s.db", 0, 40);
    run_sweep();
    is_right_or_none("plan s.yaml -o s.db -n 2", 0, 40);
    is_right_or_none("plan s.yaml -o s.db --format csv --set train.lr=1e-2", 0, 40);
}

/* Where there is no mpirun to start, so that all of it fails here. */
static void launches_end_with_a_word(void **state)
{
    (void)state;
    char *path = strdup(getenv("PATH"));
    clear();
    write_sweep("none");
    setenv("PATH", "/none", 1);
    is_right_or_none("launch -n 2 s.yaml -o s.db", HY_E_ENV, 20);
    setenv("PATH", path, 1);
    free(path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweeps_of_threads_survive),
        cmocka_unit_test(sweeps_of_processes_survive),
        cmocka_unit_test(checkpoints_outlive_what_is_not_kept),
        cmocka_unit_test(reports_are_right_or_none),
        cmocka_unit_test(plans_are_right_or_none),
        cmocka_unit_test(launches_end_with_a_word),
    };
    if (argc > 1 && !strcmp(argv[1], "trial")) /* started by a rank of a sweep below */
        return hylas_main(argc, argv);
    if (argc > 1) /* "all" is 0 */
        often = atol(argv[1]);
    inject_install();
    return cmocka_run_group_tests(tests, results_enter, results_leave);
}
