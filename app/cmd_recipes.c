#include "app/catalogue.h"
#include "app/command.h"
#include "core/config/config.h"

static const char usage[] = "hylas recipes [NAME]";

static struct hy_catalogue_entry entry(const void *plugin)
{
    const struct hy_recipe *r = plugin;
    return (struct hy_catalogue_entry){r->name, NULL, r->summary, r->options};
}

static int run(int argc, char **argv, struct hy_err *e)
{
    const struct hy_catalogue c = {.what = "recipe",
                                   .usage = usage,
                                   .where = "options, beside the name in section recipe",
                                   .table = (const void *const *)hy_recipes,
                                   .entry = entry};
    return hy_catalogue_run(&c, argc, argv, e);
}

const struct hy_command hy_command_recipes = {
    .name = "recipes",
    .usage = usage,
    .summary = "lists the stage lists that have a name, or one's options",
    .run = run,
};
