/* Laws of files of token ids: each format gives the same ids, damage is refused by file and place,
 * splits never overlap, several files are one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/base/hash.h"
#include "tests/support/open_task.h"

extern const struct hy_task hy_task_tokens;
static const struct hy_task *const task = &hy_task_tokens;

enum { COUNT = 200, T = 7 };

static char folder[] = "/tmp/hylas-tokens-XXXXXX";
static const char *const names[] = {"a.bin", "b.bin", "c.bin"};

static int enter_folder(void **unused)
{
    (void)unused;
    return !mkdtemp(folder) || chdir(folder);
}

static int leave_folder(void **unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++)
        unlink(names[i]);
    return chdir("/") || rmdir(folder);
}

/* The head, then ids first, first + 1, ... of so many bytes each. */
static void write_ids(const char *name, const void *head, size_t head_size, int bytes, int first,
                      int count)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(head, 1, head_size, file), head_size);
    for (int i = 0; i < count; i++) {
        const int64_t id = first + i; /* little-endian, so its first bytes are the id */
        assert_int_equal(fwrite(&id, 1, (size_t)bytes, file), bytes);
    }
    assert_int_equal(fclose(file), 0);
}

static void write_npy(int version, const char *dictionary, int bytes, int count)
{
    char head[512] = "\x93NUMPY";
    const size_t begin = version == 1 ? 10 : 12, length = strlen(dictionary);
    head[6] = (char)version;
    head[8] = (char)length;
    memcpy(head + begin, dictionary, length);
    write_ids("a.bin", head, begin + length, bytes, 0, count);
}

static void write_llmc(int32_t magic, int32_t version, int32_t told, int bytes, int count)
{
    const int32_t head[256] = {magic, version, told};
    write_ids("a.bin", head, sizeof head, bytes, 0, count);
}

/* That a.bin holds ids 0 to COUNT - 1. */
static void check_ids(const char *options)
{
    void *state = open_task(task, options, T, 1);
    assert_int_equal(task->vocab(state), COUNT);
    assert_int_equal(task->count(state, HY_SPLIT_TEST), (COUNT / 2 - 1) / T);
    for (int64_t i = 0; i < task->count(state, HY_SPLIT_TEST); i++) {
        int32_t tokens[T], labels[T];
        task->fill(state, HY_SPLIT_TEST, i, tokens, labels);
        for (int t = 0; t < T; t++) {
            assert_int_equal(tokens[t], COUNT / 2 + i * T + t);
            assert_int_equal(labels[t], tokens[t] + 1);
        }
    }
    task->close(state);
}

static void every_format_gives_its_ids(void **unused)
{
    (void)unused;
    static const char half[] = "{\"path\":\"a.bin\",\"test_fraction\":0.5}";
    static const struct {
        const char *dictionary;
        int version, bytes;
    } npy[] = {
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (200,), }   \n", 1, 2},
        {"{'descr': '<u4', 'fortran_order': False, 'shape': (200,), }\n", 2, 4},
        {"{\"shape\":(200),\"fortran_order\":True,\"descr\":\"<i4\"}", 3, 4}, /* unaligned ids */
        {"{'descr': '<i8', 'fortran_order': False, 'shape': (200,), }", 1, 8},
    };
    write_ids("a.bin", "", 0, 2, 0, COUNT);
    check_ids(half);
    write_ids("a.bin", "", 0, 4, 0, COUNT);
    check_ids("{\"path\":\"a.bin\",\"test_fraction\":0.5,\"dtype\":\"uint32\"}");
    write_llmc(20240520, 1, COUNT, 2, COUNT);
    check_ids(half);
    write_llmc(20240801, 7, COUNT, 4, COUNT);
    check_ids(half);
    for (size_t i = 0; i < sizeof npy / sizeof *npy; i++) {
        write_npy(npy[i].version, npy[i].dictionary, npy[i].bytes, COUNT);
        check_ids(half);
    }
}

static void splits_are_cut_by_position_and_never_overlap(void **unused)
{
    (void)unused;
    static const int begin[] = {0, 140, 160, 200};
    write_ids("a.bin", "", 0, 2, 0, COUNT);
    void *state =
        open_task(task, "{\"path\":\"a.bin\",\"valid_fraction\":0.1,\"test_fraction\":0.2}", T, 1);
    for (int split = HY_SPLIT_TRAIN; split <= HY_SPLIT_TEST; split++) {
        const int64_t count = split ? task->count(state, (enum hy_split)split) : 2000;
        for (int64_t i = 0; i < count; i++) {
            int32_t tokens[T], labels[T];
            task->fill(state, (enum hy_split)split, i, tokens, labels);
            for (int t = 0; t < T; t++) {
                assert_in_range(tokens[t], begin[split], begin[split + 1] - 1);
                assert_in_range(labels[t], begin[split], begin[split + 1] - 1);
            }
        }
    }
    task->close(state);
}

