/* Laws of where the answers stand: a task's evidence holds the label, follows what the question
 * ends with, and is the last that does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/open_task.h"

enum { T = 64, SEQUENCES = 200, SEP = 1 /* of niah */ };

static const struct {
    const char *task, *options;
    int only_pairs; /* the same two tokens stand together nowhere but in pairs of key and value */
} cases[] = {
    {"mqar", "{\"vocab\":64,\"pairs\":[2,8]}", 0},
    {"mqar", "{\"vocab\":16,\"pairs\":4,\"fill\":\"zero\"}", 0},
    {"niah", "{}", 0},
    {"niah", "{\"mode\":\"multikey\",\"values\":2}", 0},
    {"niah", "{\"mode\":\"multivalue\",\"values\":2}", 0},
    {"niah", "{\"mode\":\"multiquery\",\"values\":2}", 0},
    {"mad_recall", "{}", 1},
    {"mad_recall", "{\"predict\":\"answers\"}", 1},
    {"mad_noisy_recall", "{\"noise\":0.5}", 1},
    {"mad_fuzzy_recall", "{}", 0},
    {"mad_fuzzy_recall", "{\"vocab\":7,\"key_length\":1,\"value_length\":1}", 1},
};

static int last_pair(const int32_t *tokens, int32_t key, int32_t value, int end)
{
    while (--end > 0)
        if (tokens[end - 1] == key && tokens[end] == value)
            return end;
    return -1;
}

/* Returns how many answers stand somewhere. */
static int check(size_t c, const int32_t *tokens, const int32_t *labels, const int32_t *where)
{
    int found = 0;
    for (int t = 0; t < T; t++) {
        const int32_t at = where[t];
        if (labels[t] == HY_NO_LABEL)
            assert_int_equal(at, -1);
        if (at == -1)
            continue;
        assert_in_range(at, 1, t);
        assert_int_equal(tokens[at], labels[t]);
        assert_int_equal(tokens[at - 1], tokens[t]);
        if (cases[c].only_pairs)
            assert_int_equal(at, last_pair(tokens, tokens[t], labels[t], t));
        if (!strcmp(cases[c].task, "niah") && tokens[t] == SEP)
            assert_int_equal(tokens[at - 2], tokens[t - 1]);
        found++;
    }
    return found;
}

static int count_labels(const int32_t *labels)
{
    int count = 0;
    for (int t = 0; t < T; t++)
        count += labels[t] != HY_NO_LABEL;
    return count;
}

static void evidence_holds_the_label_behind_what_is_asked(void **unused)
{
    (void)unused;
    int32_t tokens[T], labels[T], where[T];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const struct hy_task *task = hy_task_find(cases[c].task);
        void *state = open_task(task, cases[c].options, T, 1);
        for (int split = HY_SPLIT_TRAIN; split <= HY_SPLIT_TEST; split++)
            for (int i = 0; i < SEQUENCES; i++) {
                task->fill(state, (enum hy_split)split, i, tokens, labels);
                task->evidence(state, tokens, labels, where);
                const int found = check(c, tokens, labels, where);
                if (split == HY_SPLIT_TRAIN)
                    assert_in_range(found, 1, T);
                else
                    assert_int_equal(found, count_labels(labels));
            }
        task->close(state);
    }
}

static void evidence_of_mqar_is_among_the_pairs(void **unused)
{
    (void)unused;
    enum { PAIRS = 8 };
    const struct hy_task *task = hy_task_find("mqar");
    void *state = open_task(task, "{\"vocab\":18,\"pairs\":8}", T, 1); /* fillers look like pairs */
    for (int i = 0; i < SEQUENCES; i++) {
        int32_t tokens[T], labels[T], where[T];
        task->fill(state, HY_SPLIT_TEST, i, tokens, labels);
        task->evidence(state, tokens, labels, where);
        for (int t = 0; t < T; t++)
            if (labels[t] != HY_NO_LABEL)
                assert_in_range(where[t], 1, 2 * PAIRS - 1);
    }
    task->close(state);
}

static void only_answers_have_evidence(void **unused)
{
    (void)unused;
    static const char *const names[] = {"mad_recall", "mad_noisy_recall", "mad_fuzzy_recall"};
    for (int n = 0; n < 3; n++) {
        const struct hy_task *task = hy_task_find(names[n]);
        void *states[] = {open_task(task, "{\"predict\":\"all\"}", T, 1),
                          open_task(task, "{\"predict\":\"answers\"}", T, 1)};
        for (int i = 0; i < SEQUENCES; i++) {
            int32_t tokens[2][T], labels[2][T], where[2][T];
            for (int k = 0; k < 2; k++) {
                task->fill(states[k], HY_SPLIT_TRAIN, i, tokens[k], labels[k]);
                task->evidence(states[k], tokens[k], labels[k], where[k]);
            }
            assert_memory_equal(where[0], where[1], sizeof *where);
            for (int t = 0; t < T; t++)
                assert_int_equal(where[1][t] == -1, labels[1][t] == HY_NO_LABEL);
        }
        for (int k = 0; k < 2; k++)
            task->close(states[k]);
    }
}

static void every_task_that_tells_of_evidence_is_tested_here(void **unused)
{
    (void)unused;
    for (const struct hy_task *const *task = hy_tasks; *task; task++) {
        int tested = !strcmp((*task)->name, "text"); /* in test_text */
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            tested |= !strcmp((*task)->name, cases[c].task);
        assert_int_equal((*task)->evidence != NULL, tested);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evidence_holds_the_label_behind_what_is_asked),
        cmocka_unit_test(evidence_of_mqar_is_among_the_pairs),
        cmocka_unit_test(only_answers_have_evidence),
        cmocka_unit_test(every_task_that_tells_of_evidence_is_tested_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
