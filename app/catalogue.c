#include "app/catalogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/print.h"

static const char *type_name(enum hy_option_type type)
{
    static const char *const names[] = {"",       "integer",  "number",  "true/false",
                                        "choice", "string",   "path",    "duration",
                                        "amount", "integers", "numbers", "strings"};
    return names[type];
}

static char *default_text(const struct hy_option *o)
{
    if (o->required)
        return strdup("(required)");
    if (o->type == HY_OPT_INT && o->text)
        return strdup(o->text);
    struct hy_value *v = hy_option_default(o);
    char *text = NULL;
    if (v && v->type == HY_V_NULL)
        text = strdup("(none)");
    else if (v)
        text = v->type == HY_V_STRING ? strdup(v->string) : hy_value_to_json(v, 0);
    hy_value_free(v);
    return text;
}

static void range_text(const struct hy_option *o, char *text, size_t size)
{
    text[0] = 0;
    if (o->type == HY_OPT_CHOICE)
        snprintf(text, size, "%s", o->choices);
    else if (o->type == HY_OPT_INT || o->type == HY_OPT_REAL || o->type == HY_OPT_DURATION ||
             o->type == HY_OPT_AMOUNT || o->type == HY_OPT_INTS || o->type == HY_OPT_REALS)
        snprintf(text, size, "%.10g to %.10g", o->min, o->max);
}

static int print_options(const char *title, const struct hy_option *table, struct hy_err *e)
{
    static const char *const heads[] = {"option", "type", "default", "values", "meaning"};
    struct hy_grid g = {0};
    if (!table || table->type == HY_OPT_END) {
        printf("%s: no options\n", title);
        return HY_OK;
    }
    hy_grid_title(&g, title);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        hy_grid_add_column(&g, &g.page, heads[i], HY_LEFT);
    for (const struct hy_option *o = table; o->type != HY_OPT_END; o++) {
        char range[128], *standard = default_text(o);
        const int row = hy_grid_add_row(&g, &g.page);
        range_text(o, range, sizeof range);
        hy_grid_set(&g, &g.page, row, 0, o->key);
        hy_grid_set(&g, &g.page, row, 1, type_name(o->type));
        hy_grid_set(&g, &g.page, row, 2, standard);
        hy_grid_set(&g, &g.page, row, 3, range);
        hy_grid_set(&g, &g.page, row, 4, o->help);
        free(standard);
    }
    const int rc = hy_print_grid(&g, &hy_formats[0], e);
    hy_grid_release(&g);
    return rc;
}

static int print_all(const struct hy_catalogue *c, struct hy_err *e)
{
    struct hy_grid g = {0};
    hy_grid_add_column(&g, &g.page, "name", HY_LEFT);
    if (c->kind)
        hy_grid_add_column(&g, &g.page, c->kind, HY_LEFT);
    hy_grid_add_column(&g, &g.page, "summary", HY_LEFT);
    for (size_t i = 0; c->table[i]; i++) {
        const struct hy_catalogue_entry item = c->entry(c->table[i]);
        const int row = hy_grid_add_row(&g, &g.page);
        int column = 0;
        hy_grid_set(&g, &g.page, row, column++, item.name);
        if (c->kind)
            hy_grid_set(&g, &g.page, row, column++, item.kind);
        hy_grid_set(&g, &g.page, row, column, item.summary);
    }
    const int rc = hy_print_grid(&g, &hy_formats[0], e);
    hy_grid_release(&g);
    return rc;
}

int hy_catalogue_run(const struct hy_catalogue *c, int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{0}};
    const char *name;
    hy_args_begin();
    if (hy_args_next(argc, argv, ":", options, e) != -1)
        return HY_E_USAGE;
    if (optind == argc)
        return print_all(c, e);
    const int rc = hy_args_one(argc, argv, "a name", c->usage, &name, e);
    if (rc)
        return rc;
    for (size_t i = 0; c->table[i]; i++) {
        const struct hy_catalogue_entry item = c->entry(c->table[i]);
        if (strcmp(item.name, name))
            continue;
        printf("%s: %s\n\n", item.name, item.summary);
        return print_options(c->where, item.options, e);
    }
    return hy_refuse_plugin((struct hy_mark){0}, c->what, name, c->table, e);
}
