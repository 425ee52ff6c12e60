/* On a file system that is no local disk a database has a rollback journal, and readers and the
 * writer get along. The test says what statfs finds. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/place.h"
#include "tests/support/results.h"

enum { EXT = 0xef53, NFS = 0x6969 };
static unsigned long found_type = EXT;

/* In the place of libc's, for all of the program. */
int statfs(const char *path, struct statfs *out)
{
    (void)path;
    *out = (struct statfs){.f_type = (__fsword_t)found_type};
    return 0;
}

int fstatfs(int file, struct statfs *out)
{
    (void)file;
    return statfs("", out);
}

static const struct results_run gla = {.variant = "gla", .ratio = "3:1"};

static void shell(const char *command)
{
    assert_int_equal(system(command), 0);
}

static int on_nfs(void **state)
{
    found_type = NFS;
    return results_enter(state);
}

static int leave(void **state)
{
    found_type = EXT;
    return results_leave(state);
}

static void only_known_local_disks_are_local(void **state)
{
    (void)state;
    static const unsigned long local[] = {0xef53,     0x58465342, 0x9123683e,
                                          0x2fc12fc1, 0x01021994, 0x794c7630};
    static const struct {
        unsigned long type;
        const char *name;
    } others[] = {
        {0x6969, "NFS"},      {0x0bd00bd0, "Lustre"},
        {0x47504653, "GPFS"}, {0x19830326, "BeeGFS"},
        {0x65735546, "FUSE"}, {0xff534d42, "CIFS"},
        {0xfe534d42, "SMB"},  {0x01021997, "9p"},
        {0x00c36400, "Ceph"}, {0x12345, "a file system of type 0x12345"},
    };
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        assert_true(hy_place_of_type(local[i]).is_local);
    assert_true(hy_place_of_type(0xffffffff9123683e).is_local); /* a negative int, widened */
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const struct hy_place place = hy_place_of_type(others[i].type);
        assert_false(place.is_local);
        assert_string_equal(place.name, others[i].name);
    }
    assert_string_equal(hy_place_of_type(0xffffffffff534d42).name, "CIFS");
}

static const char *journal(struct hy_store *s)
{
    return results_query(s, "PRAGMA journal_mode");
}

static void the_journal_follows_the_place(void **state)
{
    (void)state;
    static const unsigned long types[] = {NFS, EXT, NFS, NFS, EXT};
    struct hy_store *s;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char name[8];
        found_type = types[i];
        s = results_open("x.db", HY_STORE_WRITE);
        assert_string_equal(journal(s), types[i] == NFS ? "delete" : "wal");
        /* On the disk before it returns: the folder, too, from which the journal goes. */
        assert_string_equal(results_query(s, "PRAGMA synchronous"), types[i] == NFS ? "3" : "2");
        assert_string_equal(results_query(s, "PRAGMA locking_mode"), "normal");
        snprintf(name, sizeof name, "%zu", i);
        results_add(s, results_sweep(s, name), &gla);
        RESULTS_CHECK(hy_store_flush(s, &e_));
        shell(types[i] == NFS ? "test ! -e x.db-shm && test ! -e x.db-wal" : "test -s x.db-shm");
        hy_store_close(s);
    }
    s = results_open("x.db", HY_STORE_READ);
    assert_string_equal(results_query(s, "SELECT count(*) FROM sweep"), "5");
    assert_string_equal(results_query(s, "PRAGMA integrity_check"), "ok");
    hy_store_close(s);
}

/* In a child: writes a run, flushes it, leaves another sweep open, says so, and waits. */
static pid_t start_writer(void)
{
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
        results_add(s, results_sweep(s, "a"), &gla);
        RESULTS_CHECK(hy_store_flush(s, &e_));
        results_sweep(s, "b");
        if (write(ends[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return child;
}

static void end(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void readers_read_while_it_is_written_and_after_a_kill(void **state)
{
    (void)state;
    struct hy_err e = {0};
    const pid_t child = start_writer();
    for (int killed = 0; killed < 2; killed++) {
        struct hy_store *s = results_open("x.db", HY_STORE_READ);
        assert_string_equal(results_query(s, "SELECT count(*) FROM sweep"), "1");
        assert_int_equal(hy_store_query(s, "DELETE FROM run", 0, NULL, NULL, NULL, &e), HY_E_ENV);
        assert_int_equal(hy_store_has_writer(s), !killed);
        hy_store_close(s);
        if (!killed)
            end(child);
    }
    hy_store_close(results_open("x.db", HY_STORE_WRITE));
}

/* A reader that holds on to what it sees does not keep the writer from committing. */
static void a_reader_does_not_hold_the_writer_up(void **state)
{
    (void)state;
    int status;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    results_add(s, results_sweep(s, "a"), &gla);
    hy_store_close(s);
    s = results_open("x.db", HY_STORE_READ);
    RESULTS_CHECK(hy_store_query(s, "BEGIN", 0, NULL, NULL, NULL, &e_));
    assert_string_equal(results_query(s, "SELECT count(*) FROM sweep"), "1");
    const pid_t child = fork();
    if (child == 0) {
        struct hy_store *writer = results_open("x.db", HY_STORE_WRITE);
        results_sweep(writer, "b");
        RESULTS_CHECK(hy_store_flush(writer, &e_));
        hy_store_close(writer);
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_string_equal(results_query(s, "SELECT count(*) FROM sweep"), "1");
    hy_store_close(s);
    s = results_open("x.db", HY_STORE_READ);
    assert_string_equal(results_query(s, "SELECT count(*) FROM sweep"), "2");
    hy_store_close(s);
}

/* Of a database that came from a local disk, with what was not taken in from its log. */
static void a_log_is_taken_in_by_the_writer_and_refused_to_readers(void **state)
{
    (void)state;
    struct hy_err e = {0};
    struct hy_store *s = NULL;
    found_type = EXT;
    end(start_writer());
    shell("test -s x.db-wal && rm -f x.db-shm");
    found_type = NFS;
    assert_int_equal(hy_store_open("x.db", HY_STORE_READ, &s, &e), HY_E_ENV);
    if (!strstr(e.text, "x.db has a write-ahead log, which cannot be read safely on NFS"))
        fail_msg("'%s'", e.text);
    s = results_open("x.db", HY_STORE_WRITE);
    assert_string_equal(journal(s), "delete");
    assert_string_equal(results_query(s, "SELECT name FROM sweep"), "a");
    shell("test ! -e x.db-wal && test ! -e x.db-shm");
    hy_store_close(s);
    s = results_open("x.db", HY_STORE_READ);
    assert_string_equal(results_query(s, "SELECT name FROM sweep"), "a");
    hy_store_close(s);
}

static void a_log_at_rest_is_read_without_shared_memory(void **state)
{
    (void)state;
    found_type = EXT;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    results_add(s, results_sweep(s, "a"), &gla);
    hy_store_close(s);
    found_type = NFS;
    s = results_open("x.db", HY_STORE_READ);
    assert_string_equal(results_query(s, "SELECT name FROM sweep"), "a");
    shell("test \"$(ls)\" = x.db");
    hy_store_close(s);
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, on_nfs, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(only_known_local_disks_are_local),
        LAW(the_journal_follows_the_place),
        LAW(readers_read_while_it_is_written_and_after_a_kill),
        LAW(a_reader_does_not_hold_the_writer_up),
        LAW(a_log_is_taken_in_by_the_writer_and_refused_to_readers),
        LAW(a_log_at_rest_is_read_without_shared_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
