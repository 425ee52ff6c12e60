/* The store keeps what it acknowledged, has one writer, and never stands in a reader's way. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/results.h"

static const struct results_run gla = {.variant = "gla", .ratio = "3:1"};

static void put(struct hy_store *s, int64_t run, int64_t step, const char *name, double value)
{
    const struct hy_row row = {.type = HY_ROW_HISTORY, .step = step, .name = name, .value = value};
    assert_int_equal(hy_store_row(s, run, &row, NULL), 0);
}

static void shell(const char *command)
{
    assert_int_equal(system(command), 0);
}

static void public_views_keep_their_columns(void **state)
{
    (void)state;
    static const char *const views[][2] = {
        {"results", "run key sweep name status variant ratio placement layout linear_layers "
                    "full_layers d_model layers heads params seed lr ppl_valid ppl_test bpb_test "
                    "recall_valid recall_test cache_bytes state_bytes train_bytes peak_rss_bytes "
                    "flops_per_token tokens tokens_per_s wall_s host device version config source "
                    "stages kinds selected_by collapsed"},
        {"layers", "run layer kind variant metric value"},
        {"stage_history", "run stage name objective first_step last_step trained_params "
                          "optimizer_bytes train_bytes flops_per_token loss"},
        {"history", "run step name value"},
        {"slices", "run task split slice metric value"},
        {"components", "run component task split slice metric value delta"},
        {"linear_use", "run task slice metric full window linear none use unused"},
        {"progress", "run name status reason attempts host rank started ended step steps "
                     "tokens_per_s updated left_s"},
        {"rates", "sweep cell variant ratio lr runs n diverged failed open recall_valid ppl_valid "
                  "chosen edge pruned label collapsed"},
        {"cells", "sweep run cell setting"},
        {"selection", "run sweep method tolerance budget seed lr variant layout full_layers met "
                      "given_back reference ppl_test recall_test cache_bytes ppl_ratio recall_diff "
                      "cache_ratio chosen label cell start collapsed"},
        {"ratio_recall",
         "sweep variant ratio placement linear_layers full_layers d_model layers heads lr lr_edge "
         "n recall_test recall_test_ci95 ppl_test ppl_test_ci95 cache_bytes runs failed open "
         "failure cell setting pruned label collapsed"},
    };
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        char sql[96];
        snprintf(sql, sizeof sql, "SELECT name FROM pragma_table_info('%s')", views[i][0]);
        assert_string_equal(results_query(s, sql), views[i][1]);
    }
    hy_store_close(s);
}

static void written_twice_is_written_once(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    for (int pass = 0; pass < 2; pass++) {
        const int64_t run = results_add(s, results_sweep(s, "a"), &gla);
        put(s, run, 10, "train.loss", 3 - pass);
        put(s, run, 10, "train.loss", 3 - pass);
        results_fact(s, run, "params", 100 + pass);
        results_fact(s, run, "params", 100 + pass);
        const struct hy_row slice = {.type = HY_ROW_SLICE,
                                     .task = "mqar",
                                     .split = "test",
                                     .slice = "pairs=8",
                                     .name = "accuracy",
                                     .value = pass};
        assert_int_equal(hy_store_row(s, run, &slice, NULL), 0);
        assert_int_equal(hy_store_row(s, run, &slice, NULL), 0);
        hy_store_close(s);
        s = results_open("x.db", HY_STORE_WRITE);
    }
    assert_string_equal(results_query(s, "SELECT count(*) FROM results"), "1");
    assert_string_equal(results_query(s, "SELECT params FROM results"), "101");
    assert_string_equal(results_query(s, "SELECT name || value FROM history"), "train.loss2.0");
    assert_string_equal(results_query(s, "SELECT metric || value FROM slices"), "accuracy1.0");
    hy_store_close(s);
}

/* What a run says of a layer, at first and once it knows better. */
static void a_layer_becomes_what_was_decided(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = results_add(s, results_sweep(s, "a"), &gla);
    static const char *const said[][2] = {{"linear", "gla"}, {"full", "softmax"}};
    for (int i = 0; i < 2; i++) {
        const struct hy_row row = {.type = HY_ROW_LAYER,
                                   .step = 2,
                                   .task = said[i][0],
                                   .split = said[i][1],
                                   .name = "params",
                                   .value = 7 + i};
        assert_int_equal(hy_store_row(s, run, &row, NULL), 0);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "2 %s %s %d.0", said[i][0], said[i][1], 7 + i);
        assert_string_equal(results_query(s, "SELECT layer || ' ' || kind || ' ' || variant || ' ' "
                                             "|| value FROM layers"),
                            wanted);
    }
    hy_store_close(s);
}

