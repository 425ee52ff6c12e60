#include "app/catalogue.h"
#include "app/command.h"
#include "core/model/objective.h"

static const char usage[] = "hylas objectives [NAME]";

static struct hy_catalogue_entry entry(const void *plugin)
{
    const struct hy_objective *o = plugin;
    return (struct hy_catalogue_entry){o->name, o->needs_teacher ? "a teacher" : "the labels",
                                       o->summary, o->options};
}

static int run(int argc, char **argv, struct hy_err *e)
{
    const struct hy_catalogue c = {.what = "objective",
                                   .usage = usage,
                                   .where =
                                       "options, beside its name and weight in a stage's objective",
                                   .kind = "learns from",
                                   .table = (const void *const *)hy_objectives,
                                   .entry = entry};
    return hy_catalogue_run(&c, argc, argv, e);
}

const struct hy_command hy_command_objectives = {
    .name = "objectives",
    .usage = usage,
    .summary = "lists what a stage can train towards, or one's options",
    .run = run,
};
