#include "runner/plan/matrix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/config/config.h"
#include "runner/plan/layouts.h"

static int fail_at(struct hy_mark mark, const char *what, const char *key, struct hy_err *e)
{
    char place[512];
    return hy_fail(e, HY_E_USAGE, "%s%s: %s", hy_mark_text(mark, place, sizeof place), key, what);
}

int hy_matrix_set(struct hy_value *tree, const char *path, const struct hy_value *value,
                  struct hy_mark mark, struct hy_err *e)
{
    struct hy_value *copy = hy_value_copy(value);
    if (!copy)
        return hy_fail_memory(e);
    /* New keys on the way are marked with the path's own place. */
    copy->mark = mark;
    if (!*path || path[0] == '.' || path[strlen(path) - 1] == '.' || strstr(path, "..")) {
        hy_value_free(copy);
        return fail_at(mark, "is no dotted path such as train.lr", path, e);
    }
    const int rc = hy_value_put(tree, path, copy, e);
    if (rc)
        return hy_mark_wrap(mark, e);
    copy->mark = value->mark;
    return HY_OK;
}

/* Sets all dotted paths of a map. */
static int set_all(struct hy_value *tree, const struct hy_value *paths, struct hy_err *e)
{
    int rc = HY_OK;
    for (size_t i = 0; !rc && paths && i < paths->count; i++)
        rc = hy_matrix_set(tree, paths->keys[i], paths->items[i], paths->key_marks[i], e);
    return rc;
}

/* ---- Combinations ---- */

static int is_axis(const char *key)
{
    return strcmp(key, "exclude") != 0 && strcmp(key, "include") != 0;
}

/* Number of combinations; every axis must be a list with at least one value. */
static int count_product(const struct hy_value *matrix, size_t *count, struct hy_err *e)
{
    size_t product = 1, axes = 0;
    for (size_t i = 0; matrix && i < matrix->count; i++) {
        const struct hy_value *axis = matrix->items[i];
        if (!is_axis(matrix->keys[i]))
            continue;
        if (axis->type != HY_V_LIST || !axis->count)
            return fail_at(matrix->key_marks[i], "an axis of the matrix is a list of values",
                           matrix->keys[i], e);
        axes++;
        if (product > HY_MAX_CELLS / axis->count)
            return fail_at(matrix->mark, "more than 1000000 combinations", "matrix", e);
        product *= axis->count;
    }
    /* A matrix of includes alone has no product; no matrix at all is one run. */
    *count = axes || !hy_value_get(matrix, "include") ? product : 0;
    return HY_OK;
}

static int overlay_combination(struct hy_value *tree, const struct hy_value *matrix, size_t index,
                               struct hy_err *e)
{
    int rc = HY_OK;
    /* The last axis varies fastest. */
    for (size_t i = matrix ? matrix->count : 0; !rc && i-- > 0;) {
        const struct hy_value *axis = matrix->items[i];
        if (!is_axis(matrix->keys[i]))
            continue;
        rc = hy_matrix_set(tree, matrix->keys[i], axis->items[index % axis->count],
                           matrix->key_marks[i], e);
        index /= axis->count;
    }
    return rc;
}

static int matches(const struct hy_value *tree, const struct hy_value *entry)
{
    for (size_t i = 0; i < entry->count; i++) {
        const struct hy_value *v = hy_value_at(tree, entry->keys[i]);
        if (!v || !hy_value_equal(v, entry->items[i]))
            return 0;
    }
    return 1;
}

/* exclude or include: NULL or a list of maps. */
static int get_entries(const struct hy_value *matrix, const char *key, const struct hy_value **out,
                       struct hy_err *e)
{
    const struct hy_value *list = hy_value_get(matrix, key);
    *out = list;
    if (!list)
        return HY_OK;
    if (list->type != HY_V_LIST)
        return fail_at(list->mark, "must be a list of maps from dotted paths to values", key, e);
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]->type != HY_V_MAP || !list->items[i]->count)
            return fail_at(list->items[i]->mark, "each entry is a map from dotted paths to values",
                           key, e);
    return HY_OK;
}