static void what_is_not_finite_is_null(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = results_add(s, results_sweep(s, "a"), &gla);
    put(s, run, 1, "a", NAN);
    put(s, run, 2, "a", INFINITY);
    put(s, run, 3, "a", 1);
    assert_string_equal(results_query(s, "SELECT value FROM history"), "- - 1.0");
    hy_store_close(s);
}

static void an_attempt_replaces_what_it_computes_again(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = results_add(s, results_sweep(s, "a"), &gla);
    hy_store_begin_run(s, run, "n01", 0, NULL);
    results_fact(s, run, "tokens", 7);
    for (int step = 100; step <= 500; step += 100)
        put(s, run, step, "train.loss", 1);
    /* The second attempt resumes behind step 200. */
    hy_store_begin_run(s, run, "n02", 1, NULL);
    put(s, run, 300, "train.loss", 2);
    put(s, run, 300, "train.lr", 3);
    assert_string_equal(results_query(s, "SELECT step || ':' || value FROM history"),
                        "100:1.0 200:1.0 300:2.0 300:3.0");
    assert_string_equal(results_query(s, "SELECT tokens FROM results"), "-");
    assert_string_equal(results_query(s, "SELECT attempts || host FROM progress"), "2n02");
    hy_store_close(s);
}

static void a_run_of_two_sweeps_is_one_run(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    struct results_run run = gla;
    run.status = "done";
    const int64_t first = results_add(s, results_sweep(s, "a"), &run);
    assert_int_equal(results_add(s, results_sweep(s, "b"), &gla), first);
    assert_string_equal(results_query(s, "SELECT sweep || status FROM results"), "adone");
    assert_string_equal(results_query(s, "SELECT sweep FROM cells ORDER BY sweep"), "a b");
    hy_store_close(s);
}

static void what_is_no_longer_planned_and_never_began_leaves(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    struct results_run failed = {.variant = "retnet", .ratio = "pure", .status = "failed"};
    const int64_t sweep = results_sweep(s, "a");
    results_add(s, sweep, &gla);
    results_add(s, sweep, &failed);
    assert_int_equal(results_sweep(s, "a"), sweep);
    assert_string_equal(results_query(s, "SELECT variant FROM results"), "retnet");
    hy_store_close(s);
}

static void a_second_writer_is_refused_by_the_name_of_the_first(void **state)
{
    (void)state;
    struct hy_store *first = results_open("x.db", HY_STORE_WRITE), *second = NULL;
    char holder[64];
    snprintf(holder, sizeof holder, "process %ld on ", (long)getpid());
    struct hy_err e = {0};
    assert_int_equal(hy_store_open("x.db", HY_STORE_WRITE, &second, &e), HY_E_ENV);
    assert_null(second);
    assert_non_null(strstr(e.text, holder));
    assert_int_equal(access("x.db-lock", F_OK), 0);
    hy_store_close(first);
    assert_int_not_equal(access("x.db-lock", F_OK), 0);
    hy_store_close(results_open("x.db", HY_STORE_WRITE));
}

/* In a child: flushes 1000 rows, says so, and writes on without flushing until it is killed. */
static pid_t start_writer(int *ready)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct hy_store *s = NULL;
        int64_t sweep, run;
        char status[16];
        const struct hy_run_facts facts = {
            .key = "k", .title = "t", .variant = "gla", .ratio = "pure", .config = "{}"};
        if (hy_store_open("x.db", HY_STORE_WRITE, &s, NULL) ||
            hy_store_add_sweep(s, "a", "", "", &sweep, NULL) ||
            hy_store_add_run(s, sweep, &facts, &run, status, NULL) ||
            hy_store_begin_run(s, run, "n01", 0, NULL))
            _exit(1);
        for (int64_t step = 0;; step++) {
            const struct hy_row row = {.type = HY_ROW_HISTORY, .step = step, .name = "x"};
            if (hy_store_row(s, run, &row, NULL))
                _exit(1);
            if (step == 999 && (hy_store_flush(s, NULL) || write(ends[1], "x", 1) != 1))
                _exit(1);
        }
    }
    close(ends[1]);
    *ready = ends[0];
    return child;
}