static void several_files_are_read_as_one(void **unused)
{
    (void)unused;
    const int32_t head[256] = {20240520, 1, 3};
    write_ids("a.bin", "", 0, 2, 0, 90);
    write_ids("b.bin", head, sizeof head, 2, 90, 3); /* shorter than a window, of another format */
    write_ids("c.bin", "", 0, 2, 93, COUNT - 93);
    check_ids("{\"path\":[\"a.bin\",\"b.bin\",\"c.bin\"],\"test_fraction\":0.5}");
    void *state = open_task(task,
                            "{\"path\":[\"a.bin\",\"b.bin\"],\"valid\":\"c.bin\","
                            "\"test\":[\"b.bin\",\"c.bin\"]}",
                            4, 1);
    int crossed = 0;
    for (int64_t i = 0; i < task->count(state, HY_SPLIT_TEST); i++) {
        int32_t tokens[4], labels[4];
        task->fill(state, HY_SPLIT_TEST, i, tokens, labels);
        assert_int_equal(tokens[0], 90 + 4 * i);
        assert_int_equal(labels[3], 94 + 4 * i);
    }
    for (int64_t i = 0; i < 1000; i++) {
        int32_t tokens[4], labels[4];
        task->fill(state, HY_SPLIT_TRAIN, i, tokens, labels);
        assert_in_range(tokens[0], 0, 92);
        for (int t = 0; t < 4; t++)
            assert_int_equal(labels[t], tokens[t] + 1);
        crossed += tokens[0] < 90 && labels[3] >= 90;
    }
    assert_true(crossed > 0);
    task->close(state);
}

static void the_vocabulary_is_given_or_counted_over_all_files(void **unused)
{
    (void)unused;
    static const struct {
        const char *options;
        int vocab;
    } cases[] = {
        {"{\"path\":\"a.bin\"}", 200},
        {"{\"path\":\"a.bin\",\"vocab\":50257}", 50257},
        {"{\"path\":\"a.bin\",\"vocab\":200}", 200},
        {"{\"path\":\"a.bin\",\"valid\":\"b.bin\",\"test\":\"c.bin\"}", 60020},
    };
    write_ids("a.bin", "", 0, 2, 0, COUNT);
    write_ids("b.bin", "", 0, 2, 60000, 20);
    write_ids("c.bin", "", 0, 2, 7, 20);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        void *state = open_task(task, cases[c].options, T, 1);
        assert_int_equal(task->vocab(state), cases[c].vocab);
        task->close(state);
    }
}

static void refuse(const char *options, const char *said, const char *also)
{
    struct hy_err e;
    void *state = NULL;
    assert_int_equal(try_open_task(task, options, T, 0, &state, &e), HY_E_USAGE);
    assert_null(state);
    const char *const words[] = {"test.json: ", "task tokens: ", said, also};
    for (int i = 0; i < 4; i++)
        if (!strstr(e.text, words[i]))
            fail_msg("no '%s' in: %s", words[i], e.text);
}

