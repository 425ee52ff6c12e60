/* Laws of MAD's tasks: each evaluation sequence can be solved from its tokens alone, which an
 * oracle per task does; splits, seeds and finite training sets are what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/open_task.h"

enum { MAX_T = 256, MAX_VOCAB = 256, SEQUENCES = 200 };

static const struct hy_task *find(const char *name)
{
    const struct hy_task *task = hy_task_find(name);
    assert_non_null(task);
    return task;
}

static int count_labels(const int32_t *labels, int length)
{
    int count = 0;
    for (int t = 0; t < length; t++)
        count += labels[t] != HY_NO_LABEL;
    return count;
}

/* An oracle labels a sequence of `length` tokens, all unlabelled before, over `vocab` tokens. */
typedef void oracle_fn(const int32_t *tokens, int length, int vocab, int32_t *labels);

static void check_oracle(const char *name, const char *options, int length, int vocab,
                         oracle_fn *solve)
{
    const struct hy_task *task = find(name);
    void *state = open_task(task, options, length, 1);
    int32_t tokens[MAX_T], labels[MAX_T], solved[MAX_T];
    assert_int_equal(task->vocab(state), vocab);
    for (int split = HY_SPLIT_VALID; split <= HY_SPLIT_TEST; split++)
        for (int i = 0; i < SEQUENCES; i++) {
            task->fill(state, (enum hy_split)split, i, tokens, labels);
            for (int t = 0; t < length; t++)
                solved[t] = HY_NO_LABEL;
            solve(tokens, length, vocab, solved);
            assert_in_range(count_labels(labels, length), 1, task->max_labels(state));
            assert_memory_equal(labels, solved, (size_t)length * sizeof *labels);
        }
    task->close(state);
}

/* Keys below `keys`, values from there to below `others`, noise beyond. */
static void solve_pairs(const int32_t *tokens, int length, int keys, int others, int32_t *labels)
{
    int value_of[MAX_VOCAB], pairs = 0;
    memset(value_of, -1, sizeof value_of);
    for (int t = 0; t < length; t += 2) {
        if (tokens[t] >= others) {
            assert_in_range(tokens[t + 1], others, MAX_VOCAB - 1);
            continue;
        }
        assert_in_range(tokens[t], 0, keys - 1);
        assert_in_range(tokens[t + 1], keys, others - 1);
        if (value_of[tokens[t]] >= 0)
            labels[t] = value_of[tokens[t]];
        value_of[tokens[t]] = tokens[t + 1];
        pairs++;
    }
    assert_true(pairs >= 2 && labels[length - 2] != HY_NO_LABEL);
}

static void solve_recall(const int32_t *tokens, int length, int vocab, int32_t *labels)
{
    solve_pairs(tokens, length, vocab / 2, vocab, labels);
}

static void solve_noisy(const int32_t *tokens, int length, int vocab, int32_t *labels)
{
    solve_pairs(tokens, length, (vocab - 16) / 2, vocab - 16, labels);
}

static void in_context_recall_is_solved_by_remembering_pairs(void **unused)
{
    (void)unused;
    check_oracle("mad_recall", "{}", 128, 16, solve_recall);
    check_oracle("mad_recall", "{\"vocab\":2}", 4, 2, solve_recall);
    check_oracle("mad_recall", "{\"vocab\":33}", 64, 33, solve_recall);
    check_oracle("mad_noisy_recall", "{}", 128, 32, solve_noisy);
    check_oracle("mad_noisy_recall", "{\"noise\":0.99}", 32, 32, solve_noisy);
}

static void noise_has_its_share(void **unused)
{
    (void)unused;
    const struct hy_task *task = find("mad_noisy_recall");
    void *state = open_task(task, "{}", 128, 1);
    int noise = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        int32_t tokens[MAX_T], labels[MAX_T];
        task->fill(state, HY_SPLIT_TRAIN, i, tokens, labels);
        for (int t = 0; t < 128; t += 2)
            noise += tokens[t] >= 16;
    }
    task->close(state);
    /* 200 * 62 pairs at 0.2: standard deviation 44.5 */
    assert_in_range(noise, 2480 - 5 * 45, 2480 + 5 * 45);
}