static void a_commit_is_on_the_disk_before_it_returns(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    assert_string_equal(results_query(s, "PRAGMA synchronous"), "2");
    assert_string_equal(results_query(s, "PRAGMA journal_mode"), "wal");
    assert_string_equal(results_query(s, "PRAGMA foreign_keys"), "1");
    hy_store_close(s);
}

static void a_killed_writer_loses_nothing_it_flushed(void **state)
{
    (void)state;
    int ready;
    char byte;
    const pid_t child = start_writer(&ready);
    assert_int_equal(read(ready, &byte, 1), 1);
    usleep(20000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready);

    struct hy_store *s = results_open("x.db", HY_STORE_READ);
    assert_string_equal(results_query(s, "SELECT status FROM results"), "running");
    hy_store_close(s);
    s = results_open("x.db", HY_STORE_WRITE);
    assert_string_equal(results_query(s, "PRAGMA integrity_check"), "ok");
    assert_string_equal(results_query(s, "SELECT count(*) FROM history"), "1000");
    assert_string_equal(results_query(s, "SELECT status FROM results"), "interrupted");
    assert_string_equal(results_query(s, "SELECT attempts.status FROM attempts JOIN progress "
                                         "USING (run) WHERE attempts.ended = updated"),
                        "interrupted");
    hy_store_close(s);
}

static void every_attempt_is_kept_with_its_reason(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = results_add(s, results_sweep(s, "a"), &gla);
    struct hy_err e;
    assert_int_equal(hy_store_begin_run(s, run, "n1", 0, &e), 0);
    assert_int_equal(hy_store_end_run(s, run, "failed", "killed by SIGSEGV", &e), 0);
    /* An end without a beginning is no attempt. */
    assert_int_equal(hy_store_end_run(s, run, "interrupted", "stopped", &e), 0);
    assert_int_equal(hy_store_begin_run(s, run, "n2", 3, &e), 0);
    assert_int_equal(hy_store_end_run(s, run, "done", NULL, &e), 0);
    assert_string_equal(
        results_query(s, "SELECT group_concat(attempt || status || coalesce(reason, '') || host || "
                         "rank, ' ') FROM attempts WHERE ended >= started AND attempt >= "
                         "(SELECT attempts - 1 FROM progress)"),
        "1failedkilled by SIGSEGVn10 2donen23");
    hy_store_close(s);
}

/* Files may grow no further: what a full disk is to SQLite. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void nothing_is_written_after_a_write_that_failed(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    struct hy_err e = {0};
    const int64_t run = results_add(s, results_sweep(s, "a"), &gla);
    assert_int_equal(hy_store_begin_run(s, run, "n1", 0, &e), 0);
    assert_int_equal(hy_store_flush(s, &e), 0);
    results_fact(s, run, "params", 100);
    limit_files(4096);
    assert_int_equal(hy_store_flush(s, &e), HY_E_ENV);
    limit_files(RLIM_INFINITY);
    assert_non_null(strstr(e.text, "cannot write x.db"));
    /* The fact is lost, so the run must not be done. */
    assert_int_equal(hy_store_end_run(s, run, "done", NULL, &e), HY_E_ENV);
    assert_int_equal(hy_store_flush(s, &e), HY_E_ENV);
    assert_non_null(strstr(e.text, "cannot write x.db"));
    hy_store_close(s);
    s = results_open("x.db", HY_STORE_WRITE);
    assert_string_equal(results_query(s, "SELECT status FROM results"), "interrupted");
    assert_string_equal(results_query(s, "SELECT count(*) FROM facts"), "0");
    hy_store_close(s);
}