static void damaged_headers_are_refused_by_file_and_place(void **unused)
{
    (void)unused;
    static const char path[] = "{\"path\":[\"c.bin\",\"a.bin\"]}";
    static const struct {
        const char *dictionary, *said;
    } npy[] = {
        {"'descr': '<u2', ", "a.bin: byte 10: the .npy header is damaged: '{'"},
        {"{'descr: <u2", "a.bin: byte 22: the .npy header is damaged: a string has no end"},
        {"{'descr': '<u2', 'shape': (200,)}", "byte 43: the .npy header is damaged: it must have"},
        {"{'descr': '<u2', 'descr': '<u2'}", "byte 34: the .npy header is damaged: its keys"},
        {"{'descr': '<u2' 'shape': (200,)}", "byte 26: the .npy header is damaged: ','"},
        {"{'descr' '<u2'}", "byte 19: the .npy header is damaged: ':'"},
        {"{'order': True}", "its keys are not"},
        {"{'fortran_order': 1}", "True or False"},
        {"{'shape': (20, 10)}", "one dimension"},
        {"{'shape': ()}", "one dimension"},
        {"{'shape': (99999999999999999999,)}", "too large"},
        {"{'descr': [('a', '<u2')]}", "a quoted string"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (200,)} x", "something follows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (200,)}", "'<f4'"},
        {"{'descr': '>u2', 'fortran_order': False, 'shape': (200,)}", "'>u2'"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (201,)}", "201 ids of uint16"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (9223372036854775807,)}", "400 bytes"},
    };
    write_ids("c.bin", "", 0, 2, 0, COUNT);
    for (size_t i = 0; i < sizeof npy / sizeof *npy; i++) {
        write_npy(1, npy[i].dictionary, 2, COUNT);
        refuse(path, npy[i].said, "a.bin");
    }
    write_npy(4, "{}", 2, COUNT);
    refuse(path, "a.bin: byte 6", "version must be 1, 2 or 3");
    write_ids("a.bin", "\x93NUMPY\1\0\377\1{}", 12, 2, 0, 4);
    refuse(path, "a.bin: byte 8", "longer than the file");
    write_ids("a.bin", "\x93NUMPY\2\0\1", 9, 2, 0, 0);
    refuse(path, "a.bin: byte 6", "ends within it");

    write_llmc(20240520, 2, COUNT, 2, COUNT);
    refuse(path, "a.bin: byte 4", "version 2, but 1 is read");
    write_llmc(20240801, 1, COUNT, 4, COUNT);
    refuse(path, "a.bin: byte 4", "version 1, but 7 is read");
    write_llmc(20240520, 1, COUNT + 1, 2, COUNT);
    refuse(path, "a.bin: byte 8", "201 ids of uint16, but 400 bytes");
    write_llmc(20240520, 1, COUNT, 3, 134); /* 402 bytes, an id too many */
    refuse(path, "a.bin: byte 8", "200 ids of uint16, but 402 bytes");
    write_llmc(20240520, 1, 4, 3, 3); /* a byte too many */
    refuse(path, "a.bin: byte 8", "4 ids of uint16, but 9 bytes");
    write_llmc(20240520, 1, -1, 2, COUNT);
    refuse(path, "a.bin: byte 8", "-1 ids");
    write_llmc(20240520, 1, 0, 2, 0);
    refuse(path, "a.bin", "the file has no ids");
    write_ids("a.bin", "\x88\xD8\x34\x01", 4, 2, 0, COUNT); /* 20240520 */
    refuse(path, "a.bin: byte 404", "llm.c's header");
}

static void files_that_cannot_be_ids_are_refused(void **unused)
{
    (void)unused;
    write_ids("a.bin", "x", 1, 2, 0, COUNT);
    refuse("{\"path\":\"a.bin\"}", "a.bin: 401 bytes", "uint16");
    write_ids("a.bin", "xy", 2, 4, 0, COUNT);
    refuse("{\"path\":\"a.bin\",\"dtype\":\"uint32\"}", "a.bin: 802 bytes", "uint32");
    write_ids("a.bin", "", 0, 2, 0, 0);
    refuse("{\"path\":\"a.bin\"}", "a.bin is empty", "");
    refuse("{\"path\":\"none.bin\"}", "none.bin", "No such file");
    write_ids("a.bin", "", 0, 2, 0, COUNT);
    write_ids("b.bin", "", 0, 2, 0, T);
    refuse("{\"path\":\"a.bin\",\"test\":\"b.bin\"}", "the test split of b.bin has 7 tokens",
           "needs 8");
    refuse("{\"path\":[\"b.bin\",\"b.bin\"]}", "the valid split of b.bin and others has 0 tokens",
           "needs 8");
}

static void ids_beyond_the_vocabulary_are_refused_by_file_and_place(void **unused)
{
    (void)unused;
    static const char i4[] = "{'descr': '<i4', 'fortran_order': False, 'shape': (3,)}";
    write_ids("a.bin", "", 0, 2, 0, COUNT);
    write_ids("b.bin", "\1\0\5\0", 4, 2, 150, COUNT);
    refuse("{\"path\":\"a.bin\",\"vocab\":199}", "a.bin: token 199 (byte 398) is 199", "0 to 198");
    refuse("{\"path\":[\"a.bin\",\"b.bin\"],\"vocab\":200}", "b.bin: token 52 (byte 104) is 200",
           "uint16");
    refuse("{\"path\":\"a.bin\",\"test\":\"b.bin\",\"vocab\":200}", "b.bin: token 52", "");
    refuse("{\"path\":\"a.bin\",\"dtype\":\"uint32\",\"vocab\":50257}",
           "a.bin: token 0 (byte 0) is 65536", "uint32"); /* two ids taken for one */
    char head[128] = "\x93NUMPY\1";
    head[8] = sizeof i4 - 1;
    memcpy(head + 10, i4, sizeof i4 - 1);
    write_ids("a.bin", head, 10 + sizeof i4 - 1, 4, -1, 3);
    refuse("{\"path\":\"a.bin\"}", "a.bin: token 0 (byte 65) is -1", "int32");
}

