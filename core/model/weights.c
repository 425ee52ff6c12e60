#include "core/model/weights.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/pattern.h"
#include "core/model/model.h"

/* ---- Opening ---- */

enum { MOST_FILES = 4096 };

static int append_path(struct hy_value *paths, const char *folder, const char *name,
                       struct hy_err *e)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return hy_value_append(paths, hy_value_string(path), e);
}

static int is_among(struct hy_value *const *seen, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(seen[i]->string, name))
            return 1;
    return 0;
}

/* The files of {"weight_map": {tensor: file, ...}}: plain names, not paths that lead out of the
 * folder. */
static int list_shards(const char *folder, const char *index, struct hy_value *paths,
                       struct hy_err *e)
{
    struct hy_buf text = {0};
    struct hy_value *root = NULL;
    int rc = hy_buf_read_file(&text, index, e);
    if (!rc && hy_value_from_json(text.data ? text.data : "", "index", &root, e))
        rc = hy_err_wrap(e, "%s", index);
    const struct hy_value *map = hy_value_get(root, "weight_map");
    if (!rc && (!map || map->type != HY_V_MAP || !map->count))
        rc = hy_fail(e, HY_E_USAGE, "%s has no weight_map", index);
    for (size_t i = 0; !rc && i < map->count; i++) {
        const struct hy_value *name = map->items[i];
        if (name->type != HY_V_STRING || !*name->string || strchr(name->string, '/') ||
            paths->count == MOST_FILES)
            rc = hy_fail(e, HY_E_USAGE, "%s: %.80s lies in no file of that folder", index,
                         map->keys[i]);
        else if (!is_among(map->items, i, name->string))
            rc = append_path(paths, folder, name->string, e);
    }
    hy_value_free(root);
    hy_buf_release(&text);
    return rc;
}

static int list_folder(const char *folder, struct hy_value *paths, struct hy_err *e)
{
    char whole[PATH_MAX], index[PATH_MAX];
    snprintf(whole, sizeof whole, "%s/model.safetensors", folder);
    snprintf(index, sizeof index, "%s/model.safetensors.index.json", folder);
    if (!access(whole, F_OK))
        return hy_value_append(paths, hy_value_string(whole), e);
    if (!access(index, F_OK))
        return list_shards(folder, index, paths, e);
    return hy_fail(e, HY_E_USAGE,
                   "%s holds neither model.safetensors nor model.safetensors.index.json", folder);
}

/* GGUF is what people have in a file that looks like weights. */
static int refuse_gguf(const char *path, struct hy_err *e)
{
    char magic[4] = "";
    FILE *file = fopen(path, "r");
    const int is_gguf = file && fread(magic, 1, 4, file) == 4 && !memcmp(magic, "GGUF", 4);
    if (file)
        fclose(file);
    return is_gguf ? hy_fail(e, HY_E_USAGE,
                             "%s is a GGUF file, which is not read: make a folder of config.json "
                             "and model.safetensors of it",
                             path)
                   : HY_OK;
}

/* *out: a list of the safetensors files that path means. */
static int list_files(const char *path, struct hy_value **out, struct hy_err *e)
{
    struct stat found;
    if (stat(path, &found))
        return hy_fail_errno(e, HY_E_USAGE, "cannot read %s", path);
    const int is_folder = S_ISDIR(found.st_mode);
    struct hy_value *paths = hy_value_list();
    int rc = paths ? HY_OK : hy_fail_memory(e);
    if (!rc)
        rc = is_folder ? list_folder(path, paths, e) : refuse_gguf(path, e);
    if (!rc && !is_folder)
        rc = hy_value_append(paths, hy_value_string(path), e);
    if (rc)
        hy_value_free(paths);
    else
        *out = paths;
    return rc;
}

int hy_weights_open(const char *path, struct hy_weights *out, struct hy_err *e)
{
    struct hy_weights w = {0};
    struct hy_value *paths = NULL;
    int rc = list_files(path, &paths, e);
    if (!rc && !(w.files = calloc(paths->count + 1, sizeof *w.files)))
        rc = hy_fail_memory(e);
    for (size_t i = 0; !rc && i < paths->count; i++) {
        rc = hy_st_read(paths->items[i]->string, &w.files[i], e);
        w.count += !rc;
    }
    hy_value_free(paths);
    if (rc)
        hy_weights_close(&w);
    else
        *out = w;
    return rc;
}

int hy_weights_hash(const char *path, char text[HY_HASH_TEXT], struct hy_err *e)
{
    struct hy_buf all = {0};
    struct hy_value *paths = NULL;
    struct stat found;
    int rc = list_files(path, &paths, e);
    if (!rc && !stat(path, &found) && S_ISDIR(found.st_mode))
        rc = append_path(paths, path, "config.json", e);
    for (size_t i = 0; !rc && i < paths->count; i++) {
        rc = hy_hash_file(paths->items[i]->string, text, e);
        hy_buf_text(&all, text);
    }
    if (!rc && hy_buf_failed(&all))
        rc = hy_fail_memory(e);
    if (!rc)
        hy_hash_bytes(all.data, all.size, text);
    hy_buf_release(&all);
    hy_value_free(paths);
    return rc;
}