static void a_database_that_vanished_is_noticed(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    struct hy_err e = {0};
    results_add(s, results_sweep(s, "a"), &gla);
    assert_int_equal(hy_store_flush(s, &e), 0);
    results_add(s, results_sweep(s, "b"), &gla);
    shell("mv x.db y.db");
    assert_int_equal(hy_store_flush(s, &e), HY_E_ENV);
    assert_non_null(strstr(e.text, "x.db was moved or deleted"));
    hy_store_close(s);
}

static void a_damaged_database_is_refused_by_a_writer(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    struct hy_err e = {0};
    char sql[96], command[160];
    const int64_t run = results_add(s, results_sweep(s, "a"), &gla);
    for (int step = 0; step < 1000; step++)
        put(s, run, step, "train.loss", step);
    hy_store_close(s);
    /* The last page that holds points of the curve, which opening the store never reads. */
    s = results_open("x.db", HY_STORE_READ);
    snprintf(sql, sizeof sql, "SELECT max(pageno) FROM dbstat WHERE name = 'point'");
    snprintf(command, sizeof command,
             "dd if=/dev/urandom of=x.db bs=4096 seek=$((%s - 1)) count=1 conv=notrunc 2>dd.log",
             results_query(s, sql));
    hy_store_close(s);
    shell(command);
    s = NULL;
    assert_int_equal(hy_store_open("x.db", HY_STORE_WRITE, &s, &e), HY_E_ENV);
    assert_null(s);
    if (!strstr(e.text, "x.db is damaged") && !strstr(e.text, "malformed"))
        fail_msg("'%s'", e.text);
    assert_non_null(strstr(e.text, "restore it from a copy"));
}

static void a_reader_sees_what_is_flushed_while_another_process_writes(void **state)
{
    (void)state;
    int ready;
    char byte;
    const pid_t child = start_writer(&ready);
    assert_int_equal(read(ready, &byte, 1), 1);
    for (int i = 0; i < 20; i++) {
        struct hy_store *s = results_open("x.db", HY_STORE_READ);
        assert_string_equal(results_query(s, "SELECT count(*) FROM history"), "1000");
        hy_store_close(s);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready);
}

static void a_reader_cannot_write(void **state)
{
    (void)state;
    hy_store_close(results_open("x.db", HY_STORE_WRITE));
    struct hy_store *s = results_open("x.db", HY_STORE_READ);
    struct hy_err e = {0};
    int64_t sweep = -1;
    assert_int_equal(hy_store_add_sweep(s, "a", "", "", &sweep, &e), HY_E_ENV);
    assert_int_equal(sweep, -1);
    assert_int_equal(hy_store_query(s, "DELETE FROM run", 0, NULL, NULL, NULL, &e), HY_E_ENV);
    hy_store_close(s);
}

static void what_is_no_database_of_ours_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *make, *path;
        enum hy_store_mode mode;
        const char *says;
    } cases[] = {
        {":", "none.db", HY_STORE_READ, "there is no database none.db"},
        {":", "none/x.db", HY_STORE_WRITE, "none/x.db-lock: No such file"},
        {"mkdir dir", "dir", HY_STORE_READ, "cannot open dir"},
        {"echo name: x, a sweep file and no database, not at all > x.yaml", "x.yaml", HY_STORE_READ,
         "x.yaml is no hylas database"},
        {":", "x.yaml", HY_STORE_WRITE, "x.yaml is no hylas database"},
        {": > empty.db", "empty.db", HY_STORE_READ, "it is empty"},
        {"sqlite3 their.db 'CREATE TABLE t (a)'", "their.db", HY_STORE_READ, "another program"},
        {":", "their.db", HY_STORE_WRITE, "another program"},
        {":", "their.db", HY_STORE_LOOK, "another program"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hy_store *s = NULL;
        struct hy_err e = {0};
        shell(cases[i].make);
        assert_int_equal(hy_store_open(cases[i].path, cases[i].mode, &s, &e), HY_E_ENV);
        assert_null(s);
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].says);
    }
    shell("test $(sqlite3 their.db .tables) = t && test ! -e none.db");
}

