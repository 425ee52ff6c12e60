#include <stdio.h>
#include <stdlib.h>

#include "app/catalogue.h"
#include "app/command.h"
#include "core/config/config.h"

static const char usage[] = "hylas recipes [NAME]";

static struct hy_catalogue_entry entry(const void *plugin)
{
    const struct hy_recipe *r = plugin;
    return (struct hy_catalogue_entry){r->name, NULL, r->summary, r->options};
}

/* The section that it stands for, its options at their defaults; YAML reads JSON. */
static int print_stages(const struct hy_recipe *r, struct hy_err *e)
{
    struct hy_value *options, *stages;
    int rc = hy_options_resolve(r->options, NULL, r->name, NULL, &options, e);
    if (rc)
        return rc;
    rc = hy_recipe_stages(r, options, &stages, e);
    hy_value_free(options);
    if (rc)
        return rc;
    printf("\nstages:\n");
    for (size_t i = 0; i < stages->count; i++) {
        char *json = hy_value_to_json(stages->items[i], 0);
        printf("  - %s\n", json ? json : "");
        free(json);
    }
    hy_value_free(stages);
    return HY_OK;
}

static int run(int argc, char **argv, struct hy_err *e)
{
    const struct hy_catalogue c = {.what = "recipe",
                                   .usage = usage,
                                   .where = "options, beside the name in section recipe",
                                   .table = (const void *const *)hy_recipes,
                                   .entry = entry};
    const int rc = hy_catalogue_run(&c, argc, argv, e);
    const struct hy_recipe *one = argc > 0 ? hy_recipe_find(argv[argc - 1]) : NULL;
    return rc || !one ? rc : print_stages(one, e);
}

const struct hy_command hy_command_recipes = {
    .name = "recipes",
    .usage = usage,
    .summary = "lists the stage lists that have a name, or one's options",
    .run = run,
};
