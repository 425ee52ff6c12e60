/* data.h - the mixture of tasks that a run trains on and is evaluated on.
 *
 * Tasks share one vocabulary: each distinct task's tokens lie beside the others', the first one's
 * from 0. Within a batch the tasks take turns in proportion to their weights, exactly and without
 * randomness; each sequence's loss weight makes the batch loss
 *     sum over tasks of weight_share * mean NLL over that task's labels in the batch,
 * so that a task with few labels per sequence is heard as its weight says. A batch too small to
 * hold every task shares the whole loss among those it holds. */
#ifndef HY_TASKS_DATA_H
#define HY_TASKS_DATA_H

#include "core/tasks/task.h"

enum { HY_MAX_SOURCES = 8 };

/* One entry of data.train or data.eval, as configured. */
struct hy_source {
    const struct hy_task *task;
    double weight;            /* training only, > 0 */
    int seq_len;              /* 0: the environment's, as always in training */
    struct hy_value *options; /* resolved; owned by the configuration */
};

struct hy_data; /* opened tasks and their places in the vocabulary */

/* eval sources take the vocabulary place of the train source of the same task (their vocabularies
 * must be equal); a task that is only evaluated comes after those that are trained. */
int hy_data_open(const struct hy_source *train, int train_count, const struct hy_source *eval,
                 int eval_count, const struct hy_task_env *env, struct hy_data **out,
                 struct hy_err *e);
void hy_data_close(struct hy_data *d); /* accepts NULL */

int hy_data_vocab(const struct hy_data *d);
/* Most labelled positions in a batch of `batch` training sequences: of hy_data_batch. */
int hy_data_max_train_labels(const struct hy_data *d, int batch);
/* Most labelled positions in a batch of evaluation sequences of seq_len tokens. */
int hy_data_max_eval_labels(const struct hy_data *d, int seq_len, int batch);

/* The n-th training sequence from the run's beginning (sequence b of step s is n = s * batch + b)
 * in the shared vocabulary. Returns its source in data.train; *shift is what was added to the
 * tokens. */
int hy_data_train_fill(const struct hy_data *d, int64_t n, int32_t *tokens, int32_t *labels,
                       int *shift);
/* As hy_data_eval_task and hy_data_eval_state, for the sources of data.train. */
const struct hy_task *hy_data_train_task(const struct hy_data *d, int source);
const void *hy_data_train_state(const struct hy_data *d, int source);

/* Fills a training batch: tokens, labels [batch, seq_len] in the shared vocabulary, weights
 * [batch, seq_len] the loss weight of each label (0 where unscored). */
void hy_data_batch(const struct hy_data *d, int64_t step, int batch, int32_t *tokens,
                   int32_t *labels, float *weights);

/* Evaluation: sources in the order of data.eval. */
int hy_data_eval_count(const struct hy_data *d);
/* Tokens of its sequences. */
int hy_data_eval_seq_len(const struct hy_data *d, int source);
const struct hy_task *hy_data_eval_task(const struct hy_data *d, int source);
/* The opened task state, for count, score_* (which see task-local tokens). */
const void *hy_data_eval_state(const struct hy_data *d, int source);
/* Fills one evaluation sequence in the shared vocabulary; *shift is what was added to the tokens.
 */
void hy_data_eval_fill(const struct hy_data *d, int source, enum hy_split split, int64_t index,
                       int32_t *tokens, int32_t *labels, int *shift);

#endif