static int append_cell(struct hy_sweep *s, struct hy_value *cell, struct hy_err *e)
{
    if (!(s->cell_count & (s->cell_count - 1))) {
        const size_t room = s->cell_count ? 2 * s->cell_count : 1;
        struct hy_value **cells = realloc(s->cells, room * sizeof *cells);
        if (!cells)
            return hy_fail_memory(e);
        s->cells = cells;
    }
    s->cells[s->cell_count++] = cell;
    return HY_OK;
}

/* Adds base with one combination (entry NULL) or one entry laid over it, unless it is excluded. */
struct expansion {
    const struct hy_value *base, *matrix, *sets, *exclude;
    unsigned char *used; /* per entry of exclude: it matched something */
};

static int add_cell(const struct expansion *x, size_t index, const struct hy_value *entry,
                    struct hy_sweep *out, struct hy_err *e)
{
    struct hy_value *cell = hy_value_copy(x->base);
    if (!cell)
        return hy_fail_memory(e);
    int rc = entry ? set_all(cell, entry, e) : overlay_combination(cell, x->matrix, index, e);
    if (!rc)
        rc = set_all(cell, x->sets, e);
    int excluded = 0;
    for (size_t i = 0; !rc && !entry && x->exclude && i < x->exclude->count; i++) {
        if (matches(cell, x->exclude->items[i])) {
            x->used[i] = 1;
            excluded = 1;
        }
    }
    if (!rc && !excluded) {
        rc = append_cell(out, cell, e);
        if (!rc)
            return HY_OK;
    }
    hy_value_free(cell);
    return rc;
}

/* Whether some combination sets the path: an axis, or a map among an axis's values. */
static int is_varied(const struct hy_value *matrix, const char *path)
{
    for (size_t i = 0; i < matrix->count; i++) {
        const char *axis = matrix->keys[i];
        const size_t length = strlen(axis);
        if (strncmp(axis, path, length) != 0 || (path[length] && path[length] != '.'))
            continue;
        if (!path[length])
            return 1;
        for (size_t k = 0; is_axis(axis) && k < matrix->items[i]->count; k++)
            if (hy_value_at(matrix->items[i]->items[k], path + length + 1))
                return 1;
    }
    return 0;
}

/* An exclude entry can only match keys that the file sets somewhere. */
static int check_excluded_keys(const struct expansion *x, struct hy_err *e)
{
    for (size_t i = 0; x->exclude && i < x->exclude->count; i++) {
        const struct hy_value *entry = x->exclude->items[i];
        for (size_t k = 0; k < entry->count; k++)
            if (!is_varied(x->matrix, entry->keys[k]) && !hy_value_at(x->base, entry->keys[k]))
                return hy_refuse_name(entry->key_marks[k], "key in exclude:", entry->keys[k],
                                      (const char *const *)x->matrix->keys, x->matrix->count, e);
    }
    return HY_OK;
}

static void warn_unused(const struct expansion *x)
{
    char place[512];
    for (size_t i = 0; x->exclude && i < x->exclude->count; i++)
        if (!x->used[i])
            hy_warn("%sthis entry of exclude matches no combination",
                    hy_mark_text(x->exclude->items[i]->mark, place, sizeof place));
}

/* ---- Options of other variants ---- */

static int has_option(const struct hy_option *table, const char *key)
{
    for (; table && table->type != HY_OPT_END; table++)
        if (!strcmp(table->key, key))
            return 1;
    return 0;
}

/* Some variant that the sweep uses has this option. used: one flag per row of hy_variants. */
static int is_used_option(const unsigned char *used, const char *key)
{
    for (size_t i = 0; hy_variants[i]; i++)
        if (used[i] && has_option(hy_variants[i]->options, key))
            return 1;
    return 0;
}

