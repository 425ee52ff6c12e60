/* Laws of every task, and of the mixture that a run trains on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/tasks/data.h"
#include "tests/support/corpus.h"
#include "tests/support/open_task.h"

enum { T = 32, LONG = 40, MAX_BATCH = 64 };

/* "CORPUS" in options stands for the corpus's path. */
static struct hy_source source(const char *task, double weight, const char *options)
{
    char json[512];
    const char *mark = strstr(options, "CORPUS");
    snprintf(json, sizeof json, "%.*s%s%s", mark ? (int)(mark - options) : 0, options,
             mark ? corpus : "", mark ? mark + 6 : options);
    const struct hy_task *found = hy_task_find(task);
    assert_non_null(found);
    return (struct hy_source){
        .task = found, .weight = weight, .options = resolve_task(found, json)};
}

static void release(struct hy_source *sources, int count)
{
    for (int i = 0; i < count; i++)
        hy_value_free(sources[i].options);
}

static int try_open(const struct hy_source *train, int train_count, const struct hy_source *eval,
                    int eval_count, struct hy_data **data, struct hy_err *e)
{
    const struct hy_task_env env = {.seq_len = T, .seed = 5};
    return hy_data_open(train, train_count, eval, eval_count, &env, data, e);
}

static struct hy_data *open_data(const struct hy_source *train, int train_count,
                                 const struct hy_source *eval, int eval_count)
{
    struct hy_err e;
    struct hy_data *data = NULL;
    if (try_open(train, train_count, eval, eval_count, &data, &e))
        fail_msg("%s", e.text);
    return data;
}

static struct hy_source any_source(const struct hy_task *task)
{
    const char *options = "{\"examples\":3}";
    if (!strcmp(task->name, "text"))
        options = "{\"path\":\"CORPUS\",\"examples\":3}";
    if (!strcmp(task->name, "tokens"))
        options = "{\"path\":\"CORPUS\",\"valid_fraction\":0.2,\"test_fraction\":0.2}";
    if (task->trains_nothing)
        options = "{}";
    return source(task->name, 1, options);
}

static void every_task_keeps_its_contract(void **unused)
{
    (void)unused;
    assert_null(hy_task_find("no such task"));
    for (const struct hy_task *const *each = hy_tasks; *each; each++) {
        const struct hy_task *task = *each;
        assert_ptr_equal(hy_task_find(task->name), task);
        assert_true(!each[1] || strcmp(task->name, each[1]->name) < 0);
        struct hy_source s = any_source(task);
        const struct hy_task_env env = {.seq_len = LONG, .seed = 1};
        struct hy_err e;
        void *state, *again;
        if (task->open(s.options, &env, &state, &e) || task->open(s.options, &env, &again, &e))
            fail_msg("%s: %s", task->name, e.text);
        for (int split = HY_SPLIT_TRAIN; split <= HY_SPLIT_TEST; split++) {
            const int64_t count = split ? task->count(state, (enum hy_split)split) : 20;
            assert_true(count > 0);
            for (int64_t i = count - 1; i >= 0; i--) {
                int32_t tokens[2][LONG], labels[2][LONG];
                int scored = 0;
                task->fill(state, (enum hy_split)split, i, tokens[0], labels[0]);
                task->fill(again, (enum hy_split)split, i, tokens[1], labels[1]);
                assert_memory_equal(tokens[0], tokens[1], sizeof *tokens);
                assert_memory_equal(labels[0], labels[1], sizeof *labels);
                for (int t = 0; t < LONG; t++) {
                    assert_in_range(tokens[0][t], 0, task->vocab(state) - 1);
                    if (labels[0][t] != HY_NO_LABEL)
                        assert_in_range(labels[0][t], 0, task->vocab(state) - 1);
                    scored += labels[0][t] != HY_NO_LABEL;
                }
                assert_in_range(scored, 1, task->max_labels(state));
            }
        }
        task->close(state);
        task->close(again);
        task->close(NULL);
        release(&s, 1);
    }
}

