/* Laws of the text task: splits by position, next-byte labels, scores against a naive count. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/base/hash.h"
#include "core/base/rng.h"
#include "tests/support/open_task.h"

extern const struct hy_task hy_task_text;
static const struct hy_task *const text = &hy_task_text;

static char folder[] = "/tmp/hylas-text-XXXXXX";

static int enter_folder(void **unused)
{
    (void)unused;
    return !mkdtemp(folder) || chdir(folder);
}

static int leave_folder(void **unused)
{
    (void)unused;
    static const char *const names[] = {"corpus.txt", "other.txt", "empty.txt", "pipe"};
    for (int i = 0; i < 4; i++)
        unlink(names[i]);
    return chdir("/") || rmdir(folder);
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* train bytes of 'a', then valid of 'b', then test of 'c'. */
static void write_letters(int train, int valid, int test)
{
    char bytes[1000];
    assert_in_range(train + valid + test, 0, (int)sizeof bytes);
    memset(bytes, 'a', (size_t)train);
    memset(bytes + train, 'b', (size_t)valid);
    memset(bytes + train + valid, 'c', (size_t)test);
    write_file("corpus.txt", bytes, (size_t)(train + valid + test));
}

static void splits_are_cut_by_position_and_never_overlap(void **unused)
{
    (void)unused;
    enum { T = 4 };
    write_letters(70, 10, 20);
    void *state = open_task(
        text, "{\"path\":\"corpus.txt\",\"valid_fraction\":0.1,\"test_fraction\":0.2}", T, 1);
    assert_int_equal(text->count(state, HY_SPLIT_VALID), 2); /* (10 - 1) / 4 */
    assert_int_equal(text->count(state, HY_SPLIT_TEST), 4);  /* (20 - 1) / 4 */
    for (int split = HY_SPLIT_TRAIN; split <= HY_SPLIT_TEST; split++) {
        const int64_t count = split ? text->count(state, (enum hy_split)split) : 500;
        for (int64_t i = 0; i < count; i++) {
            int32_t tokens[T], labels[T];
            text->fill(state, (enum hy_split)split, i, tokens, labels);
            for (int t = 0; t < T; t++) {
                assert_int_equal(tokens[t], 'a' + split);
                assert_int_equal(labels[t], 'a' + split);
            }
        }
    }
    text->close(state);
}

static void write_counter(const char *name, int size)
{
    unsigned char bytes[256];
    for (int i = 0; i < size; i++)
        bytes[i] = (unsigned char)i;
    write_file(name, bytes, (size_t)size);
}

static void evaluation_reads_a_split_once_in_order(void **unused)
{
    (void)unused;
    enum { T = 7, SIZE = 100 };
    write_counter("corpus.txt", SIZE);
    write_counter("other.txt", 50);
    void *state = open_task(text,
                            "{\"path\":\"corpus.txt\",\"valid\":\"other.txt\","
                            "\"test_fraction\":0.5}",
                            T, 1);
    assert_int_equal(text->count(state, HY_SPLIT_VALID), 7); /* labels 1 to 49 */
    assert_int_equal(text->count(state, HY_SPLIT_TEST), 7);
    for (int64_t i = 0; i < 7; i++) {
        int32_t tokens[2][T], labels[2][T];
        text->fill(state, HY_SPLIT_VALID, i, tokens[0], labels[0]);
        text->fill(state, HY_SPLIT_TEST, i, tokens[1], labels[1]);
        for (int t = 0; t < T; t++) {
            assert_int_equal(tokens[0][t], i * T + t);
            assert_int_equal(labels[0][t], i * T + t + 1);
            assert_int_equal(tokens[1][t], SIZE / 2 + i * T + t);
            assert_int_equal(labels[1][t], SIZE / 2 + i * T + t + 1);
        }
    }
    text->close(state);
}

static void examples_are_spread_evenly_over_the_split(void **unused)
{
    (void)unused;
    enum { T = 4 };
    write_counter("corpus.txt", 100);
    write_counter("other.txt", 41); /* ten windows */
    static const char *const options[] = {
        "{\"path\":\"corpus.txt\",\"test\":\"other.txt\",\"valid_fraction\":0.1,\"examples\":4}",
        "{\"path\":\"corpus.txt\",\"test\":\"other.txt\",\"valid_fraction\":0.1,\"examples\":11}"};
    static const int windows[] = {0, 2, 5, 7};
    int32_t tokens[T], labels[T];
    void *state = open_task(text, options[0], T, 1);
    assert_int_equal(text->count(state, HY_SPLIT_TEST), 4);
    for (int i = 0; i < 4; i++) {
        text->fill(state, HY_SPLIT_TEST, i, tokens, labels);
        assert_int_equal(tokens[0], windows[i] * T);
    }
    text->close(state);
    state = open_task(text, options[1], T, 1);
    assert_int_equal(text->count(state, HY_SPLIT_TEST), 10);
    text->close(state);
}

