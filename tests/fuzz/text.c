/* The file that a task takes its tokens from, text or token ids: refused, or made into sequences of
 * the task's own vocabulary. The first byte chooses the task and its options. */
#include "core/tasks/task.h"
#include "tests/fuzz/fuzz.h"

enum { LENGTH = 16 };

static void see_score(void *context, const char *slice, const char *metric, double value, int64_t n)
{
    (void)context, (void)slice, (void)metric;
    fuzz_require(value >= 0 && n > 0, "a score is a mean over something");
}

/* Some sequences of a split, and the scores of predictions that are half right. */
static void use(const struct hy_task *task, void *state, enum hy_split split)
{
    int32_t tokens[LENGTH], labels[LENGTH];
    float nll[LENGTH];
    uint8_t hit[LENGTH];
    void *scorer = NULL;
    struct hy_err e;
    const int64_t count = task->count(state, split), most = 64;
    const int vocab = task->vocab(state);
    if (split != HY_SPLIT_TRAIN && task->score_begin(state, split, &scorer, &e))
        return;
    for (int64_t i = 0; i < (split == HY_SPLIT_TRAIN && count > most ? most : count); i++) {
        task->fill(state, split, i, tokens, labels);
        for (int t = 0; t < LENGTH; t++) {
            const int scored = labels[t] != HY_NO_LABEL;
            fuzz_require(tokens[t] >= 0 && tokens[t] < vocab, "tokens are of the vocabulary");
            fuzz_require(!scored || (labels[t] >= 0 && labels[t] < vocab), "and so are labels");
            hit[t] = scored && t % 2;
            nll[t] = (float)scored;
        }
        const struct hy_prediction p = {i, tokens, labels, nll, hit};
        if (scorer)
            task->score_add(state, scorer, &p);
    }
    if (scorer)
        task->score_end(state, scorer, see_score, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const more[2][4] = {{"", ",\"valid_fraction\":0.9,\"test_fraction\":0.09",
                                            ",\"examples\":1,\"ar_ngram\":2",
                                            ",\"ar_ngram\":7,\"ar_rare\":0"},
                                           {"", ",\"valid_fraction\":0.3,\"test_fraction\":0.3",
                                            ",\"dtype\":\"uint32\"", ",\"vocab\":300"}};
    const struct hy_task_env env = {.seq_len = LENGTH, .seed = 1};
    const int ids = size && data[0] & 4;
    const struct hy_task *task = hy_task_find(ids ? "tokens" : "text");
    struct hy_value *given, *options;
    struct hy_err e = {0};
    char json[256];
    void *state = NULL;
    if (!size)
        return 0;
    snprintf(json, sizeof json, "{\"path\":\"%s\"%s}", fuzz_file(data + 1, size - 1),
             more[ids][data[0] % 4]);
    fuzz_require(!hy_value_from_json(json, "options", &given, &e) &&
                     !hy_options_resolve(task->options, given, "task", NULL, &options, &e),
                 "the options are good");
    if (task->open(options, &env, &state, &e))
        fuzz_require(e.text[0], "an error says what is wrong");
    for (int split = HY_SPLIT_TRAIN; state && split <= HY_SPLIT_TEST; split++)
        use(task, state, (enum hy_split)split);
    task->close(state);
    hy_value_free(given);
    hy_value_free(options);
    return 0;
}