/* Whether sequence i of a split is the same for both seeds. */
static int same(const struct hy_task *task, void *const states[2], const enum hy_split splits[2],
                int64_t i)
{
    int32_t rows[2][2][LONG];
    for (int k = 0; k < 2; k++)
        task->fill(states[k], splits[k], i, rows[k][0], rows[k][1]);
    return !memcmp(rows[0], rows[1], sizeof rows[0]);
}

static void the_seed_chooses_every_task_s_training_alone(void **unused)
{
    (void)unused;
    static const enum hy_split train[] = {HY_SPLIT_TRAIN, HY_SPLIT_TRAIN},
                               valid[] = {HY_SPLIT_VALID, HY_SPLIT_VALID},
                               test[] = {HY_SPLIT_TEST, HY_SPLIT_TEST},
                               across[] = {HY_SPLIT_VALID, HY_SPLIT_TEST},
                               from_train[] = {HY_SPLIT_TRAIN, HY_SPLIT_VALID};
    for (const struct hy_task *const *each = hy_tasks; *each; each++) {
        const struct hy_task *task = *each;
        struct hy_source s = any_source(task);
        struct hy_err e;
        void *states[2];
        for (int k = 0; k < 2; k++) {
            const struct hy_task_env env = {.seq_len = LONG, .seed = (uint64_t)k};
            if (task->open(s.options, &env, &states[k], &e))
                fail_msg("%s: %s", task->name, e.text);
        }
        for (int64_t i = 0; i < 3; i++) {
            assert_false(same(task, states, train, i));
            assert_true(same(task, states, valid, i));
            assert_true(same(task, states, test, i));
            assert_false(same(task, states, across, i));
            assert_false(same(task, states, from_train, i));
        }
        for (int k = 0; k < 2; k++)
            task->close(states[k]);
        release(&s, 1);
    }
}