void hy_weights_close(struct hy_weights *w)
{
    for (size_t i = 0; i < w->count; i++)
        hy_st_release(&w->files[i]);
    free(w->files);
    *w = (struct hy_weights){0};
}

const struct hy_st_tensor *hy_weights_find(const struct hy_weights *w, const char *name)
{
    const struct hy_st_tensor *t = NULL;
    for (size_t i = 0; i < w->count && !t; i++)
        t = hy_st_find(&w->files[i], name);
    return t;
}

/* ---- Names ---- */

/* Does `name` fit a pattern with at most one '*'? What stands for that: *rest and *length. */
static int fits(const char *pattern, const char *name, const char **rest, size_t *length)
{
    if (!hy_name_fits(pattern, name))
        return 0;
    const char *star = strchr(pattern, '*');
    *rest = star ? name + (star - pattern) : name;
    *length = star ? strlen(name) + 1 - strlen(pattern) : 0;
    return 1;
}

/* What the source calls the parameter, in out; 0 where it is not to be taken. */
static int source_name(const struct hy_weights_order *order, const char *name,
                       char out[HY_NAME_SIZE])
{
    for (size_t i = 0; order->map && i < order->map->count; i++) {
        const struct hy_value *to = order->map->items[i];
        const char *rest;
        size_t length;
        if (!fits(order->map->keys[i], name, &rest, &length))
            continue;
        if (to->type != HY_V_STRING)
            return 0;
        const char *star = strchr(to->string, '*');
        const int before = star ? (int)(star - to->string) : (int)strlen(to->string);
        snprintf(out, HY_NAME_SIZE, "%.*s%.*s%s", before, to->string, star ? (int)length : 0, rest,
                 star ? star + 1 : "");
        return 1;
    }
    if (order->rename)
        return order->rename(order->context, name, out);
    snprintf(out, HY_NAME_SIZE, "%s", name);
    return 1;
}

/* ---- Numbers ---- */

