/* span.h - splits of a corpus by position, and the sequences that they are read in. Seen by
 * core/tasks only.
 *
 * Texts repeat themselves, so splits are cut by position: the last test_fraction of what option
 * path names is the test split, valid_fraction before it the validation split, or options valid and
 * test name files of their own. Training sequences begin anywhere in the training split; an
 * evaluation split is read once, in consecutive windows. A sequence of seq_len positions needs one
 * token more, the last label. */
#ifndef HY_TASKS_SUPPORT_SPAN_H
#define HY_TASKS_SUPPORT_SPAN_H

#include "core/tasks/task.h"

/* Rows of a task's options. */
/* clang-format off */
#define HY_SPAN_OPTIONS                                                            \
    {"valid_fraction", HY_OPT_REAL, .def = 0.05, .min = 0, .max = 0.9,             \
     .help = "part of path that is the validation split, before the test split"},  \
    {"test_fraction", HY_OPT_REAL, .def = 0.05, .min = 0, .max = 0.9,              \
     .help = "part of path, at its end, that is the test split"},                  \
    {"examples", HY_OPT_INT, .def = 0, .min = 0, .max = 1e15,                      \
     .help = "windows of an evaluation split that are scored, evenly spaced; 0: all"}
/* clang-format on */

/* The options that name files, by enum hy_split: path, valid, test. */
extern const char *const hy_span_keys[3];

struct hy_span {
    int own; /* of a file of its own, else of path's */
    int64_t begin, size;
};

/* sizes: of what each option names, 0 where it names nothing. unit: "bytes" or "tokens", for the
 * message about a split that holds no sequence. spans: by enum hy_split. */
int hy_spans_cut(const struct hy_value *options, const struct hy_task_env *env, const char *task,
                 const char *unit, const int64_t sizes[3], struct hy_span spans[3],
                 struct hy_err *e);
/* Sequences of a split. examples: the option. */
int64_t hy_span_count(const struct hy_span *s, const struct hy_task_env *env, enum hy_split split,
                      int64_t examples);
/* Where sequence `index` of a split begins in its file. */
int64_t hy_span_start(const struct hy_span *s, const struct hy_task_env *env, enum hy_split split,
                      int64_t examples, int64_t index);

#endif
