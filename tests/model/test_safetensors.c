/* What is written reads back bit for bit; what is damaged is refused; a failed write leaves no
 * trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <dirent.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/model/safetensors.h"

static char folder[64], path[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_safetensors.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/a.safetensors", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static int files_in_folder(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir));)
        count += d->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void test_what_is_written_reads_back(void **state)
{
    (void)state;
    const float a[6] = {1, -2.5f, 3e-39f, 4, 5, 6};
    const double b[1] = {1.0 / 3};
    const int64_t c[2] = {INT64_MIN, 7};
    const struct hy_st_tensor in[] = {{"layer.a", HY_ST_F32, 2, {2, 3}, a},
                                      {"none", HY_ST_F32, 2, {0, 5}, a},
                                      {"scalar", HY_ST_F64, 0, {0}, b},
                                      {"steps", HY_ST_I64, 1, {2}, c}};
    const struct hy_st_pair meta[] = {{"key", "0123"}, {"quoted \"name\"", "\n\t"}};
    struct hy_err e;
    assert_int_equal(hy_st_write(path, in, 4, meta, 2, &e), HY_OK);
    assert_int_equal(files_in_folder(), 1);

    struct hy_st_file f;
    assert_int_equal(hy_st_read(path, &f, &e), HY_OK);
    assert_int_equal(f.tensor_count, 4);
    for (size_t i = 0; i < 4; i++) {
        const struct hy_st_tensor *t = hy_st_find(&f, in[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, in[i].dtype);
        assert_int_equal(t->rank, in[i].rank);
        assert_memory_equal(t->dims, in[i].dims, sizeof t->dims);
    }
    assert_memory_equal(hy_st_find(&f, "layer.a")->data, a, sizeof a);
    assert_memory_equal(hy_st_find(&f, "scalar")->data, b, sizeof b);
    assert_memory_equal(hy_st_find(&f, "steps")->data, c, sizeof c);
    assert_null(hy_st_find(&f, "layer"));
    assert_string_equal(hy_st_value(&f, "quoted \"name\""), "\n\t");
    assert_null(hy_st_value(&f, "other"));
    hy_st_release(&f);
}

static void put_file(const char *header, size_t claimed, size_t data)
{
    const uint64_t length = claimed ? claimed : strlen(header);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(&length, sizeof length, 1, file);
    fputs(header, file);
    for (size_t i = 0; i < data; i++)
        fputc(0, file);
    fclose(file);
}

static void test_damaged_files_are_refused(void **state)
{
    (void)state;
#define ENTRY(dtype, shape, offsets) \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    const struct {
        const char *header;
        size_t claimed, data;
        const char *says;
    } bad[] = {
        {ENTRY("F32", "[2]", "[0,8]"), 0, 4, "outside"},
        {ENTRY("F32", "[2]", "[0,8]"), 0, 12, "follow the last"},
        {ENTRY("F32", "[3]", "[0,8]"), 0, 8, "by its shape"},
        {ENTRY("F32", "[1]", "[0,8]"), 0, 8, "by its shape"},
        {ENTRY("F32", "[1]", "[4,8]"), 0, 8, "gap"},
        {ENTRY("F32", "[1]", "[1,5]"), 0, 5, "aligned"},
        {ENTRY("F32", "[-1]", "[0,4]"), 0, 4, "impossible"},
        {ENTRY("F32", "[1.5]", "[0,4]"), 0, 4, "impossible"},
        {ENTRY("F32", "[8,8,8,8,8,8,8,8,8]", "[0,4]"), 0, 4, "at most 8"},
        {ENTRY("F32", "[4294967296,4294967296]", "[0,0]"), 0, 0, "impossible"},
        {ENTRY("F32", "[3000,3000,3000,3000,3000,3000]", "[0,4000]"), 0, 4000, "larger than"},
        {ENTRY("F32", "[1]", "[4,0]"), 0, 4, "outside"},
        {ENTRY("F32", "[1]", "[0]"), 0, 4, "outside"},
        {ENTRY("U8", "[2]", "[0,4]"), 0, 4, "U8"},
        {"{\"a\":3}", 0, 0, "dtype"},
        {"{\"__metadata__\":{\"a\":3}}", 0, 0, "not a string"},
        {"{\"__metadata__\":3}", 0, 0, "metadata"},
        {"{\"a\":", 0, 0, "JSON"},
        {"[]", 0, 0, "JSON"},
        {"{}", 1000, 0, "does not fit"},
        {"{}", SIZE_MAX, 0, "does not fit"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct hy_st_file f = {.tensor_count = 77};
        struct hy_err e = {0};
        put_file(bad[i].header, bad[i].claimed, bad[i].data);
        assert_int_equal(hy_st_read(path, &f, &e), HY_E_USAGE);
        if (!strstr(e.text, bad[i].says) || !strstr(e.text, path))
            fail_msg("case %zu says: %s", i, e.text);
        assert_int_equal(f.tensor_count, 77);
    }
    struct hy_st_file f;
    struct hy_err e;
    put_file(ENTRY("F32", "[2]", "[0,8]"), 0, 8);
    assert_int_equal(hy_st_read(path, &f, &e), HY_OK);
    hy_st_release(&f);
}

static void test_a_failed_write_keeps_the_old_file(void **state)
{
    (void)state;
    static float big[1 << 16];
    const struct hy_st_tensor small = {"a", HY_ST_F32, 1, {4}, big};
    const struct hy_st_tensor large = {"a", HY_ST_F32, 1, {1 << 16}, big};
    struct hy_err e = {0};
    assert_int_equal(hy_st_write(path, &small, 1, NULL, 0, &e), HY_OK);

    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){4096, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    const int rc = hy_st_write(path, &large, 1, NULL, 0, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, HY_E_ENV);
    assert_int_equal(files_in_folder(), 1);

    struct hy_st_file f;
    assert_int_equal(hy_st_read(path, &f, &e), HY_OK);
    assert_int_equal(hy_st_find(&f, "a")->dims[0], 4);
    hy_st_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_written_reads_back, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_damaged_files_are_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_a_failed_write_keeps_the_old_file, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
