#include "app/catalogue.h"
#include "app/command.h"
#include "core/selection/selector.h"

static const char usage[] = "hylas selectors [NAME]";

static struct hy_catalogue_entry entry(const void *plugin)
{
    const struct hy_selector *s = plugin;
    const char *looks = s->search == HY_STAGE_GATES    ? "gates"
                        : s->search == HY_STAGE_PROBES ? "probes"
                        : s->asks                      ? "evaluations"
                                                       : "nothing";
    return (struct hy_catalogue_entry){s->name, looks, s->summary, s->options};
}

static int run(int argc, char **argv, struct hy_err *e)
{
    const struct hy_catalogue c = {.what = "selection method",
                                   .usage = usage,
                                   .where = "options, beside those of section select",
                                   .kind = "looks at",
                                   .table = (const void *const *)hy_selectors,
                                   .entry = entry};
    return hy_catalogue_run(&c, argc, argv, e);
}

const struct hy_command hy_command_selectors = {
    .name = "selectors",
    .usage = usage,
    .summary = "lists the methods that find which layers stay full, or one's options",
    .run = run,
};