static void training_begins_anywhere_with_equal_chance(void **unused)
{
    (void)unused;
    enum { T = 8, TRAIN = 24, STARTS = TRAIN - T, DRAWS = 16000 };
    write_counter("corpus.txt", 44);
    static const char options[] =
        "{\"path\":\"corpus.txt\",\"valid_fraction\":0.227273,\"test_fraction\":0.227273}";
    void *one = open_task(text, options, T, 1), *two = open_task(text, options, T, 2);
    int starts[STARTS] = {0}, equal = 0;
    for (int64_t i = 0; i < DRAWS; i++) {
        int32_t tokens[2][T], labels[T];
        text->fill(one, HY_SPLIT_TRAIN, i, tokens[0], labels);
        text->fill(two, HY_SPLIT_TRAIN, i, tokens[1], labels);
        assert_in_range(tokens[0][0], 0, STARTS - 1);
        starts[tokens[0][0]]++;
        equal += tokens[0][0] == tokens[1][0];
    }
    text->close(one);
    text->close(two);
    double chi = 0;
    for (int i = 0; i < STARTS; i++)
        chi += pow(starts[i] - DRAWS / STARTS, 2) / (DRAWS / STARTS);
    assert_true(chi < 58.0);                                            /* 15 degrees, 1 - 1e-6 */
    assert_in_range(equal, DRAWS / STARTS - 160, DRAWS / STARTS + 160); /* 5 deviations */
}

struct score {
    double nll, ppl, bits, hit_ppl, rest_ppl;
    int64_t n, hits, rest;
};

static void note(void *context, const char *slice, const char *metric, double value, int64_t n)
{
    struct score *s = context;
    if (strcmp(slice, "ar_hit") == 0) {
        assert_string_equal(metric, "ppl");
        s->hit_ppl = value, s->hits = n;
    } else if (strcmp(slice, "rest") == 0) {
        assert_string_equal(metric, "ppl");
        s->rest_ppl = value, s->rest = n;
    } else if (strcmp(metric, "nll") == 0) {
        s->nll = value, s->n = n;
    } else if (strcmp(metric, "ppl") == 0) {
        s->ppl = value;
    } else {
        assert_string_equal(metric, "bits_per_byte");
        s->bits = value;
    }
}

/* Where, in the window that begins at text[first], the n-gram that ends at text[at] ended last
 * before if that makes an AR hit; else -1. */
static int naive_hit(const char *bytes, int first, int at, int n, int train, int rare)
{
    int place = -1, count = 0;
    const char *gram = bytes + at - n + 1;
    for (int i = first; i < at - n + 1; i++)
        if (memcmp(bytes + i, gram, (size_t)n) == 0)
            place = i + n - 1 - first;
    for (int i = 0; i + n <= train; i++)
        count += memcmp(bytes + i, gram, (size_t)n) == 0;
    return count <= rare ? place : -1;
}

static void scores_are_what_a_naive_count_gives(void **unused)
{
    (void)unused;
    enum { SIZE = 4000, TRAIN = 2000, VALID = 1000, T = 50, N = 4, RARE = 10 };
    char bytes[SIZE];
    struct hy_rng rng = hy_rng_start(1, HY_RNG_CHECK, 0, 0);
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (char)('a' + hy_rng_below(&rng, 4));
    write_file("corpus.txt", bytes, SIZE);
    void *scorer, *state = open_task(text,
                                     "{\"path\":\"corpus.txt\",\"valid_fraction\":0.25,"
                                     "\"test_fraction\":0.25,\"ar_ngram\":4,\"ar_rare\":10}",
                                     T, 1);
    struct hy_err e;
    const int64_t count = text->count(state, HY_SPLIT_TEST);
    for (int round = 0; round < 2; round++) { /* a scorer leaves nothing behind */
        double nll[2] = {0};
        int64_t n[2] = {0};
        struct score score = {0};
        assert_int_equal(text->score_begin(state, HY_SPLIT_TEST, &scorer, &e), 0);
        for (int64_t i = 0; i < count; i++) {
            int32_t tokens[T], labels[T], where[T];
            float losses[T];
            uint8_t hits[T] = {0};
            text->fill(state, HY_SPLIT_TEST, i, tokens, labels);
            text->evidence(state, tokens, labels, where);
            const int first = TRAIN + VALID + (int)i * T;
            for (int t = 0; t < T; t++) {
                losses[t] = (float)hy_rng_uniform(&rng);
                const int place = naive_hit(bytes, first, first + t + 1, N, TRAIN, RARE);
                const int hit = place >= 0;
                assert_int_equal(where[t], place);
                nll[hit] += (double)losses[t];
                n[hit]++;
            }
            text->score_add(state, scorer,
                            &(struct hy_prediction){i, tokens, labels, losses, hits});
        }
        text->score_end(state, scorer, note, &score);
        const double mean = (nll[0] + nll[1]) / (double)(n[0] + n[1]);
        assert_true(n[1] > 20 && n[0] > 20); /* else this test says nothing */
        assert_int_equal(score.n, count * T);
        assert_int_equal(score.hits, n[1]);
        assert_int_equal(score.rest, n[0]);
        assert_true(fabs(score.nll - mean) < 1e-12);
        assert_true(fabs(score.ppl - exp(mean)) < 1e-12);
        assert_true(fabs(score.bits - mean / log(2)) < 1e-12);
        assert_true(fabs(score.hit_ppl - exp(nll[1] / (double)n[1])) < 1e-12);
        assert_true(fabs(score.rest_ppl - exp(nll[0] / (double)n[0])) < 1e-12);
    }
    text->close(state);
}

