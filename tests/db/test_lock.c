/* A database has one writer, by whatever name, also where its lock file is deleted; and one that
 * lost its lock writes nothing more. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/lock.h"
#include "tests/support/results.h"

extern const char hy_schema_sql[];

static const struct results_run gla = {.variant = "gla", .ratio = "3:1"};

static void shell(const char *command)
{
    assert_int_equal(system(command), 0);
}

/* What another process is told that wants to write to the database. */
static const char *refusal(const char *db)
{
    static char text[sizeof((struct hy_err *)0)->text];
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        struct hy_err e = {0};
        struct hy_store *s = NULL;
        const int rc = hy_store_open(db, HY_STORE_WRITE, &s, &e);
        if (write(ends[1], e.text, sizeof e.text) < 0)
            _exit(0);
        _exit(rc);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], text, sizeof text), sizeof text);
    close(ends[0]);
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), HY_E_ENV);
    return text;
}

static void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' does not say '%s'", text, part);
}

static void a_second_writer_is_refused_without_the_lock_file_too(void **state)
{
    (void)state;
    struct hy_store *first = results_open("x.db", HY_STORE_WRITE);
    assert_says(refusal("x.db"), "process ");
    assert_int_equal(unlink("x.db-lock"), 0);
    assert_says(refusal("x.db"), "x.db is being written by another sweep");
    assert_says(refusal("x.db"), "x.db-lock was deleted");
    hy_store_close(first);
    hy_store_close(results_open("x.db", HY_STORE_WRITE));
}

static void a_database_of_two_names_has_one_writer(void **state)
{
    (void)state;
    struct hy_store *first = results_open("x.db", HY_STORE_WRITE);
    shell("ln -s x.db soft.db && ln x.db hard.db");
    assert_says(refusal("soft.db"), "by another name");
    assert_says(refusal("hard.db"), "by another name");
    hy_store_close(first);
    shell("test ! -e soft.db-lock && test ! -e hard.db-lock && test -s soft.db");
}

/* A writer commits a sweep, has another one in hand, and loses its lock. */
static struct hy_store *begin_and_lose(const char *loss)
{
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    results_add(s, results_sweep(s, "safe"), &gla);
    RESULTS_CHECK(hy_store_flush(s, &e_));
    results_sweep(s, "lost");
    shell(loss);
    return s;
}

static void assert_what_was_committed_is_there(void)
{
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    assert_string_equal(results_query(s, "SELECT name FROM sweep"), "safe");
    assert_string_equal(results_query(s, "SELECT count(*) FROM results"), "1");
    assert_string_equal(results_query(s, "PRAGMA integrity_check"), "ok");
    hy_store_close(s);
}

static void a_writer_without_its_lock_commits_nothing(void **state)
{
    (void)state;
    static const char *const losses[] = {
        "rm x.db-lock",
        "rm x.db-lock && : > x.db-lock",
        "mv x.db-lock y && cp y x.db-lock",
    };
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        struct hy_err e = {0};
        struct hy_store *s = begin_and_lose(losses[i]);
        assert_int_equal(hy_store_flush(s, &e), HY_E_ENV);
        assert_says(e.text, "x.db-lock was deleted or replaced while x.db was written");
        assert_int_equal(hy_store_flush(s, &e), HY_E_ENV);
        hy_store_close(s);
        /* What stands in its place is another's. */
        assert_int_equal(access("x.db-lock", F_OK), i ? 0 : -1);
        assert_what_was_committed_is_there();
    }
}

static void closing_commits_nothing_without_the_lock(void **state)
{
    (void)state;
    hy_store_close(begin_and_lose("rm x.db-lock"));
    assert_what_was_committed_is_there();
}

static void a_sign_of_life_notices_the_loss(void **state)
{
    (void)state;
    struct hy_err e = {0};
    int64_t sweep;
    struct hy_store *s = begin_and_lose("rm x.db-lock");
    hy_store_beat(s);
    shell(": > x.db-lock"); /* too late */
    assert_int_equal(hy_store_add_sweep(s, "late", "", "", &sweep, &e), HY_E_ENV);
    assert_says(e.text, "x.db-lock was deleted");
    hy_store_close(s);
    assert_what_was_committed_is_there();
}

static void a_lock_leaves_nothing_where_nothing_was(void **state)
{
    (void)state;
    struct hy_lock lock;
    RESULTS_CHECK(hy_lock_take(&lock, "x.db", &e_));
    hy_lock_release(&lock);
    shell("test -z \"$(ls)\"");
    shell(": > x.db"); /* which somebody made */
    RESULTS_CHECK(hy_lock_take(&lock, "x.db", &e_));
    hy_lock_release(&lock);
    shell("test \"$(ls)\" = x.db");
}

/* A process that is killed while it makes the tables: in the file are some of them, and a journal
 * says how to take them back. */
static void what_a_killed_set_up_left_is_taken_over(void **state)
{
    (void)state;
    int status;
    const pid_t child = fork();
    if (child == 0) {
        sqlite3 *db;
        if (sqlite3_open("x.db", &db) ||
            sqlite3_exec(db, "PRAGMA cache_size = 1; BEGIN; PRAGMA application_id = 7", NULL, NULL,
                         NULL) ||
            sqlite3_exec(db, hy_schema_sql, NULL, NULL, NULL) ||
            sqlite3_exec(db,
                         "CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
                         "SELECT i + 1 FROM n WHERE i < 20000) SELECT i, hex(i) FROM n",
                         NULL, NULL, NULL))
            _exit(1);
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    shell("test -s x.db && test -s x.db-journal && cp x.db y.db && cp x.db-journal y.db-journal");
    /* Those who look take back what is half there. */
    struct hy_store *s = results_open("y.db", HY_STORE_LOOK);
    assert_string_equal(results_query(s, "SELECT count(*) FROM results"), "0");
    hy_store_close(s);
    s = results_open("x.db", HY_STORE_WRITE);
    results_add(s, results_sweep(s, "safe"), &gla);
    hy_store_close(s);
    assert_what_was_committed_is_there();
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, results_enter, results_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(a_second_writer_is_refused_without_the_lock_file_too),
        LAW(a_database_of_two_names_has_one_writer),
        LAW(a_writer_without_its_lock_commits_nothing),
        LAW(closing_commits_nothing_without_the_lock),
        LAW(a_sign_of_life_notices_the_loss),
        LAW(a_lock_leaves_nothing_where_nothing_was),
        LAW(what_a_killed_set_up_left_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
