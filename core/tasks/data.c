#include "core/tasks/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct place {
    const struct hy_task *task;
    void *state;
    int seq_len;
    int shift;      /* of its tokens in the shared vocabulary */
    double share;   /* training: of the loss and of the sequences, sums to 1 */
    uint64_t turns; /* training: share among the sources from this one on, in units of 2^-32 */
};

struct hy_data {
    int seq_len, vocab;
    int train_count, eval_count;
    struct place train[HY_MAX_SOURCES], eval[HY_MAX_SOURCES];
};

/* Gives the newly opened place its tokens: those of an earlier place of the same task, or new ones.
 */
static int settle(struct hy_data *d, struct place *p, struct hy_err *e)
{
    const int vocab = p->task->vocab(p->state);
    const struct place *const lists[] = {d->train, d->eval};
    const int counts[] = {d->train_count, d->eval_count};
    for (int list = 0; list < 2; list++)
        for (int i = 0; i < counts[list]; i++) {
            const struct place *other = &lists[list][i];
            if (other->task != p->task)
                continue;
            const int known = other->task->vocab(other->state);
            if (known != vocab)
                return hy_fail(e, HY_E_USAGE,
                               "a vocabulary of %d tokens, but the same task has %d elsewhere in "
                               "data; they share one, so make them equal",
                               vocab, known);
            p->shift = other->shift;
            return HY_OK;
        }
    if (vocab > INT32_MAX - d->vocab)
        return hy_fail(e, HY_E_USAGE,
                       "a vocabulary of %d tokens beside %d of other tasks is too large", vocab,
                       d->vocab);
    p->shift = d->vocab;
    d->vocab += vocab;
    return HY_OK;
}

static int open_sources(struct hy_data *d, const char *section, const struct hy_source *sources,
                        int count, const struct hy_task_env *env, struct place *places, int *opened,
                        struct hy_err *e)
{
    if (count > HY_MAX_SOURCES)
        return hy_fail(e, HY_E_USAGE, "data.%s has %d entries; at most %d fit", section, count,
                       HY_MAX_SOURCES);
    for (int i = 0; i < count; i++) {
        struct place *p = &places[i];
        struct hy_task_env own = *env;
        if (sources[i].seq_len)
            own.seq_len = sources[i].seq_len;
        p->task = sources[i].task;
        p->seq_len = own.seq_len;
        int rc = p->task->open(sources[i].options, &own, &p->state, e);
        if (rc)
            return rc;
        rc = settle(d, p, e);
        ++*opened;
        if (rc) {
            hy_err_wrap(e, "data.%s, task %s", section, p->task->name);
            return rc;
        }
    }
    return HY_OK;
}

static void share_out(struct hy_data *d, const struct hy_source *train)
{
    double total = 0, left = 0;
    for (int i = 0; i < d->train_count; i++)
        total += train[i].weight;
    for (int i = d->train_count - 1; i >= 0; i--) {
        left += train[i].weight;
        d->train[i].share = train[i].weight / total;
        d->train[i].turns = (uint64_t)llround(train[i].weight / left * 0x1p32);
    }
}

int hy_data_open(const struct hy_source *train, int train_count, const struct hy_source *eval,
                 int eval_count, const struct hy_task_env *env, struct hy_data **out,
                 struct hy_err *e)
{
    if (!train_count)
        return hy_fail(e, HY_E_USAGE, "data.train names no task");
    struct hy_data *d = calloc(1, sizeof *d);
    if (!d)
        return hy_fail_memory(e);
    d->seq_len = env->seq_len;
    int rc = open_sources(d, "train", train, train_count, env, d->train, &d->train_count, e);
    if (!rc)
        rc = open_sources(d, "eval", eval, eval_count, env, d->eval, &d->eval_count, e);
    if (rc) {
        hy_data_close(d);
        return rc;
    }
    share_out(d, train);
    *out = d;
    return HY_OK;
}

void hy_data_close(struct hy_data *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->train_count; i++)
        d->train[i].task->close(d->train[i].state);
    for (int i = 0; i < d->eval_count; i++)
        d->eval[i].task->close(d->eval[i].state);
    free(d);
}

int hy_data_vocab(const struct hy_data *d)
{
    return d->vocab;
}

/* How many of the first n turns that reach this source it takes. */
static int64_t turns_taken(const struct place *p, int64_t n)
{
    return (int64_t)(((unsigned __int128)n * p->turns + (1u << 31)) >> 32);
}

