/* Laws of the needle in a haystack: who reads the tokens can answer, needles lie where they are
 * said to, and only whole answers count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/hash.h"
#include "tests/support/corpus.h"
#include "tests/support/open_task.h"

extern const struct hy_task hy_task_niah;
static const struct hy_task *const niah = &hy_task_niah;

enum { T = 96, MARK = 0, SEP = 1, QUERY = 2, KEYS = 64, VALUES = 64, HAY = 3 + KEYS + VALUES };

static int first_place(const int32_t *tokens, int32_t opener, int32_t key)
{
    for (int t = 0; t + 2 < T; t++)
        if (tokens[t] == opener && tokens[t + 1] == key && tokens[t + 2] == SEP)
            return t;
    return -1;
}

/* Labels each question's answer of `each` values with what follows the same key's mark. */
static int solve(const int32_t *tokens, int each, int32_t *labels)
{
    int questions = 0;
    for (int t = 0; t < T; t++)
        labels[t] = HY_NO_LABEL;
    for (int t = 0; t + 2 < T; t++) {
        if (tokens[t] != QUERY)
            continue;
        const int at = first_place(tokens, MARK, tokens[t + 1]);
        assert_true(at >= 0 && at < t);
        memcpy(labels + t + 2, tokens + at + 3, (size_t)each * sizeof *labels);
        questions++;
    }
    return questions;
}

static int count_token(const int32_t *tokens, int32_t token)
{
    int count = 0;
    for (int t = 0; t < T; t++)
        count += tokens[t] == token;
    return count;
}

static void every_mode_is_solved_by_looking_the_key_up(void **unused)
{
    (void)unused;
    static const struct {
        const char *mode;
        int needles, questions, each;
    } modes[] = {
        {"single", 1, 1, 1},
        {"multikey", 4, 1, 1},
        {"multivalue", 1, 1, 4},
        {"multiquery", 4, 4, 1},
    };
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        char options[64];
        snprintf(options, sizeof options, "{\"mode\":\"%s\"}", modes[m].mode);
        void *state = open_task(niah, options, T, 1);
        assert_int_equal(niah->vocab(state), HAY + 64);
        for (int split = HY_SPLIT_TRAIN; split <= HY_SPLIT_TEST; split++)
            for (int i = 0; i < 100; i++) {
                int32_t tokens[T], labels[T], solved[T];
                niah->fill(state, (enum hy_split)split, i, tokens, labels);
                assert_int_equal(solve(tokens, modes[m].each, solved), modes[m].questions);
                assert_memory_equal(labels, solved, sizeof labels);
                assert_int_equal(count_token(tokens, MARK), modes[m].needles);
                assert_int_equal(T - count_token(labels, HY_NO_LABEL), niah->max_labels(state));
                assert_int_not_equal(labels[T - 1], HY_NO_LABEL);
                for (int t = 0; t < T; t++) {
                    assert_in_range(tokens[t], 0, HAY + 63);
                    if (labels[t] != HY_NO_LABEL)
                        assert_in_range(labels[t], 3 + KEYS, HAY - 1);
                }
            }
        niah->close(state);
    }
}

static void evaluation_hides_the_needle_at_its_depth(void **unused)
{
    (void)unused;
    enum { NEEDLE = 4, QUESTION = 3, LENGTH = T - NEEDLE - QUESTION };
    static const int depths[] = {0, 10, 100};
    void *state = open_task(niah, "{\"depths\":[0,10,100],\"examples\":20}", T, 1);
    assert_int_equal(niah->count(state, HY_SPLIT_TEST), 60);
    for (int i = 0; i < 60; i++) {
        int32_t tokens[T], labels[T];
        niah->fill(state, HY_SPLIT_TEST, i, tokens, labels);
        assert_int_equal(first_place(tokens, MARK, tokens[T - 2]), depths[i % 3] * LENGTH / 100);
    }
    niah->close(state);
}

static void training_hides_the_needle_anywhere(void **unused)
{
    (void)unused;
    enum { PLACES = T - 7 + 1 };
    void *state = open_task(niah, "{\"depths\":50}", T, 1);
    int seen[PLACES] = {0}, distinct = 0;
    for (int i = 0; i < 20 * PLACES; i++) {
        int32_t tokens[T], labels[T];
        niah->fill(state, HY_SPLIT_TRAIN, i, tokens, labels);
        const int place = first_place(tokens, MARK, tokens[T - 2]);
        assert_in_range(place, 0, PLACES - 1);
        distinct += !seen[place]++;
    }
    assert_int_equal(distinct, PLACES);
    niah->close(state);
}

