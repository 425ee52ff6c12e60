/* Laws of the MQAR task: its sequences follow the published rule exactly, its accuracy the
 * published definition. Statistical bounds are chi-square quantiles at 1 - 1e-6; the streams are
 * fixed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/open_task.h"

extern const struct hy_task hy_task_mqar;
static const struct hy_task *const mqar = &hy_task_mqar;

enum { MAX_T = 128 };

static double chi_square(const int *observed, const double *expected, int cells)
{
    double sum = 0;
    for (int i = 0; i < cells; i++)
        sum += (observed[i] - expected[i]) * (observed[i] - expected[i]) / expected[i];
    return sum;
}

static int find_token(const int32_t *tokens, int first, int last, int step, int32_t token)
{
    int found = 0;
    for (int t = first; t < last; t += step)
        found += tokens[t] == token;
    return found;
}

static void check_sequence(const int32_t *tokens, const int32_t *labels, int length, int vocab,
                           int n, int zero_fill)
{
    for (int i = 0; i < n; i++) {
        const int32_t key = tokens[2 * i], value = tokens[2 * i + 1];
        assert_in_range(key, 1, vocab / 2 - 1);
        assert_in_range(value, vocab / 2, vocab - 1);
        assert_int_equal(find_token(tokens, 0, 2 * n, 2, key), 1);
        assert_int_equal(find_token(tokens, 1, 2 * n, 2, value), 1);
        int asked = 0;
        for (int t = 2 * n; t < length; t++)
            if (labels[t] == value) {
                assert_int_equal(t % 2, 0);
                assert_int_equal(tokens[t], key);
                asked++;
            }
        assert_int_equal(asked, 1);
    }
    int scored = 0;
    for (int t = 0; t < length; t++) {
        assert_in_range(tokens[t], 0, vocab - 1);
        scored += labels[t] != HY_NO_LABEL;
        if (t < 2 * n)
            assert_int_equal(labels[t], HY_NO_LABEL);
        else if (zero_fill && labels[t] == HY_NO_LABEL)
            assert_int_equal(tokens[t], 0);
    }
    assert_int_equal(scored, n);
}

static void sequences_are_pairs_then_each_key_once_in_a_slot(void **unused)
{
    (void)unused;
    static const struct {
        const char *options;
        int length, vocab, pairs, zero;
    } cases[] = {
        {"{\"vocab\":64,\"pairs\":8}", 64, 64, 8, 0},
        {"{\"vocab\":64,\"pairs\":8,\"fill\":\"zero\"}", 64, 64, 8, 1},
        {"{\"vocab\":18,\"pairs\":8}", 32, 18, 8, 0},                   /* every key, all slots */
        {"{\"vocab\":19,\"pairs\":8,\"fill\":\"zero\"}", 33, 19, 8, 1}, /* odd sizes */
        {"{\"vocab\":4,\"pairs\":1}", 4, 4, 1, 0},
    };
    int32_t tokens[MAX_T], labels[MAX_T];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        void *state = open_task(mqar, cases[c].options, cases[c].length, 1);
        for (int split = HY_SPLIT_TRAIN; split <= HY_SPLIT_TEST; split++)
            for (int i = 0; i < 200; i++) {
                mqar->fill(state, (enum hy_split)split, i, tokens, labels);
                check_sequence(tokens, labels, cases[c].length, cases[c].vocab, cases[c].pairs,
                               cases[c].zero);
            }
        mqar->close(state);
    }
}

