#include "app/catalogue.h"
#include "app/command.h"
#include "core/mixers/variant.h"

static const char usage[] = "hylas variants [NAME]";

static struct hy_catalogue_entry entry(const void *plugin)
{
    const struct hy_variant *v = plugin;
    return (struct hy_catalogue_entry){v->name, v->full ? "full" : "linear", v->summary,
                                       v->options};
}

static int run(int argc, char **argv, struct hy_err *e)
{
    const struct hy_catalogue c = {
        .what = "variant",
        .usage = usage,
        .where = "options, in section mixer (full attention: also in section full)",
        .kind = "layer",
        .table = (const void *const *)hy_variants,
        .entry = entry};
    return hy_catalogue_run(&c, argc, argv, e);
}

const struct hy_command hy_command_variants = {
    .name = "variants",
    .usage = usage,
    .summary = "lists the token mixers, or one's options",
    .run = run,
};
