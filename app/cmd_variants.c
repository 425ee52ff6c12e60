#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/command.h"
#include "app/print.h"
#include "variants/variant.h"

static const char usage[] = "hylas variants [NAME]";

static int list(struct hy_err *e)
{
    size_t count = 0;
    while (hy_variants[count])
        count++;
    struct hy_named *items = calloc(count + 1, sizeof *items);
    if (!items)
        return hy_fail_memory(e);
    for (size_t i = 0; i < count; i++)
        items[i] = (struct hy_named){hy_variants[i]->name, hy_variants[i]->full ? "full" : "linear",
                                     hy_variants[i]->summary};
    const int rc = hy_print_names(items, count, "layer", e);
    free(items);
    return rc;
}

static int show(const char *name, struct hy_err *e)
{
    const struct hy_variant *found = hy_variant_find(name);
    if (!found)
        return hy_refuse_plugin((struct hy_mark){0}, "variant", name,
                                (const void *const *)hy_variants, e);
    printf("%s: %s\n\n", found->name, found->summary);
    return hy_print_options("options, in section mixer (full attention: also in section full)",
                            found->options, e);
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

const struct hy_command hy_command_variants = {
    .name = "variants",
    .usage = usage,
    .summary = "lists the token mixers, or one's options",
    .run = run,
};