static int drop_from_cell(struct hy_value *cell, const char *section, const unsigned char *used,
                          struct hy_err *e)
{
    struct hy_value *map = (struct hy_value *)hy_value_get(cell, section);
    const struct hy_variant *own;
    const int rc = hy_config_find_variant(cell, section, &own, e);
    if (rc || !map || map->type != HY_V_MAP)
        return rc;
    for (size_t k = 0; k < map->count;) {
        const char *key = map->keys[k];
        if (!has_option(hy_section_find(section)->options, key) &&
            !(own && has_option(own->options, key)) && is_used_option(used, key))
            hy_value_remove(map, key);
        else
            k++;
    }
    return HY_OK;
}

/* All variants are found first: the option of one whose name is misspelt is not the mistake. */
static int drop_foreign_options(struct hy_sweep *s, const char *section, struct hy_err *e)
{
    size_t count = 0;
    int rc = HY_OK;
    while (hy_variants[count])
        count++;
    unsigned char *used = calloc(count + 1, 1);
    if (!used)
        return hy_fail_memory(e);
    for (size_t i = 0; !rc && i < s->cell_count; i++) {
        const struct hy_variant *v = NULL;
        rc = hy_config_find_variant(s->cells[i], section, &v, e);
        for (size_t k = 0; !rc && k < count; k++)
            used[k] |= hy_variants[k] == v;
    }
    for (size_t i = 0; !rc && i < s->cell_count; i++)
        rc = drop_from_cell(s->cells[i], section, used, e);
    free(used);
    return rc;
}

/* ---- Axes ---- */

static int add_axes(const struct hy_value *paths, struct hy_sweep *s, struct hy_err *e)
{
    for (size_t i = 0; paths && i < paths->count; i++) {
        size_t k = 0;
        while (k < s->axis_count && strcmp(s->axes[k], paths->keys[i]) != 0)
            k++;
        if (!is_axis(paths->keys[i]) || k < s->axis_count)
            continue;
        char **axes = realloc(s->axes, (s->axis_count + 1) * sizeof *axes);
        if (!axes)
            return hy_fail_memory(e);
        s->axes = axes;
        if (!(s->axes[s->axis_count] = strdup(paths->keys[i])))
            return hy_fail_memory(e);
        s->axis_count++;
    }
    return HY_OK;
}

/* ---- Size ---- */

static size_t count_values(const struct hy_value *v)
{
    size_t count = 1;
    for (size_t i = 0; v && i < v->count; i++)
        count += count_values(v->items[i]);
    return count;
}

/* Of a cell at most: the base document with the largest value of each axis in it. */
static size_t count_cell(const struct expansion *x)
{
    size_t count = count_values(x->base);
    for (size_t i = 0; i < x->matrix->count; i++) {
        const struct hy_value *axis = x->matrix->items[i];
        size_t largest = 0;
        for (size_t k = 0; is_axis(x->matrix->keys[i]) && k < axis->count; k++) {
            const size_t size = count_values(axis->items[k]);
            largest = size > largest ? size : largest;
        }
        count += largest;
    }
    return count;
}

/* A short file can ask for more than any memory holds. Every cell is compared with `exclude`. */
static int check_size(const struct expansion *x, size_t cells, struct hy_err *e)
{
    const size_t values = count_cell(x) + count_values(x->exclude);
    if (cells <= HY_MAX_CELLS && cells <= HY_MAX_VALUES / values)
        return HY_OK;
    char text[128];
    snprintf(text, sizeof text, "%zu combinations of %zu values each are too many", cells, values);
    return fail_at(x->matrix->mark, text, "matrix", e);
}

/* ---- All layouts ---- */

static const char layouts_axis[] = "layers.list";