static void what_is_empty_or_not_there_yet_has_no_runs_for_those_who_look(void **state)
{
    (void)state;
    static const char *const paths[] = {"none.db", "empty.db"};
    shell(": > empty.db");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct hy_store *s = results_open(paths[i], HY_STORE_LOOK);
        assert_string_equal(results_query(s, "SELECT count(*) FROM results"), "0");
        hy_store_close(s);
    }
    shell("test $(ls) = empty.db && test ! -s empty.db");
    hy_store_close(results_open("empty.db", HY_STORE_WRITE));
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
    (void)state;
    hy_store_close(results_open("x.db", HY_STORE_WRITE));
    shell("sqlite3 x.db 'PRAGMA user_version = 1000'");
    for (int mode = HY_STORE_READ; mode <= HY_STORE_WRITE; mode++) {
        struct hy_store *s = NULL;
        struct hy_err e = {0};
        assert_int_equal(hy_store_open("x.db", mode, &s, &e), HY_E_ENV);
        assert_non_null(strstr(e.text, "schema version 1000"));
        assert_non_null(strstr(e.text, "use a newer hylas"));
    }
}

/* A database of schema version 1 with one run, and a view that later versions do not have. */
static void make_version_1(void)
{
    shell("sqlite3 x.db <\"$HYLAS_SOURCE/db/schema.sql\" && sqlite3 x.db '"
          "PRAGMA application_id = 0x68796c61; PRAGMA user_version = 1;"
          "INSERT INTO sweep VALUES (1, \"a\", \"\", \"0.1\", 0);"
          "INSERT INTO run (id, key, title, variant, ratio, linear_layers, full_layers, d_model,"
          " layers, heads, seed, lr, config, status)"
          " VALUES (7, \"k\", \"t\", \"gla\", \"pure\", 4, 0, 64, 4, 2, 0, 0.1, \"{}\", \"done\");"
          "INSERT INTO sweep_run VALUES (1, 7); INSERT INTO facts VALUES (7, \"params\", 9, NULL);"
          "INSERT INTO run (id, key, title, variant, ratio, linear_layers, full_layers, d_model,"
          " layers, heads, seed, lr, config, status, attempts, host, started)"
          " SELECT 8, \"l\", title, variant, ratio, linear_layers, full_layers, d_model, layers,"
          " heads, 1, lr, config, \"failed\", 3, \"n1\", 10 FROM run;"
          "CREATE VIEW results AS SELECT 1 AS gone; PRAGMA journal_mode = WAL'");
}

static const char *read_version_1(struct hy_store *s)
{
    return results_query(s, "SELECT sweep || run || status || params FROM results JOIN cells "
                            "USING (run, sweep)");
}

static void an_older_schema_is_brought_up_to_date_and_keeps_its_rows(void **state)
{
    (void)state;
    make_version_1();
    hy_store_close(results_open("x.db", HY_STORE_WRITE));
    struct hy_store *s = results_open("x.db", HY_STORE_READ);
    assert_string_equal(read_version_1(s), "a7done9");
    assert_string_equal(results_query(s, "SELECT run || attempt || status || host FROM attempts"),
                        "83failedn1");
    assert_string_equal(results_query(s, "PRAGMA integrity_check"), "ok");
    assert_string_equal(results_query(s, "PRAGMA foreign_key_check"), "");
    hy_store_close(s);
}

static void a_reader_understands_an_older_schema_and_leaves_it_alone(void **state)
{
    (void)state;
    make_version_1();
    shell("cp x.db before.db");
    struct hy_store *s = results_open("x.db", HY_STORE_READ);
    struct hy_err e = {0};
    assert_string_equal(read_version_1(s), "a7done9");
    assert_int_equal(hy_store_query(s, "DELETE FROM run", 0, NULL, NULL, NULL, &e), HY_E_ENV);
    hy_store_close(s);
    shell("cmp x.db before.db");
}

static void a_database_in_a_read_only_folder_can_be_read(void **state)
{
    (void)state;
    assert_int_equal(mkdir("100% safe?#", 0777), 0);
    struct hy_store *s = results_open("100% safe?#/x.db", HY_STORE_WRITE);
    results_add(s, results_sweep(s, "a"), &gla);
    hy_store_close(s);
    shell("chmod 755 . && chmod a-w '100% safe?#' '100% safe?#/x.db'");
    const pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534))
            _exit(2);
        if (hy_store_open("100% safe?#/x.db", HY_STORE_WRITE, &s, NULL) != HY_E_ENV)
            _exit(3);
        if (hy_store_open("100% safe?#/x.db", HY_STORE_READ, &s, NULL))
            _exit(4);
        _exit(strcmp(results_query(s, "SELECT count(*) FROM results"), "1") ? 5 : 0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    shell("chmod -R u+w .");
}