/* Keys of exactly 3 tokens, values of 1 to 3, padding before. */
static void solve_fuzzy(const int32_t *tokens, int length, int vocab, int32_t *labels)
{
    const int keys = (vocab - 1) / 2;
    int begin[MAX_T], count = 0, t = 0;
    while (tokens[t] == vocab - 1)
        t++;
    assert_true(t < 12);
    while (t < length) {
        const int key = t;
        int known = -1, end = t + 3;
        for (; t < end; t++)
            assert_in_range(tokens[t], 0, keys - 1);
        while (end < length && tokens[end] >= keys)
            end++;
        assert_in_range(end - t, 1, 3);
        for (int i = 0; i < count && known < 0; i++)
            if (!memcmp(tokens + begin[i], tokens + key, 3 * sizeof *tokens))
                known = begin[i];
        if (known < 0)
            begin[count++] = key;
        for (; t < end; t++)
            if (known >= 0)
                labels[t - 1] = tokens[known + (t - key)];
    }
}

static void fuzzy_recall_is_solved_by_remembering_motifs(void **unused)
{
    (void)unused;
    check_oracle("mad_fuzzy_recall", "{}", 128, 16, solve_fuzzy);
    check_oracle("mad_fuzzy_recall", "{\"vocab\":64}", 77, 64, solve_fuzzy);
    check_oracle("mad_fuzzy_recall", "{\"vocab\":7}", 40, 7, solve_fuzzy); /* few keys: repeats */
}

static void fuzzy_training_has_keys_of_every_length(void **unused)
{
    (void)unused;
    const struct hy_task *task = find("mad_fuzzy_recall");
    void *state = open_task(task, "{\"predict\":\"answers\"}", 128, 1);
    int lengths[8] = {0};
    for (int i = 0; i < SEQUENCES; i++) {
        int32_t tokens[MAX_T], labels[MAX_T];
        task->fill(state, HY_SPLIT_TRAIN, i, tokens, labels);
        for (int t = 0, run = 0; t < 128; t++) {
            run = tokens[t] < 7 ? run + 1 : 0;
            if (run && tokens[t + 1] >= 7)
                lengths[run]++;
        }
    }
    task->close(state);
    for (int n = 1; n <= 3; n++)
        assert_true(lengths[n] > SEQUENCES);
    assert_int_equal(lengths[4], 0);
}

static void solve_copy(const int32_t *tokens, int length, int vocab, int32_t *labels)
{
    int32_t data[MAX_T];
    int count = 0, t = 0;
    for (; tokens[t] != vocab - 1; t++)
        if (tokens[t] != vocab - 2)
            data[count++] = tokens[t];
    assert_int_equal(t, length - 1 - count);
    assert_true(tokens[t - 1] < vocab - 2);
    for (int i = 0; i < count; i++) {
        assert_int_equal(tokens[t + 1 + i], vocab - 2);
        labels[t + 1 + i] = data[i];
    }
}

static void selective_copying_is_solved_by_skipping_blanks(void **unused)
{
    (void)unused;
    check_oracle("mad_selective_copy", "{}", 256, 16, solve_copy);
    check_oracle("mad_selective_copy", "{\"copies\":5}", 12, 16, solve_copy);
    check_oracle("mad_selective_copy", "{\"vocab\":3,\"copies\":1}", 9, 3, solve_copy);
}

static void solve_compress(const int32_t *tokens, int length, int vocab, int32_t *labels)
{
    assert_int_equal(tokens[length - 1], vocab - 1);
    for (int t = 0; t < length - 1; t++) {
        assert_in_range(tokens[t], 0, vocab - 2);
        labels[t] = tokens[t];
    }
}

static void compression_is_solved_by_knowing_the_tokens(void **unused)
{
    (void)unused;
    check_oracle("mad_compress", "{}", 32, 16, solve_compress);
    check_oracle("mad_compress", "{\"vocab\":2}", 2, 2, solve_compress);
    check_oracle("mad_compress", "{\"vocab\":3}", 256, 3, solve_compress);
}

