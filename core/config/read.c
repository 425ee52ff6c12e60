/* What the readers of a configuration share. */
#include "core/config/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hy_place hy_place_of(const struct hy_value *v)
{
    struct hy_place p = {""};
    if (v)
        hy_mark_text(v->mark, p.text, sizeof p.text);
    return p;
}

static const char **keys_of(const struct hy_option *table)
{
    size_t count = 0;
    while (table && table[count].type != HY_OPT_END)
        count++;
    const char **keys = malloc((count + 1) * sizeof *keys);
    if (!keys)
        return NULL;
    for (size_t i = 0; i < count; i++)
        keys[i] = table[i].key;
    keys[count] = NULL;
    return keys;
}

int hy_pair_resolve(const struct hy_pair *p, const struct hy_value *given, struct hy_value **keys,
                    struct hy_value **options, struct hy_err *e)
{
    const char **own = keys_of(p->own), **others = keys_of(p->plugin);
    struct hy_value *first = NULL;
    int rc = own && others ? HY_OK : hy_fail_memory(e);
    if (!rc)
        rc = hy_options_resolve(p->own, given, p->own_where, others, &first, e);
    if (!rc && p->plugin_where)
        rc = hy_options_resolve(p->plugin, given, p->plugin_where, own, options, e);
    if (rc)
        hy_value_free(first);
    else
        *keys = first;
    free(others);
    free(own);
    return rc;
}

int hy_value_add_all(struct hy_value *to, const struct hy_value *from, struct hy_err *e)
{
    int rc = HY_OK;
    for (size_t i = 0; !rc && from && i < from->count; i++)
        rc = hy_value_set(to, from->keys[i], hy_value_copy(from->items[i]), e);
    return rc;
}

int hy_config_read_section(const struct hy_value *tree, const char *name, const char *const *ignore,
                           struct hy_config *c, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *section = NULL;
    char where[64];
    snprintf(where, sizeof where, "section %s", name);
    int rc = hy_options_resolve(hy_section_find(name)->options, hy_value_get(tree, name), where,
                                ignore, &section, e);
    if (rc)
        return rc;
    *out = section;
    return hy_value_set(c->tree, name, section, e);
}
