#include "app/catalogue.h"
#include "app/command.h"
#include "core/tasks/task.h"

static const char usage[] = "hylas tasks [NAME]";

static struct hy_catalogue_entry entry(const void *plugin)
{
    const struct hy_task *t = plugin;
    return (struct hy_catalogue_entry){t->name, NULL, t->summary, t->options};
}

static int run(int argc, char **argv, struct hy_err *e)
{
    const struct hy_catalogue c = {.what = "task",
                                   .usage = usage,
                                   .where = "options, in the entries of data.train and data.eval",
                                   .kind = NULL,
                                   .table = (const void *const *)hy_tasks,
                                   .entry = entry};
    return hy_catalogue_run(&c, argc, argv, e);
}

const struct hy_command hy_command_tasks = {
    .name = "tasks",
    .usage = usage,
    .summary = "lists the tasks, or one's options",
    .run = run,
};
