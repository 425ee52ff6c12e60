#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/command.h"
#include "app/print.h"
#include "core/tasks/task.h"

static const char usage[] = "hylas tasks [NAME]";

static int list(struct hy_err *e)
{
    size_t count = 0;
    while (hy_tasks[count])
        count++;
    struct hy_named *items = calloc(count + 1, sizeof *items);
    if (!items)
        return hy_fail_memory(e);
    for (size_t i = 0; i < count; i++)
        items[i] = (struct hy_named){hy_tasks[i]->name, NULL, hy_tasks[i]->summary};
    const int rc = hy_print_names(items, count, NULL, e);
    free(items);
    return rc;
}

static int show(const char *name, struct hy_err *e)
{
    const struct hy_task *found = hy_task_find(name);
    if (!found)
        return hy_refuse_plugin((struct hy_mark){0}, "task", name, (const void *const *)hy_tasks,
                                e);
    printf("%s: %s\n\n", found->name, found->summary);
    return hy_print_options("options, in the entries of data.train and data.eval", found->options,
                            e);
}

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{0}};
    const char *name;
    hy_args_begin();
    if (hy_args_next(argc, argv, ":", options, e) != -1)
        return HY_E_USAGE;
    if (optind == argc)
        return list(e);
    const int rc = hy_args_one(argc, argv, "a name", usage, &name, e);
    return rc ? rc : show(name, e);
}

const struct hy_command hy_command_tasks = {
    .name = "tasks",
    .usage = usage,
    .summary = "lists the tasks, or one's options",
    .run = run,
};