double hy_half_value(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double sign = bits >> 15 ? -1 : 1;
    if (exponent == 31)
        return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

static float bf16_value(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static void convert(const struct hy_st_tensor *t, int64_t count, hy_real *out)
{
    for (int64_t i = 0; i < count; i++)
        switch (t->dtype) {
        case HY_ST_F32:
            out[i] = (hy_real)((const float *)t->data)[i];
            break;
        case HY_ST_F64:
            out[i] = (hy_real)((const double *)t->data)[i];
            break;
        case HY_ST_F16:
            out[i] = (hy_real)hy_half_value(((const uint16_t *)t->data)[i]);
            break;
        default:
            out[i] = (hy_real)bf16_value(((const uint16_t *)t->data)[i]);
        }
}

static void shape_text(int rank, const int64_t *dims, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used +=
            (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "", (long long)dims[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
}

static int has_shape(const struct hy_st_tensor *t, const struct hy_entry *entry)
{
    return t->rank == entry->rank &&
           !memcmp(t->dims, entry->dims, (size_t)t->rank * sizeof *t->dims);
}

static int check_tensor(const struct hy_st_tensor *t, const struct hy_entry *entry,
                        struct hy_err *e)
{
    char has[128], wants[128];
    if (t->dtype == HY_ST_I32 || t->dtype == HY_ST_I64)
        return hy_fail(e, HY_E_USAGE, "%s holds integers, not weights", t->name);
    if (has_shape(t, entry))
        return HY_OK;
    shape_text(t->rank, t->dims, has, sizeof has);
    shape_text(entry->rank, entry->dims, wants, sizeof wants);
    return hy_fail(e, HY_E_USAGE,
                   "%s has shape %s, but the model's %s has %s; a null in init.map leaves it out",
                   t->name, has, entry->name, wants);
}

/* ---- Taking ---- */

/* A mark for each tensor of the source: somebody has taken it. */
static unsigned char **new_marks(const struct hy_weights *w)
{
    unsigned char **marks = calloc(w->count + 1, sizeof *marks);
    for (size_t i = 0; marks && i < w->count; i++)
        if (!(marks[i] = calloc(w->files[i].tensor_count + 1, 1))) {
            while (i--)
                free(marks[i]);
            free(marks);
            return NULL;
        }
    return marks;
}

static void mark(const struct hy_weights *w, unsigned char **marks, const struct hy_st_tensor *t)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct hy_st_file *f = &w->files[i];
        if (t >= f->tensors && t < f->tensors + f->tensor_count)
            marks[i][t - f->tensors] = 1;
    }
}

static void list_unused(const struct hy_weights *w, unsigned char **marks,
                        struct hy_weights_report *report)
{
    for (size_t i = 0; i < w->count; i++)
        for (size_t k = 0; k < w->files[i].tensor_count; k++) {
            const char *name = w->files[i].tensors[k].name;
            /* Moments are no weights. */
            if (marks[i][k] || !strncmp(name, "optimizer.", strlen("optimizer.")))
                continue;
            hy_buf_printf(&report->unused_names, "%s%s", report->unused++ ? " " : "", name);
        }
}

/* memory: where the replica's values go, NULL: nowhere. */
static int take_entry(const struct hy_weights *w, const struct hy_weights_order *order,
                      const struct hy_entry *entry, unsigned char **marks, hy_real *memory,
                      struct hy_weights_report *report, struct hy_err *e)
{
    const char *prefix = order->prefix ? order->prefix : "";
    char name[HY_NAME_SIZE];
    if (strncmp(entry->name, prefix, strlen(prefix)) != 0 ||
        !hy_model_owns(entry->name + strlen(prefix)))
        return HY_OK;
    const struct hy_st_tensor *t =
        source_name(order, entry->name + strlen(prefix), name) ? hy_weights_find(w, name) : NULL;
    if (t && order->may_differ && hy_name_fits(order->may_differ, entry->name) &&
        !has_shape(t, entry))
        t = NULL;
    if (!t) {
        hy_buf_printf(&report->initialised_names, "%s%s", report->initialised++ ? " " : "",
                      entry->name);
        return HY_OK;
    }
    const int rc = check_tensor(t, entry, e);
    if (rc)
        return rc;
    if (memory)
        convert(t, entry->count, memory + entry->offset);
    mark(w, marks, t);
    report->taken++;
    return HY_OK;
}

static int check_strict(const struct hy_weights_report *report, struct hy_err *e)
{
    if (report->initialised)
        return hy_fail(e, HY_E_USAGE,
                       "init.strict: the source lacks %d of the model's weights: %.600s",
                       report->initialised, report->initialised_names.data);
    if (report->unused)
        return hy_fail(e, HY_E_USAGE, "init.strict: %d weights of the source have no place: %.600s",
                       report->unused, report->unused_names.data);
    return HY_OK;
}

/* Matches all of the model's parameters; memory as for take_entry. */
static int match(const struct hy_weights *w, const struct hy_weights_order *order,
                 const struct hy_slab *params, hy_real *memory, struct hy_weights_report *report,
                 struct hy_err *e)
{
    unsigned char **marks = new_marks(w);
    int rc = marks ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < params->entry_count; i++)
        rc = take_entry(w, order, &params->entries[i], marks, memory, report, e);
    if (!rc)
        list_unused(w, marks, report);
    if (!rc && (hy_buf_failed(&report->initialised_names) || hy_buf_failed(&report->unused_names)))
        rc = hy_fail_memory(e);
    if (!rc && !report->taken)
        rc = hy_fail(e, HY_E_USAGE, "the source has no weight of the model's names");
    if (!rc && order->strict)
        rc = check_strict(report, e);
    for (size_t i = 0; marks && i < w->count; i++)
        free(marks[i]);
    free(marks);
    return rc;
}

int hy_weights_check(const struct hy_weights *w, const struct hy_weights_order *order,
                     const struct hy_slab *params, struct hy_weights_report *report,
                     struct hy_err *e)
{
    return match(w, order, params, NULL, report, e);
}

int hy_weights_take(const struct hy_weights *w, const struct hy_weights_order *order,
                    struct hy_slab *params, int replica, struct hy_weights_report *report,
                    struct hy_err *e)
{
    hy_real *memory = malloc((size_t)params->count * sizeof *memory);
    int rc = memory ? hy_slab_read(params, replica, memory, e) : hy_fail_memory(e);
    if (!rc)
        rc = match(w, order, params, memory, report, e);
    if (!rc)
        rc = hy_slab_write(params, replica, memory, e);
    free(memory);
    return rc;
}

int hy_weights_plan(const struct hy_slab *params, struct hy_weights *out, struct hy_err *e)
{
    struct hy_weights w = {.files = calloc(1, sizeof *w.files), .count = 1};
    const size_t count = (size_t)params->entry_count;
    if (!w.files || !(w.files->tensors = calloc(count + 1, sizeof *w.files->tensors))) {
        free(w.files);
        return hy_fail_memory(e);
    }
    for (size_t i = 0; i < count; i++) {
        const struct hy_entry *entry = &params->entries[i];
        struct hy_st_tensor *t = &w.files->tensors[w.files->tensor_count];
        if (!hy_model_owns(entry->name))
            continue;
        w.files->tensor_count++;
        *t = (struct hy_st_tensor){.name = entry->name, .rank = entry->rank};
        memcpy(t->dims, entry->dims, (size_t)entry->rank * sizeof *entry->dims);
    }
    *out = w;
    return HY_OK;
}

void hy_weights_report_release(struct hy_weights_report *r)
{
    hy_buf_release(&r->initialised_names);
    hy_buf_release(&r->unused_names);
    *r = (struct hy_weights_report){0};
}
