#include "core/tasks/support/mad.h"

#include <stdlib.h>
#include <string.h>

#include "core/tasks/support/sequence.h"
#include "core/tasks/support/tally.h"

int hy_mad_new(const struct hy_value *options, const struct hy_task_env *env, size_t size,
               int64_t scratch_size, void **state, struct hy_err *e)
{
    struct hy_mad *m = calloc(1, size);
    if (!m || !(m->scratch = calloc((size_t)scratch_size, sizeof *m->scratch))) {
        free(m);
        return hy_fail_memory(e);
    }
    m->env = *env;
    m->vocab = (int)hy_get_int(options, "vocab");
    m->train_examples = hy_get_int(options, "train_examples");
    m->examples = hy_get_int(options, "examples");
    if (hy_value_get(options, "predict"))
        m->predict_all = !strcmp(hy_get_string(options, "predict"), "all");
    *state = m;
    return HY_OK;
}

int hy_mad_check_pairs(const struct hy_task_env *env, const char *task, struct hy_err *e)
{
    if (env->seq_len >= 4 && env->seq_len % 2 == 0)
        return HY_OK;
    return hy_fail(e, HY_E_USAGE,
                   "task %s: sequences are pairs of two tokens, so seq_len must be even and at "
                   "least 4, but it is %d; take %d",
                   task, env->seq_len, env->seq_len < 4 ? 4 : env->seq_len + 1);
}

void hy_mad_close(void *state)
{
    struct hy_mad *m = state;
    if (!m)
        return;
    free(m->scratch);
    free(m);
}

int hy_mad_vocab(const void *state)
{
    return ((const struct hy_mad *)state)->vocab;
}

int64_t hy_mad_count(const void *state, enum hy_split split)
{
    const struct hy_mad *m = state;
    return split == HY_SPLIT_TRAIN ? INT64_MAX : m->examples;
}

int hy_mad_max_labels(const void *state)
{
    const struct hy_mad *m = state;
    return m->predict_all ? m->env.seq_len - 1 : m->most_labels;
}

void hy_mad_fill(const void *state, enum hy_split split, int64_t index, int32_t *tokens,
                 int32_t *labels)
{
    const struct hy_mad *m = state;
    const int training = split == HY_SPLIT_TRAIN;
    if (training && m->train_examples) {
        struct hy_rng order = hy_rng_start(m->env.seed, HY_RNG_ORDER,
                                           (uint32_t)((uint64_t)index >> 32), (uint32_t)index);
        index = hy_rng_below(&order, (uint32_t)m->train_examples);
    }
    struct hy_rng rng = hy_task_rng(&m->env, split, index);
    hy_clear_labels(labels, m->env.seq_len);
    m->write(m, split, &rng, tokens, labels);
    if (training && m->predict_all)
        memcpy(labels, tokens + 1, (size_t)(m->env.seq_len - 1) * sizeof *labels);
}

int hy_mad_score_begin(const void *state, enum hy_split split, void **scorer, struct hy_err *e)
{
    (void)state, (void)split;
    struct hy_tally *tally;
    const int rc = hy_tally_new(0, &tally, e);
    if (!rc)
        *scorer = tally;
    return rc;
}

void hy_mad_score_add(const void *state, void *scorer, const struct hy_prediction *p)
{
    const struct hy_mad *m = state;
    for (int t = 0; t < m->env.seq_len; t++)
        if (p->labels[t] != HY_NO_LABEL)
            hy_tally_add(scorer, HY_WHOLE, p->hit[t] != 0);
}

void hy_mad_score_end(const void *state, void *scorer, hy_score_fn *emit, void *context)
{
    (void)state;
    hy_tally_end(scorer, "", NULL, emit, context);
}

void hy_mad_print(const void *state, const int32_t *tokens, const int32_t *labels)
{
    hy_print_tokens(tokens, labels, ((const struct hy_mad *)state)->env.seq_len);
}