static void a_file_s_bytes_are_the_haystack_in_their_order(void **unused)
{
    (void)unused;
    char options[128], again[HY_HASH_TEXT], with[HY_HASH_TEXT], without[HY_HASH_TEXT];
    struct hy_err e;
    snprintf(options, sizeof options, "{\"path\":\"%s\"}", corpus);
    void *state = open_task(niah, options, T, 1);
    assert_int_equal(niah->vocab(state), HAY + 256);
    int differs = 0, before = -1;
    for (int i = 0; i < 50; i++) {
        int32_t tokens[T], labels[T];
        unsigned char hay[T];
        int n = 0;
        niah->fill(state, HY_SPLIT_VALID, i, tokens, labels);
        for (int t = 0; t < T; t++)
            if (tokens[t] >= HAY)
                hay[n++] = (unsigned char)(tokens[t] - HAY);
        assert_int_equal(n, T - 7);
        int at = 0; /* squares modulo 251 repeat after 251 bytes */
        while (at < 251) {
            int same = 1;
            for (int k = 0; k < n; k++)
                same &= hay[k] == (at + k) * (at + k) % 251;
            if (same)
                break;
            at++;
        }
        assert_in_range(at, 0, 250);
        differs += at != before;
        before = at;
    }
    assert_true(differs > 40);
    niah->close(state);

    struct hy_value *some = resolve_task(niah, options), *none = resolve_task(niah, "{}");
    assert_int_equal(niah->content(some, with, &e), 0);
    assert_int_equal(niah->content(some, again, &e), 0);
    assert_int_equal(niah->content(none, without, &e), 0);
    assert_string_equal(with, again);
    assert_string_not_equal(with, without);
    hy_value_free(some);
    hy_value_free(none);
}

struct scores {
    int count;
    struct {
        char slice[32];
        double value;
        int64_t n;
    } rows[4];
};

static void note(void *context, const char *slice, const char *metric, double value, int64_t n)
{
    struct scores *s = context;
    assert_string_equal(metric, "accuracy");
    assert_in_range(s->count, 0, 3);
    snprintf(s->rows[s->count].slice, sizeof s->rows->slice, "%s", slice);
    s->rows[s->count].value = value;
    s->rows[s->count++].n = n;
}

/* misses: for each sequence, which of its four labels are missed, as bits. */
static void score(const char *options, const unsigned *misses, struct scores *scores)
{
    struct hy_err e;
    void *state = open_task(niah, options, T, 1), *scorer;
    assert_int_equal(niah->count(state, HY_SPLIT_TEST), 4);
    assert_int_equal(niah->score_begin(state, HY_SPLIT_TEST, &scorer, &e), 0);
    for (int64_t i = 0; i < 4; i++) {
        int32_t tokens[T], labels[T];
        uint8_t hit[T] = {0};
        float nll[T] = {0};
        niah->fill(state, HY_SPLIT_TEST, i, tokens, labels);
        for (int t = 0, label = 0; t < T; t++)
            if (labels[t] != HY_NO_LABEL)
                hit[t] = !(misses[i] >> label++ & 1);
        niah->score_add(state, scorer, &(struct hy_prediction){i, tokens, labels, nll, hit});
    }
    niah->score_end(state, scorer, note, scores);
    niah->close(state);
    assert_int_equal(scores->count, 3);
    assert_string_equal(scores->rows[0].slice, "depth=0");
    assert_string_equal(scores->rows[1].slice, "depth=50");
    assert_string_equal(scores->rows[2].slice, "");
    assert_int_equal(scores->rows[0].n, 2);
    assert_int_equal(scores->rows[2].n, 4);
}

static void only_whole_answers_count(void **unused)
{
    (void)unused;
    static const unsigned misses[] = {0, 1, 4, 0}; /* depths 0, 50, 0, 50 */
    struct scores values = {0}, queries = {0};
    score("{\"mode\":\"multivalue\",\"depths\":[0,50],\"examples\":2}", misses, &values);
    assert_true(values.rows[0].value == 0.5);
    assert_true(values.rows[1].value == 0.5);
    assert_true(values.rows[2].value == 0.5);
    /* Of several questions a depth belongs to the first. */
    score("{\"mode\":\"multiquery\",\"depths\":[0,50],\"examples\":2}", misses, &queries);
    assert_true(queries.rows[0].value == 1);
    assert_true(queries.rows[1].value == 0.5);
    assert_true(queries.rows[2].value == 0.5);
}

static void impossible_haystacks_are_refused(void **unused)
{
    (void)unused;
    char small[128];
    snprintf(small, sizeof small, "{\"path\":\"%s\"}", corpus);
    const struct {
        const char *options;
        int length;
        const char *said[2];
    } cases[] = {
        {"{}", 7, {"seq_len >= 8", "7"}},
        {"{\"mode\":\"multiquery\"}", 31, {"4 needles and 4 questions", "seq_len >= 32"}},
        {"{\"mode\":\"multikey\",\"keys\":3}", T, {"4 needles", "keys is 3"}},
        {"{\"path\":\"/nowhere/at/all\"}", T, {"/nowhere/at/all", "No such file"}},
        {small, 5000, {"4000 bytes", "needs 4993"}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        void *state = NULL;
        struct hy_err e;
        assert_int_equal(try_open_task(niah, cases[c].options, cases[c].length, 0, &state, &e),
                         HY_E_USAGE);
        assert_null(state);
        for (int i = 0; i < 2; i++)
            if (!strstr(e.text, cases[c].said[i]))
                fail_msg("no '%s' in: %s", cases[c].said[i], e.text);
    }
    niah->close(open_task(niah, "{}", 8, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_is_solved_by_looking_the_key_up),
        cmocka_unit_test(evaluation_hides_the_needle_at_its_depth),
        cmocka_unit_test(training_hides_the_needle_anywhere),
        cmocka_unit_test(a_file_s_bytes_are_the_haystack_in_their_order),
        cmocka_unit_test(only_whole_answers_count),
        cmocka_unit_test(impossible_haystacks_are_refused),
    };
    return cmocka_run_group_tests(tests, write_corpus, remove_corpus);
}