static void tasks_take_turns_in_exact_proportion(void **unused)
{
    (void)unused;
    static const double shares[] = {0.5, 0.3, 0.2};
    struct hy_source train[] = {source("text", 5, "{\"path\":\"CORPUS\"}"),
                                source("mqar", 3, "{\"pairs\":4}"),
                                source("mqar", 2, "{\"pairs\":8}")};
    struct hy_data *data = open_data(train, 3, NULL, 0);
    int counts[3] = {0};
    for (int n = 0; n < 1000; n++) {
        int32_t tokens[T], labels[T];
        int shift;
        counts[hy_data_train_fill(data, n, tokens, labels, &shift)]++;
        for (int i = 0; i < 3; i++)
            assert_true(fabs(counts[i] - shares[i] * (n + 1)) <= 1.0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(counts[i], lround(1000 * shares[i]));
    hy_data_close(data);
    release(train, 3);
}

static void batch_loss_weighs_tasks_by_their_share(void **unused)
{
    (void)unused;
    enum { BATCH = 12 };
    struct hy_source train[] = {source("text", 3, "{\"path\":\"CORPUS\"}"),
                                source("mqar", 1, "{\"pairs\":4}")};
    struct hy_data *data = open_data(train, 2, NULL, 0);
    static int32_t tokens[BATCH * T], labels[BATCH * T];
    static float weights[BATCH * T];
    hy_data_batch(data, 9, BATCH, tokens, labels, weights);
    double total[2] = {0};
    int scored = 0;
    for (int i = 0; i < BATCH * T; i++) {
        if (labels[i] == HY_NO_LABEL) {
            assert_true(weights[i] == 0);
            continue;
        }
        total[labels[i] >= 256] += (double)weights[i];
        scored++;
    }
    assert_true(fabs(total[0] - 0.75) < 1e-6 && fabs(total[1] - 0.25) < 1e-6);
    assert_int_equal(scored, 9 * T + 3 * 4);
    assert_int_equal(hy_data_max_train_labels(data, BATCH), scored);

    hy_data_batch(data, 0, 1, tokens, labels, weights); /* one task alone has the whole loss */
    double alone = 0;
    for (int i = 0; i < T; i++)
        alone += (double)weights[i];
    assert_true(fabs(alone - 1) < 1e-6);
    hy_data_close(data);
    release(train, 2);
}

static void a_batch_holds_no_more_labels_than_promised(void **unused)
{
    (void)unused;
    struct hy_source train[] = {source("mqar", 1.7, "{\"pairs\":[2,8]}"),
                                source("mqar", 0.4, "{\"pairs\":1}"),
                                source("text", 1, "{\"path\":\"CORPUS\"}")};
    struct hy_data *data = open_data(train, 3, train, 1);
    static int32_t tokens[MAX_BATCH * T], labels[MAX_BATCH * T];
    static float weights[MAX_BATCH * T];
    for (int batch = 1; batch <= MAX_BATCH; batch = batch * 2 + 1)
        for (int64_t step = 0; step < 50; step++) {
            int scored = 0;
            hy_data_batch(data, step, batch, tokens, labels, weights);
            for (int i = 0; i < batch * T; i++)
                scored += labels[i] != HY_NO_LABEL;
            assert_in_range(scored, 1, hy_data_max_train_labels(data, batch));
        }
    hy_data_close(data);

    data = open_data(train, 1, train + 2, 1); /* a text that is only evaluated */
    assert_int_equal(hy_data_max_train_labels(data, 4), 4 * 8);
    assert_int_equal(hy_data_max_eval_labels(data, T, 4), 4 * T);
    assert_int_equal(hy_data_max_eval_labels(data, 2 * T, 4), 0);
    hy_data_close(data);
    release(train, 3);
}

static void a_sequence_does_not_depend_on_the_batch_it_is_in(void **unused)
{
    (void)unused;
    struct hy_source train[] = {source("text", 1, "{\"path\":\"CORPUS\"}"),
                                source("mqar", 2, "{\"pairs\":4}")};
    struct hy_data *data = open_data(train, 2, NULL, 0);
    int32_t large[2][12 * T], small[2][4 * T];
    float weights[12 * T];
    hy_data_batch(data, 2, 12, large[0], large[1], weights);
    for (int part = 0; part < 3; part++) {
        hy_data_batch(data, 6 + part, 4, small[0], small[1], weights);
        for (int i = 0; i < 2; i++)
            assert_memory_equal(small[i], large[i] + (size_t)part * 4 * T, sizeof small[i]);
    }
    hy_data_close(data);
    release(train, 2);
}

static void one_task_given_twice_does_not_repeat_itself(void **unused)
{
    (void)unused;
    struct hy_source train[] = {source("mqar", 1, "{\"pairs\":4}"),
                                source("mqar", 1, "{\"pairs\":4}")};
    struct hy_data *data = open_data(train, 2, NULL, 0);
    assert_int_equal(hy_data_vocab(data), 256);
    int32_t tokens[100][T], labels[T];
    int shift;
    for (int n = 0; n < 100; n++) {
        hy_data_train_fill(data, n, tokens[n], labels, &shift);
        for (int before = 0; before < n; before++)
            assert_memory_not_equal(tokens[n], tokens[before], sizeof *tokens);
    }
    hy_data_close(data);
    release(train, 2);
}

static void tasks_lie_beside_each_other_in_the_vocabulary(void **unused)
{
    (void)unused;
    struct hy_source train[] = {source("mqar", 1, "{\"vocab\":64,\"pairs\":4}"),
                                source("text", 1, "{\"path\":\"CORPUS\"}")};
    struct hy_source eval[] = {source("text", 1, "{\"path\":\"CORPUS\"}"),
                               source("mqar", 1, "{\"vocab\":64,\"pairs\":8}")};
    static const int shifts[] = {64, 0};
    for (int trained = 1; trained <= 2; trained++) { /* text is only evaluated, then trained too */
        struct hy_data *data = open_data(train, trained, eval, 2);
        assert_int_equal(hy_data_vocab(data), 64 + 256);
        assert_int_equal(hy_data_eval_count(data), 2);
        for (int i = 0; i < 2; i++) {
            const struct hy_task *task = hy_data_eval_task(data, i);
            int32_t shared[2][T], local[2][T];
            int shift;
            assert_ptr_equal(task, eval[i].task);
            hy_data_eval_fill(data, i, HY_SPLIT_TEST, 3, shared[0], shared[1], &shift);
            task->fill(hy_data_eval_state(data, i), HY_SPLIT_TEST, 3, local[0], local[1]);
            assert_int_equal(shift, shifts[i]);
            for (int t = 0; t < T; t++) {
                const int scored = local[1][t] != HY_NO_LABEL;
                assert_int_equal(shared[0][t], local[0][t] + shift);
                assert_int_equal(shared[1][t], local[1][t] + scored * shift);
            }
        }
        hy_data_close(data);
    }
    release(train, 2);
    release(eval, 2);
}

static void evaluation_sequences_may_have_a_length_of_their_own(void **unused)
{
    (void)unused;
    struct hy_source train[] = {source("text", 1, "{\"path\":\"CORPUS\"}")};
    struct hy_source eval[] = {source("mqar", 1, "{\"pairs\":8}"),
                               source("mqar", 1, "{\"pairs\":16}")};
    eval[1].seq_len = 2 * T;
    struct hy_data *data = open_data(train, 1, eval, 2);
    int32_t tokens[2 * T], labels[2 * T];
    int shift, scored = 0;
    assert_int_equal(hy_data_eval_seq_len(data, 0), T);
    assert_int_equal(hy_data_eval_seq_len(data, 1), 2 * T);
    assert_int_equal(hy_data_max_eval_labels(data, T, 3), 3 * 8);
    assert_int_equal(hy_data_max_eval_labels(data, 2 * T, 3), 3 * 16);
    hy_data_eval_fill(data, 1, HY_SPLIT_VALID, 0, tokens, labels, &shift);
    assert_int_equal(shift, 256);
    for (int t = 0; t < 2 * T; t++) {
        assert_in_range(tokens[t], 256, 511);
        scored += labels[t] != HY_NO_LABEL;
    }
    assert_int_equal(scored, 16);
    hy_data_close(data);
    release(train, 1);
    release(eval, 2);
}

static void impossible_mixtures_are_refused(void **unused)
{
    (void)unused;
    struct hy_err e;
    struct hy_data *data = NULL;
    struct hy_source train[] = {source("mqar", 1, "{\"vocab\":64,\"pairs\":4}")};
    struct hy_source eval[] = {source("mqar", 1, "{\"vocab\":128,\"pairs\":4}")};
    assert_int_equal(try_open(train, 1, eval, 1, &data, &e), HY_E_USAGE);
    assert_non_null(strstr(e.text, "data.eval, task mqar"));
    assert_non_null(strstr(e.text, "128"));
    assert_non_null(strstr(e.text, "64"));
    assert_int_equal(try_open(train, 0, eval, 1, &data, &e), HY_E_USAGE);
    assert_null(data);
    release(train, 1);
    release(eval, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_keeps_its_contract),
        cmocka_unit_test(the_seed_chooses_every_task_s_training_alone),
        cmocka_unit_test(tasks_take_turns_in_exact_proportion),
        cmocka_unit_test(batch_loss_weighs_tasks_by_their_share),
        cmocka_unit_test(a_batch_holds_no_more_labels_than_promised),
        cmocka_unit_test(a_sequence_does_not_depend_on_the_batch_it_is_in),
        cmocka_unit_test(one_task_given_twice_does_not_repeat_itself),
        cmocka_unit_test(tasks_lie_beside_each_other_in_the_vocabulary),
        cmocka_unit_test(evaluation_sequences_may_have_a_length_of_their_own),
        cmocka_unit_test(impossible_mixtures_are_refused),
    };
    return cmocka_run_group_tests(tests, write_corpus, remove_corpus);
}