static double seconds_per_flop(struct hy_store *s, const char *precision, const char *device)
{
    double seconds = -1;
    RESULTS_CHECK(hy_store_seconds_per_flop(s, precision, device, &seconds, &e_));
    return seconds;
}

/* A run that took that long for 50 FLOPs. */
static int64_t add_timed(struct hy_store *s, const struct results_run *run, double seconds)
{
    const int64_t id = results_add(s, results_sweep(s, "a"), run);
    results_fact(s, id, "wall_s", seconds);
    results_fact(s, id, "flops_per_token", 10);
    results_fact(s, id, "tokens", 5);
    return id;
}

static void speed_is_time_over_work_of_finished_runs_by_precision_and_device(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    assert_true(seconds_per_flop(s, "float32", NULL) == 0);
    static const char *const statuses[] = {"done", "done", "failed"};
    for (int seed = 0; seed < 3; seed++)
        add_timed(s,
                  &(struct results_run){
                      .variant = "gla", .ratio = "pure", .seed = seed, .status = statuses[seed]},
                  1 + seed);
    struct results_run other = {.variant = "gla", .ratio = "1:1", .status = "done"};
    const struct hy_row device = {.type = HY_ROW_FACT, .name = "device", .text = "NVIDIA"};
    RESULTS_CHECK(hy_store_row(s, add_timed(s, &other, 0.03), &device, &e_));
    other.seed = 1;
    add_timed(s, &other, 0.5);
    RESULTS_CHECK(hy_store_flush(s, &e_));
    hy_store_close(s);
    shell("sqlite3 x.db \"UPDATE run SET config = json_set(config, '$.train.precision', 'bf16') "
          "WHERE ratio = '1:1'\"");
    s = results_open("x.db", HY_STORE_READ);
    assert_true(fabs(seconds_per_flop(s, "float32", NULL) - 0.03) < 1e-12);
    assert_true(fabs(seconds_per_flop(s, "float32", "cpu") - 0.03) < 1e-12);
    assert_true(seconds_per_flop(s, "float32", "cuda") == 0);
    assert_true(fabs(seconds_per_flop(s, "bf16", NULL) - 0.0053) < 1e-12);
    assert_true(fabs(seconds_per_flop(s, "bf16", "cpu") - 0.01) < 1e-12);
    assert_true(fabs(seconds_per_flop(s, "bf16", "cuda") - 0.0006) < 1e-12);
    hy_store_close(s);
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, results_enter, results_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(public_views_keep_their_columns),
        LAW(written_twice_is_written_once),
        LAW(a_layer_becomes_what_was_decided),
        LAW(what_is_not_finite_is_null),
        LAW(an_attempt_replaces_what_it_computes_again),
        LAW(a_run_of_two_sweeps_is_one_run),
        LAW(what_is_no_longer_planned_and_never_began_leaves),
        LAW(a_second_writer_is_refused_by_the_name_of_the_first),
        LAW(a_commit_is_on_the_disk_before_it_returns),
        LAW(a_killed_writer_loses_nothing_it_flushed),
        LAW(every_attempt_is_kept_with_its_reason),
        LAW(nothing_is_written_after_a_write_that_failed),
        LAW(a_database_that_vanished_is_noticed),
        LAW(a_damaged_database_is_refused_by_a_writer),
        LAW(a_reader_sees_what_is_flushed_while_another_process_writes),
        LAW(a_reader_cannot_write),
        LAW(what_is_no_database_of_ours_is_refused),
        LAW(what_is_empty_or_not_there_yet_has_no_runs_for_those_who_look),
        LAW(a_newer_schema_is_refused_and_left_alone),
        LAW(an_older_schema_is_brought_up_to_date_and_keeps_its_rows),
        LAW(a_reader_understands_an_older_schema_and_leaves_it_alone),
        LAW(a_database_in_a_read_only_folder_can_be_read),
        LAW(speed_is_time_over_work_of_finished_runs_by_precision_and_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
