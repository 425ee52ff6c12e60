/* mad.h - what the tasks of MAD share (Poli et al., Mechanistic Architecture Design,
 * arXiv 2403.17844; sizes and rules as in the authors' configuration of each task). Seen by
 * core/tasks only.
 *
 * MAD trains on a finite set of sequences, for many epochs, and some tasks train on every next
 * token but are judged by the answers alone. Both are settings here. A sequence has all of its
 * seq_len tokens; nothing follows the last one, so it carries no label. Accuracy is the mean over
 * labelled positions (the authors' figures are means over classes of labels). */
#ifndef HY_TASKS_SUPPORT_MAD_H
#define HY_TASKS_SUPPORT_MAD_H

#include "core/tasks/task.h"

/* Rows of the tasks' options: those that every one ends with, and that of those whose published
 * loss is over the whole sequence. */
/* clang-format off */
#define HY_MAD_OPTIONS                                                              \
    {"train_examples", HY_OPT_INT, .def = 12800, .min = 0, .max = 1 << 30,          \
     .help = "training draws from so many sequences; 0: each is new"},              \
    {"examples", HY_OPT_INT, .def = 1280, .min = 1, .max = 1 << 30,                 \
     .help = "sequences in each of validation and test"},                           \
    {0}
#define HY_MAD_PREDICT                                                              \
    {"predict", HY_OPT_CHOICE, .text = "all", .choices = "all|answers",             \
     .help = "labels of training: every next token, or the answers, as in evaluation"}
/* clang-format on */

struct hy_mad {
    struct hy_task_env env;
    int vocab, most_labels;
    int64_t train_examples, examples;
    int predict_all; /* in training */
    /* Writes the tokens, and the labels of the answers (all unlabelled before). */
    void (*write)(const struct hy_mad *m, enum hy_split split, struct hy_rng *rng, int32_t *tokens,
                  int32_t *labels);
    int32_t *scratch;
};

/* Begins a task's state, size bytes that start with a struct hy_mad and are zero beyond it, with
 * scratch_size numbers of scratch. hy_mad_close() frees it. */
int hy_mad_new(const struct hy_value *options, const struct hy_task_env *env, size_t size,
               int64_t scratch_size, void **state, struct hy_err *e);
/* Fails where seq_len cannot be cut into pairs of two tokens, two pairs at least. */
int hy_mad_check_pairs(const struct hy_task_env *env, const char *task, struct hy_err *e);

/* The functions of struct hy_task. */
void hy_mad_close(void *state);
int hy_mad_vocab(const void *state);
int64_t hy_mad_count(const void *state, enum hy_split split);
int hy_mad_max_labels(const void *state);
void hy_mad_fill(const void *state, enum hy_split split, int64_t index, int32_t *tokens,
                 int32_t *labels);
int hy_mad_score_begin(const void *state, enum hy_split split, void **scorer, struct hy_err *e);
void hy_mad_score_add(const void *state, void *scorer, const struct hy_prediction *p);
void hy_mad_score_end(const void *state, void *scorer, hy_score_fn *emit, void *context);
void hy_mad_print(const void *state, const int32_t *tokens, const int32_t *labels);

#define HY_MAD_FUNCTIONS                                                                     \
    .close = hy_mad_close, .vocab = hy_mad_vocab, .count = hy_mad_count,                     \
    .max_labels = hy_mad_max_labels, .fill = hy_mad_fill, .score_begin = hy_mad_score_begin, \
    .score_add = hy_mad_score_add, .score_end = hy_mad_score_end, .print = hy_mad_print

#endif