/* The model's depth in all cells. */
static int find_depth(const struct hy_value *document, const struct hy_value *sets, int *out,
                      struct hy_err *e)
{
    const struct hy_value *axis = hy_value_get(hy_value_get(document, "matrix"), "model.layers");
    const struct hy_value *set = hy_value_get(sets, "model.layers");
    const struct hy_value *given = set ? set : hy_value_at(document, "model.layers");
    if (axis && !set)
        return fail_at(axis->mark, "cannot vary beside all layouts of one depth", "model.layers",
                       e);
    if (given && (given->type != HY_V_INT || given->integer < 1 || given->integer > HY_MAX_LAYERS))
        return fail_at(given->mark, "is no number of layers", "model.layers", e);
    *out = given ? (int)given->integer : hy_config_default_layers();
    return HY_OK;
}

/* *out: a copy of the matrix, in which an axis of all layouts is written out. */
static int write_out_layouts(const struct hy_value *document, const struct hy_value *sets,
                             struct hy_value **out, struct hy_err *e)
{
    struct hy_value *matrix = hy_value_copy(hy_value_get(document, "matrix")), *list = NULL;
    const struct hy_value *axis = hy_value_get(matrix, layouts_axis);
    int depth = 0, rc = matrix ? HY_OK : hy_fail_memory(e);
    if (!rc && axis && axis->type == HY_V_MAP) {
        rc = find_depth(document, sets, &depth, e);
        if (!rc)
            rc = hy_layouts_enumerate(axis, depth, HY_MAX_CELLS, &list, e);
        if (!rc)
            rc = hy_value_set(matrix, layouts_axis, list, e);
    }
    if (rc)
        hy_value_free(matrix);
    else
        *out = matrix;
    return rc;
}

int hy_matrix_expand(const struct hy_value *document, const struct hy_value *sets,
                     struct hy_sweep *out, struct hy_err *e)
{
    const struct hy_value *matrix = hy_value_get(document, "matrix"), *include;
    struct hy_value *written_out = NULL;
    struct expansion x = {.sets = sets};
    struct hy_value *base = hy_value_copy(document);
    size_t product = 0;
    int rc = base ? HY_OK : hy_fail_memory(e);
    if (rc)
        return rc;
    hy_value_remove(base, "matrix");
    if (matrix && matrix->type == HY_V_NULL)
        matrix = NULL;
    if (matrix && matrix->type != HY_V_MAP) {
        rc = fail_at(matrix->mark, "must be a map from dotted paths to lists", "matrix", e);
        goto out;
    }
    if (matrix && (rc = write_out_layouts(document, sets, &written_out, e)))
        goto out;
    matrix = written_out;
    x.base = base;
    x.matrix = matrix;
    if ((rc = count_product(matrix, &product, e)) ||
        (rc = get_entries(matrix, "exclude", &x.exclude, e)) ||
        (rc = get_entries(matrix, "include", &include, e)) || (rc = check_excluded_keys(&x, e)) ||
        (matrix && (rc = check_size(&x, product + (include ? include->count : 0), e))))
        goto out;
    x.used = calloc(x.exclude ? x.exclude->count + 1 : 1, 1);
    if (!x.used) {
        rc = hy_fail_memory(e);
        goto out;
    }
    for (size_t i = 0; !rc && i < product; i++)
        rc = add_cell(&x, i, NULL, out, e);
    for (size_t i = 0; !rc && include && i < include->count; i++)
        rc = add_cell(&x, 0, include->items[i], out, e);
    if (!rc)
        rc = add_axes(matrix, out, e);
    for (size_t i = 0; !rc && include && i < include->count; i++)
        rc = add_axes(include->items[i], out, e);
    if (rc)
        goto out;
    warn_unused(&x);
    rc = drop_foreign_options(out, "mixer", e);
    if (!rc)
        rc = drop_foreign_options(out, "full", e);
out:
    free(x.used);
    hy_value_free(written_out);
    hy_value_free(base);
    return rc;
}
