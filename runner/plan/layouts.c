#include "runner/plan/layouts.h"

#include <string.h>

#include "core/base/option.h"
#include "core/model/kind.h"

struct search {
    const struct hy_value *axis;
    int depth, kind_count;
    size_t most;
    const char *names[HY_MAX_KINDS];
    int least[HY_MAX_KINDS], bound[HY_MAX_KINDS]; /* layers of each kind */
    int used[HY_MAX_KINDS], kinds[HY_MAX_LAYERS];
    struct hy_value *list;
};

static int fail_at(const struct hy_value *v, struct hy_err *e)
{
    return hy_mark_wrap(v->mark, e);
}

/* `all`: the kinds, each once. */
static int read_kinds(struct search *s, struct hy_err *e)
{
    const struct hy_value *all = hy_value_get(s->axis, "all");
    if (!all || all->type != HY_V_LIST || !all->count || all->count > HY_MAX_KINDS) {
        hy_fail(e, HY_E_USAGE,
                "layers.list is a list of layouts, or {all: [linear, full]} for every layout");
        return fail_at(all ? all : s->axis, e);
    }
    for (size_t i = 0; i < all->count; i++) {
        const struct hy_value *name = all->items[i];
        int seen = name->type != HY_V_STRING;
        for (int k = 0; !seen && k < s->kind_count; k++)
            seen = !strcmp(s->names[k], name->string);
        if (seen) {
            hy_fail(e, HY_E_USAGE, "`all` names each kind of layer once");
            return fail_at(name, e);
        }
        s->bound[s->kind_count] = s->depth;
        s->names[s->kind_count++] = name->string;
    }
    return HY_OK;
}

static int is_count(const struct hy_value *v, int depth)
{
    return v->type == HY_V_INT && v->integer >= 0 && v->integer <= depth;
}

static int read_bound(struct search *s, int kind, const struct hy_value *v, struct hy_err *e)
{
    const int is_pair = v->type == HY_V_LIST && v->count == 2;
    const struct hy_value *least = is_pair ? v->items[0] : v, *most = is_pair ? v->items[1] : v;
    if (!is_count(least, s->depth) || !is_count(most, s->depth) || least->integer > most->integer) {
        hy_fail(e, HY_E_USAGE,
                "the bounds of %s are a number of layers, or [least, most] of them, from 0 to %d",
                s->names[kind], s->depth);
        return fail_at(v, e);
    }
    s->least[kind] = (int)least->integer;
    s->bound[kind] = (int)most->integer;
    return HY_OK;
}

static int read_bounds(struct search *s, struct hy_err *e)
{
    int rc = HY_OK;
    for (size_t i = 0; !rc && i < s->axis->count; i++) {
        const char *key = s->axis->keys[i];
        int kind = 0;
        while (kind < s->kind_count && strcmp(s->names[kind], key) != 0)
            kind++;
        if (kind < s->kind_count)
            rc = read_bound(s, kind, s->axis->items[i], e);
        else if (strcmp(key, "all") != 0)
            rc = hy_refuse_name(s->axis->key_marks[i], "kind among `all`:", key, s->names,
                                (size_t)s->kind_count, e);
    }
    return rc;
}

static int append_layout(struct search *s, struct hy_err *e)
{
    if (s->list->count == s->most) {
        hy_fail(e, HY_E_USAGE, "there are more than %zu such layouts: bound a kind", s->most);
        return fail_at(s->axis, e);
    }
    struct hy_value *layout = hy_value_list();
    int rc = layout ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < s->depth; i++)
        rc = hy_value_append(layout, hy_value_string(s->names[s->kinds[i]]), e);
    if (rc) {
        hy_value_free(layout);
        return rc;
    }
    layout->mark = s->axis->mark;
    for (size_t i = 0; i < layout->count; i++)
        layout->items[i]->mark = s->axis->mark;
    return hy_value_append(s->list, layout, e);
}

/* Layers that the least counts still ask for. */
static int missing(const struct search *s)
{
    int sum = 0;
    for (int k = 0; k < s->kind_count; k++)
        sum += s->used[k] < s->least[k] ? s->least[k] - s->used[k] : 0;
    return sum;
}

/* All layouts that begin with the layers chosen so far. */
static int extend(struct search *s, int layer, struct hy_err *e)
{
    int rc = HY_OK;
    if (missing(s) > s->depth - layer)
        return HY_OK;
    if (layer == s->depth)
        return append_layout(s, e);
    for (int k = 0; !rc && k < s->kind_count; k++) {
        if (s->used[k] == s->bound[k])
            continue;
        s->used[k]++;
        s->kinds[layer] = k;
        rc = extend(s, layer + 1, e);
        s->used[k]--;
    }
    return rc;
}

int hy_layouts_enumerate(const struct hy_value *axis, int depth, size_t most, struct hy_value **out,
                         struct hy_err *e)
{
    struct search s = {.axis = axis, .depth = depth, .most = most, .list = hy_value_list()};
    int rc = s.list ? read_kinds(&s, e) : hy_fail_memory(e);
    if (!rc)
        rc = read_bounds(&s, e);
    if (!rc)
        rc = extend(&s, 0, e);
    if (!rc && !s.list->count) {
        hy_fail(e, HY_E_USAGE, "no layout of %d layers has so many of each kind", depth);
        rc = fail_at(axis, e);
    }
    if (rc) {
        hy_value_free(s.list);
        return rc;
    }
    s.list->mark = axis->mark;
    *out = s.list;
    return HY_OK;
}
