/* task.h - the contract of a task: where training and test sequences come from, how predictions
 * score.
 *
 * A task is one file under core/tasks/ that defines `const struct hy_task hy_task_<name>`; CMake
 * generates the table of them from the file names. Sequences are pure functions of (options, seed,
 * split, index): nothing is carried from one to the next.
 *
 * Tokens are task-local, from 0; data.c shifts them where several tasks share a model's vocabulary.
 */
#ifndef HY_TASKS_TASK_H
#define HY_TASKS_TASK_H

#include <stdint.h>

#include "core/base/err.h"
#include "core/base/option.h"
#include "core/base/rng.h"
#include "core/base/value.h"

enum { HY_NO_LABEL = -100 }; /* the label of a position that is not scored */

enum hy_split { HY_SPLIT_TRAIN, HY_SPLIT_VALID, HY_SPLIT_TEST };
const char *hy_split_name(enum hy_split split); /* "train", "valid", "test" */

struct hy_task_env {
    int seq_len; /* train.seq_len, or the evaluation entry's own */
    uint64_t
        seed; /* train.seed: chooses the training sequences; valid and test do not depend on it */
};

/* The stream of random numbers that makes one sequence. */
struct hy_rng hy_task_rng(const struct hy_task_env *env, enum hy_split split, int64_t index);

/* The model's predictions for one sequence of an evaluation split. */
struct hy_prediction {
    int64_t index;         /* of the sequence within the split */
    const int32_t *tokens; /* [seq_len], task-local */
    const int32_t *labels; /* [seq_len], HY_NO_LABEL where not scored */
    const float *nll;   /* [seq_len] negative log likelihood of the label, nats; 0 where unscored */
    const uint8_t *hit; /* [seq_len] 1 where the label has the largest logit */
};

/* A score of a split: slice "" is the whole split. n: what the mean is over. */
typedef void hy_score_fn(void *context, const char *slice, const char *metric, double value,
                         int64_t n);

/* An opened task serves one thread at a time. */
struct hy_task {
    const char *name, *summary;
    const struct hy_option *options;
    int measures_recall; /* its "accuracy" over the whole split counts into recall_valid,
                            recall_test */
    int measures_text;   /* its "nll" (per token) and "bits_per_byte" make ppl_* and bpb_test */
    int trains_nothing;  /* its runs have no model: core/trial/noop.c makes them up */
    int uses_readout;    /* its labels are predicted from the last token's state alone, by a part of
                            the model that other tasks do not have (core/model/model.h) */

    /* options: resolved. *state: the task's own. Errors name the option and the nearest valid
     * thing. */
    int (*open)(const struct hy_value *options, const struct hy_task_env *env, void **state,
                struct hy_err *e);
    void (*close)(void *state); /* accepts NULL */
    int (*vocab)(const void *state);
    /* Sequences in an evaluation split; a training split has no end. */
    int64_t (*count)(const void *state, enum hy_split split);
    /* Largest number of scored positions in a sequence (the head is planned for it). */
    int (*max_labels)(const void *state);
    void (*fill)(const void *state, enum hy_split split, int64_t index, int32_t *tokens,
                 int32_t *labels);

    /* Optional (NULL: the task cannot tell). Where the answers stand: where[t] is the position in
     * the same sequence, t at most, of the token that gives label t, so that tokens[where[t]] is
     * that label; the last one where several do. -1 where there is none, or no label. tokens,
     * labels: as filled, task-local. */
    void (*evidence)(const void *state, const int32_t *tokens, const int32_t *labels,
                     int32_t *where);

    /* Scoring: one scorer per evaluated split, fed every sequence once, in order of index. */
    int (*score_begin)(const void *state, enum hy_split split, void **scorer, struct hy_err *e);
    void (*score_add)(const void *state, void *scorer, const struct hy_prediction *p);
    void (*score_end)(const void *state, void *scorer, hy_score_fn *emit,
                      void *context); /* frees */

    /* Optional (NULL: the options say everything). Content that the options only point to (a
     * corpus): a hash that stands in for it in a run's key. text: HY_HASH_TEXT bytes. */
    int (*content)(const struct hy_value *options, char *text, struct hy_err *e);
    /* Optional: options whose value does not change results (a path; content stands for it). */
    const char *const *not_in_key;
    /* Writes a sequence to stdout as a person reads it (hylas sample), in one line. */
    void (*print)(const void *state, const int32_t *tokens, const int32_t *labels);
};

/* The generated table, sorted by name, ended by NULL. */
extern const struct hy_task *const hy_tasks[];
const struct hy_task *hy_task_find(const char *name); /* NULL where absent */

#endif