static void slots_are_successive_draws_without_replacement(void **unused)
{
    (void)unused;
    enum { LENGTH = 12, SLOTS = 4, DRAWS = 40000 };
    static const double powers[] = {0.01, 0.5};
    for (int p = 0; p < 2; p++) {
        char options[128];
        snprintf(options, sizeof options, "{\"vocab\":16,\"pairs\":2,\"power_a\":%g}", powers[p]);
        void *state = open_task(mqar, options, LENGTH, 7);
        int observed[SLOTS * SLOTS] = {0};
        for (int i = 0; i < DRAWS; i++) {
            int32_t tokens[LENGTH], labels[LENGTH];
            int slot[2] = {-1, -1};
            mqar->fill(state, HY_SPLIT_TRAIN, i, tokens, labels);
            for (int t = 4; t < LENGTH; t++)
                if (labels[t] != HY_NO_LABEL)
                    slot[labels[t] == tokens[3]] = (t - 4) / 2;
            observed[slot[0] * SLOTS + slot[1]]++;
        }
        mqar->close(state);

        double weight[SLOTS], total = 0, expected[SLOTS * (SLOTS - 1)];
        int cells[SLOTS * (SLOTS - 1)], count = 0;
        for (int i = 0; i < SLOTS; i++)
            total += weight[i] = pow(i + 1, powers[p] - 1);
        for (int i = 0; i < SLOTS; i++)
            for (int j = 0; j < SLOTS; j++)
                if (i != j) {
                    expected[count] = DRAWS * weight[i] / total * weight[j] / (total - weight[i]);
                    cells[count++] = observed[i * SLOTS + j];
                }
        assert_true(chi_square(cells, expected, count) < 51.0); /* 11 degrees of freedom */
    }
}

static void keys_values_and_fillers_are_uniform(void **unused)
{
    (void)unused;
    enum { LENGTH = 16, VOCAB = 16, DRAWS = 21000, KEYS = 7, VALUES = 8 };
    void *state = open_task(mqar, "{\"vocab\":16,\"pairs\":2}", LENGTH, 3);
    int key_pairs[KEYS * KEYS] = {0}, values[VALUES] = {0}, fillers[VOCAB] = {0}, filler_count = 0;
    for (int i = 0; i < DRAWS; i++) {
        int32_t tokens[LENGTH], labels[LENGTH];
        mqar->fill(state, HY_SPLIT_TRAIN, i, tokens, labels);
        key_pairs[(tokens[0] - 1) * KEYS + tokens[2] - 1]++;
        values[tokens[3] - VOCAB / 2]++;
        for (int t = 4; t < LENGTH; t++)
            if (labels[t] == HY_NO_LABEL) {
                fillers[tokens[t]]++;
                filler_count++;
            }
    }
    mqar->close(state);

    double expected[KEYS * KEYS];
    int cells[KEYS * KEYS], count = 0;
    for (int i = 0; i < KEYS * KEYS; i++)
        if (i / KEYS != i % KEYS) {
            expected[count] = (double)DRAWS / (KEYS * (KEYS - 1));
            cells[count++] = key_pairs[i];
        }
    assert_true(chi_square(cells, expected, count) < 97.0); /* 41 degrees of freedom */
    for (int i = 0; i < VALUES; i++)
        expected[i] = (double)DRAWS / VALUES;
    assert_true(chi_square(values, expected, VALUES) < 41.0);
    for (int i = 0; i < VOCAB; i++)
        expected[i] = (double)filler_count / VOCAB;
    assert_true(chi_square(fillers, expected, VOCAB) < 58.0);
}

/* Whether sequence i of split in a equals sequence j of split in b. */
static int same(void *a, enum hy_split a_split, int64_t i, void *b, enum hy_split b_split,
                int64_t j)
{
    int32_t x[2][64], y[2][64];
    mqar->fill(a, a_split, i, x[0], x[1]);
    mqar->fill(b, b_split, j, y[0], y[1]);
    return memcmp(x, y, sizeof x) == 0;
}

static void the_seed_chooses_training_sequences_and_nothing_else(void **unused)
{
    (void)unused;
    void *one = open_task(mqar, "{}", 64, 1), *two = open_task(mqar, "{}", 64, 2);
    for (int64_t i = 0; i < 50; i++) {
        const int64_t far = i + ((int64_t)1 << 40);
        assert_true(same(one, HY_SPLIT_TRAIN, i, one, HY_SPLIT_TRAIN, i));
        assert_false(same(one, HY_SPLIT_TRAIN, i, two, HY_SPLIT_TRAIN, i));
        assert_false(same(one, HY_SPLIT_TRAIN, i, one, HY_SPLIT_TRAIN, i + 1));
        assert_false(same(one, HY_SPLIT_TRAIN, i, one, HY_SPLIT_TRAIN, far));
        assert_true(same(one, HY_SPLIT_VALID, i, two, HY_SPLIT_VALID, i));
        assert_true(same(one, HY_SPLIT_TEST, i, two, HY_SPLIT_TEST, i));
        assert_false(same(one, HY_SPLIT_VALID, i, one, HY_SPLIT_TEST, i));
        assert_false(same(one, HY_SPLIT_VALID, i, one, HY_SPLIT_TRAIN, i));
    }
    mqar->close(one);
    mqar->close(two);
}

