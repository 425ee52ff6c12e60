#include "app/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct hy_format *hy_format_find(const char *name, struct hy_err *e)
{
    const char *names[16];
    size_t count = 0;
    for (const struct hy_format *f = hy_formats; f->name; f++) {
        if (f->draws)
            continue;
        if (!strcmp(f->name, name))
            return f;
        if (count < sizeof names / sizeof *names)
            names[count++] = f->name;
    }
    hy_refuse_name((struct hy_mark){0}, "format", name, names, count, e);
    return NULL;
}

int hy_print_grid(const struct hy_grid *g, const struct hy_format *format, struct hy_err *e)
{
    struct hy_buf out = {0};
    if (hy_grid_failed(g))
        return hy_fail_memory(e);
    format->write(g, &out);
    const int rc = hy_buf_failed(&out) ? hy_fail_memory(e) : HY_OK;
    if (!rc && out.size)
        fwrite(out.data, 1, out.size, stdout);
    hy_buf_release(&out);
    return rc;
}

static const char *type_name(enum hy_option_type type)
{
    static const char *const names[] = {"",       "integer", "number",   "true/false", "choice",
                                        "string", "path",    "duration", "integers",   "numbers"};
    return names[type];
}

static char *default_text(const struct hy_option *o)
{
    if (o->required)
        return strdup("(required)");
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
             o->type == HY_OPT_INTS || o->type == HY_OPT_REALS)
        snprintf(text, size, "%.10g to %.10g", o->min, o->max);
}

int hy_print_options(const char *title, const struct hy_option *table, struct hy_err *e)
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

int hy_print_names(const struct hy_named *items, size_t count, const char *kind, struct hy_err *e)
{
    struct hy_grid g = {0};
    hy_grid_add_column(&g, &g.page, "name", HY_LEFT);
    if (kind)
        hy_grid_add_column(&g, &g.page, kind, HY_LEFT);
    hy_grid_add_column(&g, &g.page, "summary", HY_LEFT);
    for (size_t i = 0; i < count; i++) {
        const int row = hy_grid_add_row(&g, &g.page);
        int column = 0;
        hy_grid_set(&g, &g.page, row, column++, items[i].name);
        if (kind)
            hy_grid_set(&g, &g.page, row, column++, items[i].kind);
        hy_grid_set(&g, &g.page, row, column, items[i].summary);
    }
    const int rc = hy_print_grid(&g, &hy_formats[0], e);
    hy_grid_release(&g);
    return rc;
}