static int map_of[MAX_VOCAB]; /* what training has told */

static void solve_memorize(const int32_t *tokens, int length, int vocab, int32_t *labels)
{
    for (int t = 0; t < length; t += 2) {
        assert_int_equal(tokens[t + 1], vocab - 1);
        assert_true(map_of[tokens[t]] >= 0);
        labels[t + 1] = map_of[tokens[t]];
    }
}

static void memorisation_is_solved_by_what_training_told(void **unused)
{
    (void)unused;
    const struct hy_task *task = find("mad_memorize");
    void *state = open_task(task, "{}", 32, 1), *other = open_task(task, "{\"map_seed\":1}", 32, 1);
    int32_t tokens[MAX_T], labels[MAX_T], elsewhere[MAX_T];
    int differs = 0, taken[MAX_VOCAB] = {0};
    memset(map_of, -1, sizeof map_of);
    for (int i = 0; i < SEQUENCES; i++) {
        task->fill(state, HY_SPLIT_TRAIN, i, tokens, labels);
        for (int t = 0; t < 32; t += 2) {
            assert_in_range(tokens[t], 0, 126);
            assert_in_range(labels[t + 1], 127, 254);
            if (map_of[tokens[t]] < 0)
                assert_false(taken[labels[t + 1]]++);
            map_of[tokens[t]] = labels[t + 1];
        }
        task->fill(other, HY_SPLIT_TRAIN, i, tokens, elsewhere);
        differs += memcmp(labels, elsewhere, 32 * sizeof *labels) != 0;
    }
    assert_int_equal(differs, SEQUENCES);
    task->close(state);
    task->close(other);
    check_oracle("mad_memorize", "{}", 32, 256, solve_memorize);
}

static void training_predicts_every_next_token_unless_told_otherwise(void **unused)
{
    (void)unused;
    static const char *const names[] = {"mad_recall", "mad_noisy_recall", "mad_fuzzy_recall"};
    enum { LENGTH = 64 };
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        const struct hy_task *task = find(names[n]);
        void *all = open_task(task, "{}", LENGTH, 1);
        void *answers = open_task(task, "{\"predict\":\"answers\"}", LENGTH, 1);
        int32_t tokens[2][LENGTH], labels[2][LENGTH];
        task->fill(all, HY_SPLIT_TRAIN, 5, tokens[0], labels[0]);
        task->fill(answers, HY_SPLIT_TRAIN, 5, tokens[1], labels[1]);
        assert_memory_equal(tokens[0], tokens[1], sizeof *tokens);
        assert_memory_equal(labels[0], tokens[0] + 1, (LENGTH - 1) * sizeof **labels);
        assert_int_equal(labels[0][LENGTH - 1], HY_NO_LABEL);
        assert_in_range(count_labels(labels[1], LENGTH), 1, LENGTH / 2);
        for (int t = 0; t < LENGTH; t++)
            if (labels[1][t] != HY_NO_LABEL)
                assert_int_equal(labels[1][t], tokens[1][t + 1]);
        task->close(all);
        task->close(answers);
    }
}

static int distinct_training_sequences(const char *options, int count)
{
    enum { LENGTH = 64 };
    const struct hy_task *task = find("mad_recall");
    void *state = open_task(task, options, LENGTH, 3);
    int32_t(*tokens)[LENGTH] = calloc((size_t)count, sizeof *tokens), labels[LENGTH];
    int distinct = 0;
    assert_non_null(tokens);
    for (int i = 0; i < count; i++) {
        int known = 0;
        task->fill(state, HY_SPLIT_TRAIN, i, tokens[distinct], labels);
        for (int j = 0; j < distinct && !known; j++)
            known = !memcmp(tokens[j], tokens[distinct], sizeof *tokens);
        distinct += !known;
    }
    free(tokens);
    task->close(state);
    return distinct;
}

