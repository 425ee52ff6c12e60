/* open_task.h - opens a task from the JSON text of its options, as tests write them. */
#ifndef HY_TESTS_OPEN_TASK_H
#define HY_TESTS_OPEN_TASK_H

#include "core/tasks/task.h"

/* The caller frees. */
static inline struct hy_value *resolve_task(const struct hy_task *task, const char *json)
{
    struct hy_err e;
    struct hy_value *given, *options;
    if (hy_value_from_json(json, "test.json", &given, &e) ||
        hy_options_resolve(task->options, given, "task", NULL, &options, &e))
        fail_msg("%s", e.text);
    hy_value_free(given);
    return options;
}

static inline int try_open_task(const struct hy_task *task, const char *json, int seq_len,
                                uint64_t seed, void **state, struct hy_err *e)
{
    struct hy_value *options = resolve_task(task, json);
    const struct hy_task_env env = {.seq_len = seq_len, .seed = seed};
    const int rc = task->open(options, &env, state, e);
    hy_value_free(options);
    return rc;
}

static inline void *open_task(const struct hy_task *task, const char *json, int seq_len,
                              uint64_t seed)
{
    struct hy_err e;
    void *state = NULL;
    if (try_open_task(task, json, seq_len, seed, &state, &e))
        fail_msg("%s", e.text);
    return state;
}

#endif
