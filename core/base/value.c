#include "core/base/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct hy_value *new_value(enum hy_value_type type)
{
    struct hy_value *v = calloc(1, sizeof *v);
    if (v)
        v->type = type;
    return v;
}

struct hy_value *hy_value_null(void)
{
    return new_value(HY_V_NULL);
}

struct hy_value *hy_value_bool(int truth)
{
    struct hy_value *v = new_value(HY_V_BOOL);
    if (v)
        v->integer = truth != 0;
    return v;
}

struct hy_value *hy_value_int(int64_t integer)
{
    struct hy_value *v = new_value(HY_V_INT);
    if (v) {
        v->integer = integer;
        v->real = (double)integer;
    }
    return v;
}

struct hy_value *hy_value_real(double real)
{
    struct hy_value *v = new_value(HY_V_REAL);
    if (v)
        v->real = real;
    return v;
}

struct hy_value *hy_value_string(const char *string)
{
    struct hy_value *v = new_value(HY_V_STRING);
    if (v && !(v->string = strdup(string))) {
        free(v);
        return NULL;
    }
    return v;
}

struct hy_value *hy_value_list(void)
{
    return new_value(HY_V_LIST);
}

struct hy_value *hy_value_map(void)
{
    return new_value(HY_V_MAP);
}

void hy_value_free(struct hy_value *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->count; i++) {
        hy_value_free(v->items[i]);
        if (v->keys)
            free(v->keys[i]);
    }
    free(v->items);
    free(v->keys);
    free(v->key_marks);
    free(v->string);
    free(v);
}

/* Room for one more entry. */
static int grow(struct hy_value *v, struct hy_err *e)
{
    /* Containers are small and built once: room doubles whenever the count is a power of two. */
    if (v->count & (v->count - 1))
        return HY_OK;
    const size_t room = v->count ? 2 * v->count : 1;
    struct hy_value **items = realloc(v->items, room * sizeof *items);
    if (!items)
        return hy_fail_memory(e);
    v->items = items;
    if (v->type == HY_V_MAP) {
        char **keys = realloc(v->keys, room * sizeof *keys);
        if (!keys)
            return hy_fail_memory(e);
        v->keys = keys;
        struct hy_mark *marks = realloc(v->key_marks, room * sizeof *marks);
        if (!marks)
            return hy_fail_memory(e);
        v->key_marks = marks;
    }
    return HY_OK;
}

/* The key is the first length bytes of text, a step of a path perhaps. */
static size_t find_step(const struct hy_value *map, const char *text, size_t length)
{
    size_t i = 0;
    while (i < map->count && (strncmp(map->keys[i], text, length) != 0 || map->keys[i][length]))
        i++;
    return i;
}

static size_t find(const struct hy_value *map, const char *key)
{
    return find_step(map, key, strlen(key));
}

const struct hy_value *hy_value_get(const struct hy_value *map, const char *key)
{
    if (!map || map->type != HY_V_MAP)
        return NULL;
    const size_t i = find(map, key);
    return i < map->count ? map->items[i] : NULL;
}

int hy_value_set(struct hy_value *map, const char *key, struct hy_value *item, struct hy_err *e)
{
    if (!item)
        return hy_fail_memory(e);
    const size_t i = find(map, key);
    if (i < map->count) {
        hy_value_free(map->items[i]);
        map->items[i] = item;
        return HY_OK;
    }
    char *name = strdup(key);
    if (!name || grow(map, e)) {
        free(name);
        hy_value_free(item);
        return hy_fail_memory(e);
    }
    map->keys[map->count] = name;
    map->key_marks[map->count] = item->mark;
    map->items[map->count++] = item;
    return HY_OK;
}

int hy_value_append(struct hy_value *list, struct hy_value *item, struct hy_err *e)
{
    if (!item)
        return hy_fail_memory(e);
    if (grow(list, e)) {
        hy_value_free(item);
        return hy_fail_memory(e);
    }
    list->items[list->count++] = item;
    return HY_OK;
}

int hy_value_remove(struct hy_value *map, const char *key)
{
    const size_t i = find(map, key);
    if (i == map->count)
        return 0;
    hy_value_free(map->items[i]);
    free(map->keys[i]);
    const size_t after = map->count - i - 1;
    /* grow() expects room for the next power of two, which shrinking by one never takes away: it
     * may only reallocate to a size that it already has. */
    memmove(map->items + i, map->items + i + 1, after * sizeof *map->items);
    memmove(map->keys + i, map->keys + i + 1, after * sizeof *map->keys);
    memmove(map->key_marks + i, map->key_marks + i + 1, after * sizeof *map->key_marks);
    map->count--;
    return 1;
}

