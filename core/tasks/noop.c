/* noop.c - a task that is not trained on: its runs load the runner and the store alone, and stand
 * in for models where how a sweep is carried out is what is tested (core/trial/noop.c). Its
 * sequences are random tokens, of which the last is labelled. */
#include <stdlib.h>

#include "core/tasks/support/sequence.h"
#include "core/tasks/support/tally.h"

enum { VOCAB = 256 };

static const struct hy_option noop_options[] = {
    {"points", HY_OPT_INT, .def = 10, .min = 0, .max = 1 << 20,
     .help = "history rows of a run, at most one a step"},
    {"seconds", HY_OPT_DURATION, .def = 0, .min = 0, .max = 1e6,
     .help = "how long a run takes, asleep"},
    {"recall", HY_OPT_REAL, .def = 1, .min = 0, .max = 1,
     .help = "the recall that a run reports at its end, and grows to in even steps"},
    {0},
};

static int noop_open(const struct hy_value *options, const struct hy_task_env *env, void **state,
                     struct hy_err *e)
{
    (void)options;
    struct hy_task_env *own = malloc(sizeof *own);
    if (!own)
        return hy_fail_memory(e);
    *own = *env;
    *state = own;
    return HY_OK;
}

static int noop_vocab(const void *state)
{
    (void)state;
    return VOCAB;
}

static int64_t noop_count(const void *state, enum hy_split split)
{
    (void)state;
    return split == HY_SPLIT_TRAIN ? INT64_MAX : 1;
}

static int noop_max_labels(const void *state)
{
    (void)state;
    return 1;
}

static void noop_fill(const void *state, enum hy_split split, int64_t index, int32_t *tokens,
                      int32_t *labels)
{
    const struct hy_task_env *env = state;
    struct hy_rng rng = hy_task_rng(env, split, index);
    for (int t = 0; t < env->seq_len; t++)
        tokens[t] = (int32_t)hy_rng_below(&rng, VOCAB);
    hy_clear_labels(labels, env->seq_len);
    labels[env->seq_len - 1] = tokens[env->seq_len - 1];
}

static int noop_score_begin(const void *state, enum hy_split split, void **scorer, struct hy_err *e)
{
    (void)state, (void)split;
    struct hy_tally *tally;
    const int rc = hy_tally_new(0, &tally, e);
    if (!rc)
        *scorer = tally;
    return rc;
}

static void noop_score_add(const void *state, void *scorer, const struct hy_prediction *p)
{
    const struct hy_task_env *env = state;
    hy_tally_add(scorer, HY_WHOLE, p->hit[env->seq_len - 1]);
}

static void noop_score_end(const void *state, void *scorer, hy_score_fn *emit, void *context)
{
    (void)state;
    hy_tally_end(scorer, "", NULL, emit, context);
}

static void noop_print(const void *state, const int32_t *tokens, const int32_t *labels)
{
    hy_print_tokens(tokens, labels, ((const struct hy_task_env *)state)->seq_len);
}

const struct hy_task hy_task_noop = {
    .name = "noop",
    .summary = "trains nothing: loads the runner alone, for its tests and benchmarks",
    .options = noop_options,
    .trains_nothing = 1,
    .measures_recall = 1,
    .open = noop_open,
    .close = free,
    .vocab = noop_vocab,
    .count = noop_count,
    .max_labels = noop_max_labels,
    .fill = noop_fill,
    .score_begin = noop_score_begin,
    .score_add = noop_score_add,
    .score_end = noop_score_end,
    .print = noop_print,
};