struct scores {
    int count;
    struct {
        char slice[32], metric[32];
        double value;
        int64_t n;
    } rows[8];
};

static void note(void *context, const char *slice, const char *metric, double value, int64_t n)
{
    struct scores *s = context;
    assert_in_range(s->count, 0, 7);
    snprintf(s->rows[s->count].slice, sizeof s->rows->slice, "%s", slice);
    snprintf(s->rows[s->count].metric, sizeof s->rows->metric, "%s", metric);
    s->rows[s->count].value = value;
    s->rows[s->count++].n = n;
}

static void accuracy_is_the_mean_over_queries_then_over_examples(void **unused)
{
    (void)unused;
    enum { LENGTH = 32 };
    struct hy_err e;
    void *state = open_task(mqar, "{\"pairs\":[2,4],\"examples\":3}", LENGTH, 1), *scorer;
    assert_int_equal(mqar->count(state, HY_SPLIT_TEST), 6);
    assert_int_equal(mqar->max_labels(state), 4);
    assert_int_equal(mqar->score_begin(state, HY_SPLIT_TEST, &scorer, &e), 0);
    for (int64_t i = 0; i < 6; i++) {
        int32_t tokens[LENGTH], labels[LENGTH];
        uint8_t hit[LENGTH];
        float nll[LENGTH] = {0};
        mqar->fill(state, HY_SPLIT_TEST, i, tokens, labels);
        memset(hit, 1, sizeof hit); /* what stands at unscored positions must not count */
        int queries = 0;
        for (int t = 0; t < LENGTH; t++)
            if (labels[t] != HY_NO_LABEL)
                hit[t] = queries++ == 0;
        assert_int_equal(queries, i % 2 ? 4 : 2);
        mqar->score_add(state, scorer, &(struct hy_prediction){i, tokens, labels, nll, hit});
    }
    struct scores scores = {0};
    mqar->score_end(state, scorer, note, &scores);
    mqar->close(state);

    static const struct {
        const char *slice;
        double value;
        int64_t n;
    } expected[] = {{"pairs=2", 0.5, 3}, {"pairs=4", 0.25, 3}, {"", 0.375, 6}};
    assert_int_equal(scores.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(scores.rows[i].slice, expected[i].slice);
        assert_string_equal(scores.rows[i].metric, "accuracy");
        assert_true(fabs(scores.rows[i].value - expected[i].value) < 1e-12);
        assert_int_equal(scores.rows[i].n, expected[i].n);
    }
}

static void impossible_pairs_are_refused_with_the_bound(void **unused)
{
    (void)unused;
    static const struct {
        const char *options, *said[3];
    } cases[] = {
        {"{\"pairs\":[4,17]}", {"test.json: ", "pairs 17", "at most 16 pairs"}},
        {"{\"vocab\":16,\"pairs\":8}", {"pairs 8", "vocab 16 has 7", "at most 7 pairs"}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        void *state = NULL;
        struct hy_err e;
        assert_int_equal(try_open_task(mqar, cases[c].options, 64, 0, &state, &e), HY_E_USAGE);
        assert_null(state);
        for (int i = 0; i < 3; i++)
            if (!strstr(e.text, cases[c].said[i]))
                fail_msg("no '%s' in: %s", cases[c].said[i], e.text);
    }
    mqar->close(open_task(mqar, "{\"pairs\":16}", 64, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_pairs_then_each_key_once_in_a_slot),
        cmocka_unit_test(slots_are_successive_draws_without_replacement),
        cmocka_unit_test(keys_values_and_fillers_are_uniform),
        cmocka_unit_test(the_seed_chooses_training_sequences_and_nothing_else),
        cmocka_unit_test(accuracy_is_the_mean_over_queries_then_over_examples),
        cmocka_unit_test(impossible_pairs_are_refused_with_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