struct score {
    double nll, ppl, bits;
    int64_t n;
};

static void note(void *context, const char *slice, const char *metric, double value, int64_t n)
{
    struct score *s = context;
    assert_string_equal(slice, "");
    s->n = n;
    if (strcmp(metric, "nll") == 0)
        s->nll = value;
    else if (strcmp(metric, "ppl") == 0)
        s->ppl = value;
    else if (strcmp(metric, "bits_per_byte") == 0)
        s->bits = value;
    else
        fail_msg("%s", metric);
}

static void losses_are_per_token_and_bits_per_byte_only_where_bytes_are_known(void **unused)
{
    (void)unused;
    static const char *const options[] = {"{\"path\":\"a.bin\",\"test_fraction\":0.5}",
                                          "{\"path\":\"a.bin\",\"test_fraction\":0.5,"
                                          "\"bytes_per_token\":4.5}"};
    write_ids("a.bin", "", 0, 2, 0, COUNT);
    for (int k = 0; k < 2; k++) {
        void *scorer, *state = open_task(task, options[k], T, 1);
        struct hy_err e;
        struct score score = {.bits = NAN};
        double sum = 0;
        int n = 0;
        assert_int_equal(task->score_begin(state, HY_SPLIT_TEST, &scorer, &e), 0);
        for (int64_t i = 0; i < task->count(state, HY_SPLIT_TEST); i++) {
            int32_t tokens[T], labels[T];
            float nll[T];
            const uint8_t hit[T] = {0};
            task->fill(state, HY_SPLIT_TEST, i, tokens, labels);
            for (int t = 0; t < T; t++, n++)
                sum += (double)(nll[t] = (float)(n % 5) / 4);
            task->score_add(state, scorer, &(struct hy_prediction){i, tokens, labels, nll, hit});
        }
        task->score_end(state, scorer, note, &score);
        assert_int_equal(score.n, n);
        assert_true(fabs(score.nll - sum / n) < 1e-12);
        assert_true(fabs(score.ppl - exp(sum / n)) < 1e-12);
        assert_true(k ? fabs(score.bits - sum / n / log(2) / 4.5) < 1e-12 : isnan(score.bits));
        task->close(state);
    }
}

static void the_content_hash_is_of_bytes_and_their_roles(void **unused)
{
    (void)unused;
    static const char *const options[] = {
        "{\"path\":\"a.bin\"}",
        "{\"path\":[\"a.bin\",\"b.bin\"]}",
        "{\"path\":[\"b.bin\",\"a.bin\"]}",
        "{\"path\":\"a.bin\",\"valid\":\"b.bin\"}",
        "{\"path\":\"a.bin\",\"test\":\"b.bin\"}",
        "{\"path\":\"a.bin\",\"valid\":[\"b.bin\",\"a.bin\"]}",
        "{\"path\":[\"a.bin\",\"b.bin\"],\"valid\":\"a.bin\"}",
        "{\"path\":\"c.bin\"}",
    };
    enum { CASES = sizeof options / sizeof *options };
    char hashes[CASES][HY_HASH_TEXT];
    struct hy_err e;
    write_ids("a.bin", "", 0, 2, 0, COUNT);
    write_ids("b.bin", "", 0, 2, 1, COUNT);
    write_ids("c.bin", "", 0, 2, 0, COUNT); /* a.bin by another name */
    for (int i = 0; i < CASES; i++) {
        struct hy_value *resolved = resolve_task(task, options[i]);
        assert_int_equal(task->content(resolved, hashes[i], &e), 0);
        hy_value_free(resolved);
    }
    assert_string_equal(hashes[0], hashes[CASES - 1]);
    for (int i = 0; i < CASES - 1; i++)
        for (int j = i + 1; j < CASES - 1; j++)
            assert_string_not_equal(hashes[i], hashes[j]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_gives_its_ids),
        cmocka_unit_test(splits_are_cut_by_position_and_never_overlap),
        cmocka_unit_test(several_files_are_read_as_one),
        cmocka_unit_test(the_vocabulary_is_given_or_counted_over_all_files),
        cmocka_unit_test(damaged_headers_are_refused_by_file_and_place),
        cmocka_unit_test(files_that_cannot_be_ids_are_refused),
        cmocka_unit_test(ids_beyond_the_vocabulary_are_refused_by_file_and_place),
        cmocka_unit_test(losses_are_per_token_and_bits_per_byte_only_where_bytes_are_known),
        cmocka_unit_test(the_content_hash_is_of_bytes_and_their_roles),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