/* Whose the n-th training sequence is, and which of its own sequences that makes it. Each source
 * takes its turns, evenly spread, out of those that the sources before it have left; the last takes
 * the rest. */
static int whose(const struct hy_data *d, int64_t n, int64_t *index)
{
    int source = 0;
    for (;; source++) {
        const int64_t taken = turns_taken(&d->train[source], n);
        if (turns_taken(&d->train[source], n + 1) > taken) {
            *index = taken;
            return source;
        }
        n -= taken;
    }
}

static void shift_tokens(int shift, int count, int32_t *tokens, int32_t *labels)
{
    for (int t = 0; t < count; t++) {
        tokens[t] += shift;
        labels[t] += labels[t] == HY_NO_LABEL ? 0 : shift;
    }
}

int hy_data_train_fill(const struct hy_data *d, int64_t n, int32_t *tokens, int32_t *labels,
                       int *shift)
{
    int64_t index;
    const int source = whose(d, n, &index);
    const struct place *p = &d->train[source];
    /* Sources draw from ranges of indices of their own: one task given twice must not repeat
     * itself. */
    p->task->fill(p->state, HY_SPLIT_TRAIN, index + ((int64_t)source << 56), tokens, labels);
    shift_tokens(p->shift, d->seq_len, tokens, labels);
    *shift = p->shift;
    return source;
}

void hy_data_batch(const struct hy_data *d, int64_t step, int batch, int32_t *tokens,
                   int32_t *labels, float *weights)
{
    int64_t label_count[HY_MAX_SOURCES] = {0}, ignored;
    int shift;
    for (int b = 0; b < batch; b++) {
        int32_t *row = labels + (size_t)b * d->seq_len;
        const int source =
            hy_data_train_fill(d, step * batch + b, tokens + (size_t)b * d->seq_len, row, &shift);
        for (int t = 0; t < d->seq_len; t++)
            label_count[source] += row[t] != HY_NO_LABEL;
    }
    double present = 0;
    for (int i = 0; i < d->train_count; i++)
        present += label_count[i] ? d->train[i].share : 0;
    for (int b = 0; b < batch; b++) {
        const int source = whose(d, step * batch + b, &ignored);
        const int32_t *row = labels + (size_t)b * d->seq_len;
        float *weight = weights + (size_t)b * d->seq_len;
        for (int t = 0; t < d->seq_len; t++)
            weight[t] =
                row[t] == HY_NO_LABEL
                    ? 0
                    : (float)(d->train[source].share / present / (double)label_count[source]);
    }
}

int hy_data_max_train_labels(const struct hy_data *d, int batch)
{
    int64_t labels = 0, turns = batch;
    for (int i = 0; i < d->train_count; i++) {
        const struct place *p = &d->train[i];
        const uint64_t scaled = (uint64_t)turns * p->turns;
        const int64_t most = (int64_t)((scaled + UINT32_MAX) >> 32);
        labels += most * p->task->max_labels(p->state);
        turns -= (int64_t)(scaled >> 32);
    }
    return (int)labels;
}

int hy_data_max_eval_labels(const struct hy_data *d, int seq_len, int batch)
{
    int most = 0;
    for (int i = 0; i < d->eval_count; i++) {
        const struct place *p = &d->eval[i];
        const int labels = p->seq_len == seq_len ? batch * p->task->max_labels(p->state) : 0;
        most = labels > most ? labels : most;
    }
    return most;
}

const struct hy_task *hy_data_train_task(const struct hy_data *d, int source)
{
    return d->train[source].task;
}

const void *hy_data_train_state(const struct hy_data *d, int source)
{
    return d->train[source].state;
}

int hy_data_eval_count(const struct hy_data *d)
{
    return d->eval_count;
}

int hy_data_eval_seq_len(const struct hy_data *d, int source)
{
    return d->eval[source].seq_len;
}

const struct hy_task *hy_data_eval_task(const struct hy_data *d, int source)
{
    return d->eval[source].task;
}

const void *hy_data_eval_state(const struct hy_data *d, int source)
{
    return d->eval[source].state;
}

void hy_data_eval_fill(const struct hy_data *d, int source, enum hy_split split, int64_t index,
                       int32_t *tokens, int32_t *labels, int *shift)
{
    const struct place *p = &d->eval[source];
    p->task->fill(p->state, split, index, tokens, labels);
    shift_tokens(p->shift, p->seq_len, tokens, labels);
    *shift = p->shift;
}