static void a_finite_training_set_repeats_itself(void **unused)
{
    (void)unused;
    assert_int_equal(distinct_training_sequences("{\"train_examples\":10}", 200), 10);
    assert_int_equal(distinct_training_sequences("{\"train_examples\":0}", 200), 200);
}

struct score {
    int rows;
    double value;
    int64_t n;
};

static void note(void *context, const char *slice, const char *metric, double value, int64_t n)
{
    struct score *s = context;
    assert_string_equal(slice, "");
    assert_string_equal(metric, "accuracy");
    *s = (struct score){s->rows + 1, value, n};
}

static void accuracy_is_the_mean_over_labels(void **unused)
{
    (void)unused;
    enum { LENGTH = 32 };
    const struct hy_task *task = find("mad_recall");
    struct hy_err e;
    void *state = open_task(task, "{\"examples\":3}", LENGTH, 1), *scorer;
    int labelled = 0;
    assert_int_equal(task->score_begin(state, HY_SPLIT_TEST, &scorer, &e), 0);
    for (int64_t i = 0; i < 3; i++) {
        int32_t tokens[LENGTH], labels[LENGTH];
        uint8_t hit[LENGTH];
        float nll[LENGTH] = {0};
        task->fill(state, HY_SPLIT_TEST, i, tokens, labels);
        for (int t = 0; t < LENGTH; t++) /* one hit in all; unscored positions must not count */
            hit[t] = labels[t] == HY_NO_LABEL || !labelled++;
        task->score_add(state, scorer, &(struct hy_prediction){i, tokens, labels, nll, hit});
    }
    struct score score = {0};
    task->score_end(state, scorer, note, &score);
    task->close(state);
    assert_int_equal(score.rows, 1);
    assert_int_equal(score.n, labelled);
    assert_true(score.value > 0.999 / labelled && score.value < 1.001 / labelled);
}

static void impossible_sizes_are_refused(void **unused)
{
    (void)unused;
    static const struct {
        const char *task, *options;
        int length;
        const char *said[2];
    } cases[] = {
        {"mad_recall", "{}", 33, {"even", "take 34"}},
        {"mad_recall", "{}", 2, {"at least 4", "take 4"}},
        {"mad_noisy_recall", "{\"vocab\":17}", 32, {"test.json: ", "take 18"}},
        {"mad_fuzzy_recall", "{\"vocab\":6}", 64, {"key_length 3", "take 2 or less"}},
        {"mad_fuzzy_recall", "{\"value_length\":9}", 64, {"value_length 9", "take 8 or less"}},
        {"mad_fuzzy_recall", "{}", 11, {"seq_len 12", "11"}},
        {"mad_selective_copy", "{}", 33, {"34", "at most 15 copies"}},
        {"mad_memorize", "{}", 31, {"even", "take 32"}},
        {"mad_compress", "{}", 1, {"seq_len >= 2", "is 1"}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        void *state = NULL;
        struct hy_err e;
        assert_int_equal(
            try_open_task(find(cases[c].task), cases[c].options, cases[c].length, 0, &state, &e),
            HY_E_USAGE);
        assert_null(state);
        for (int i = 0; i < 2; i++)
            if (!strstr(e.text, cases[c].said[i]))
                fail_msg("no '%s' in: %s", cases[c].said[i], e.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_context_recall_is_solved_by_remembering_pairs),
        cmocka_unit_test(noise_has_its_share),
        cmocka_unit_test(fuzzy_recall_is_solved_by_remembering_motifs),
        cmocka_unit_test(fuzzy_training_has_keys_of_every_length),
        cmocka_unit_test(selective_copying_is_solved_by_skipping_blanks),
        cmocka_unit_test(compression_is_solved_by_knowing_the_tokens),
        cmocka_unit_test(memorisation_is_solved_by_what_training_told),
        cmocka_unit_test(training_predicts_every_next_token_unless_told_otherwise),
        cmocka_unit_test(a_finite_training_set_repeats_itself),
        cmocka_unit_test(accuracy_is_the_mean_over_labels),
        cmocka_unit_test(impossible_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
