#include "core/tasks/task.h"

#include <string.h>

const char *hy_split_name(enum hy_split split)
{
    static const char *const names[] = {"train", "valid", "test"};
    return names[split];
}

struct hy_rng hy_task_rng(const struct hy_task_env *env, enum hy_split split, int64_t index)
{
    static const enum hy_purpose purposes[] = {HY_RNG_TRAIN, HY_RNG_VALID, HY_RNG_TEST};
    return hy_rng_start(split == HY_SPLIT_TRAIN ? env->seed : 0, purposes[split],
                        (uint32_t)((uint64_t)index >> 32), (uint32_t)index);
}

const struct hy_task *hy_task_find(const char *name)
{
    for (const struct hy_task *const *task = hy_tasks; *task; task++)
        if (strcmp((*task)->name, name) == 0)
            return *task;
    return NULL;
}