struct hy_value *hy_value_copy(const struct hy_value *v)
{
    struct hy_value *copy = new_value(v->type);
    if (!copy)
        return NULL;
    copy->mark = v->mark;
    copy->integer = v->integer;
    copy->real = v->real;
    if (v->string && !(copy->string = strdup(v->string)))
        goto fail;
    for (size_t i = 0; i < v->count; i++) {
        struct hy_value *item = hy_value_copy(v->items[i]);
        if (v->type == HY_V_LIST ? hy_value_append(copy, item, NULL)
                                 : hy_value_set(copy, v->keys[i], item, NULL))
            goto fail;
        if (v->type == HY_V_MAP)
            copy->key_marks[i] = v->key_marks[i];
    }
    return copy;
fail:
    hy_value_free(copy);
    return NULL;
}

const struct hy_value *hy_value_at(const struct hy_value *root, const char *path)
{
    while (root && root->type == HY_V_MAP) {
        const size_t length = strcspn(path, "."), i = find_step(root, path, length);
        root = i < root->count ? root->items[i] : NULL;
        if (!path[length])
            return root;
        path += length + 1;
    }
    return NULL;
}

/* The map behind key, made where there is none or only an empty entry. */
static struct hy_value *enter(struct hy_value *map, const char *key, const char *path,
                              struct hy_mark mark, struct hy_err *e)
{
    size_t i = find(map, key);
    if (i == map->count || map->items[i]->type == HY_V_NULL) {
        struct hy_value *made = hy_value_map();
        if (made)
            made->mark = mark;
        if (hy_value_set(map, key, made, e))
            return NULL;
        i = find(map, key);
    }
    if (map->items[i]->type != HY_V_MAP) {
        hy_fail(e, HY_E_USAGE, "cannot set %s: %s is not a section", path, key);
        return NULL;
    }
    return map->items[i];
}

int hy_value_put(struct hy_value *root, const char *path, struct hy_value *item, struct hy_err *e)
{
    int rc = HY_E_USAGE;
    char *steps = strdup(path);
    if (!steps || !item) {
        rc = hy_fail_memory(e);
        goto fail;
    }
    if (root->type != HY_V_MAP) {
        rc = hy_fail(e, HY_E_USAGE, "cannot set %s: there are no sections", path);
        goto fail;
    }
    char *key = steps;
    for (char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = 0;
        root = enter(root, key, path, item->mark, e);
        if (!root)
            goto fail;
    }
    rc = hy_value_set(root, key, item, e);
    free(steps);
    return rc;
fail:
    free(steps);
    hy_value_free(item);
    return rc;
}

static int is_number(const struct hy_value *v)
{
    return v->type == HY_V_INT || v->type == HY_V_REAL;
}

int hy_value_equal(const struct hy_value *a, const struct hy_value *b)
{
    if (is_number(a) && is_number(b) && a->type != b->type)
        return a->real == b->real;
    if (a->type != b->type || a->count != b->count)
        return 0;
    switch (a->type) {
    case HY_V_NULL:
        return 1;
    case HY_V_BOOL:
    case HY_V_INT:
        return a->integer == b->integer;
    case HY_V_REAL:
        return a->real == b->real;
    case HY_V_STRING:
        return !strcmp(a->string, b->string);
    case HY_V_LIST:
        for (size_t i = 0; i < a->count; i++)
            if (!hy_value_equal(a->items[i], b->items[i]))
                return 0;
        return 1;
    case HY_V_MAP:
        for (size_t i = 0; i < a->count; i++) {
            const struct hy_value *other = hy_value_get(b, a->keys[i]);
            if (!other || !hy_value_equal(a->items[i], other))
                return 0;
        }
        return 1;
    }
    return 0;
}

const char *hy_mark_text(struct hy_mark mark, char *text, size_t size)
{
    if (!mark.file)
        text[0] = 0;
    else if (mark.line)
        snprintf(text, size, "%s:%d:%d: ", mark.file, mark.line, mark.column);
    else
        snprintf(text, size, "%s: ", mark.file);
    return text;
}

int hy_mark_wrap(struct hy_mark mark, struct hy_err *e)
{
    char place[512];
    const size_t size = strlen(hy_mark_text(mark, place, sizeof place));
    /* hy_err_wrap adds its own ": ". */
    if (size > 2)
        place[size - 2] = 0;
    if (size > 2)
        return hy_err_wrap(e, "%s", place);
    return e ? e->code : HY_E_ENV;
}