static void the_content_hash_is_of_bytes_and_their_roles(void **unused)
{
    (void)unused;
    static const char *const options[] = {
        "{\"path\":\"corpus.txt\"}",
        "{\"path\":\"other.txt\"}",
        "{\"path\":\"corpus.txt\",\"valid\":\"other.txt\"}",
        "{\"path\":\"corpus.txt\",\"test\":\"other.txt\"}",
    };
    char hashes[5][HY_HASH_TEXT];
    struct hy_err e;
    write_counter("corpus.txt", 100);
    write_counter("other.txt", 100);
    for (int i = 0; i < 5; i++) {
        if (i == 4)
            write_counter("corpus.txt", 101);
        struct hy_value *resolved = resolve_task(text, options[i % 4]);
        assert_int_equal(text->content(resolved, hashes[i], &e), 0);
        hy_value_free(resolved);
    }
    assert_string_equal(hashes[0], hashes[1]);
    for (int i = 1; i < 5; i++)
        for (int j = i + 1; j < 5; j++)
            assert_string_not_equal(hashes[i], hashes[j]);
}

static void unusable_files_are_refused_by_name(void **unused)
{
    (void)unused;
    static const struct {
        const char *options, *said[3];
    } cases[] = {
        {"{\"path\":\"absent.txt\"}", {"test.json: ", "absent.txt", "No such file"}},
        {"{\"path\":\"/\"}", {"test.json: ", "/ is no regular file", "text"}},
        {"{\"path\":\"pipe\"}", {"test.json: ", "pipe is no regular file", "text"}},
        {"{\"path\":\"empty.txt\"}", {"test.json: ", "empty.txt", "empty"}},
        {"{\"path\":\"corpus.txt\"}", {"valid split of corpus.txt", "50 bytes", "needs 65"}},
        {"{\"path\":\"corpus.txt\",\"valid\":\"other.txt\"}",
         {"valid split of other.txt", "64 bytes", "needs 65"}},
        {"{\"path\":\"corpus.txt\",\"valid_fraction\":0.5,\"test_fraction\":0.5}",
         {"train split of corpus.txt", "0 bytes", "needs 65"}},
    };
    char bytes[1000] = {0};
    write_file("corpus.txt", bytes, sizeof bytes);
    write_file("other.txt", bytes, 64);
    write_file("empty.txt", bytes, 0);
    assert_int_equal(mkfifo("pipe", 0600), 0); /* nobody writes to it */
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct hy_err e;
        void *state = NULL;
        assert_int_equal(try_open_task(text, cases[c].options, 64, 0, &state, &e), HY_E_USAGE);
        assert_null(state);
        for (int i = 0; i < 3; i++)
            if (!strstr(e.text, cases[c].said[i]))
                fail_msg("no '%s' in: %s", cases[c].said[i], e.text);
    }
    text->close(open_task(text, "{\"path\":\"corpus.txt\"}", 49, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_are_cut_by_position_and_never_overlap),
        cmocka_unit_test(evaluation_reads_a_split_once_in_order),
        cmocka_unit_test(examples_are_spread_evenly_over_the_split),
        cmocka_unit_test(training_begins_anywhere_with_equal_chance),
        cmocka_unit_test(scores_are_what_a_naive_count_gives),
        cmocka_unit_test(the_content_hash_is_of_bytes_and_their_roles),
        cmocka_unit_test(unusable_files_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
