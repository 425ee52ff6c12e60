#include "core/model/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/base/hash.h"
#include "core/model/groups.h"
#include "core/model/model.h"
#include "core/model/safetensors.h"

/* The families of tensors in a file: the prefix of their names, which of a slab's entries they are,
 * and where these lie, one behind the other, in the host's memory. */
struct family {
    const char *prefix;
    struct hy_slab layout; /* entries alone; owned */
    hy_real *data;         /* NULL: not there yet */
};
enum { SLABS = 3, BASE = SLABS, FAMILIES, NAME = HY_NAME_SIZE + 16 };

static const char *const prefixes[FAMILIES] = {"", "optimizer.m.", "optimizer.v.", "base."};

void hy_trained_release(struct hy_trained *t)
{
    hy_buf_release(&t->history);
    hy_buf_release(&t->selection);
    hy_snapshot_release(&t->base);
}

/* A teacher's parameters are its own run's; what was added for a stage is merged at its end. */
static int is_kept(const struct hy_entry *entry, int complete)
{
    return hy_model_owns(entry->name) || (!complete && hy_group_has("lora", entry->name));
}

static void release_families(struct family f[FAMILIES])
{
    for (int i = 0; i < FAMILIES; i++) {
        hy_slab_release(&f[i].layout);
        free(f[i].data);
    }
}

/* Lays the families of the slabs out; complete: as of a run that has taken its last step. */
static int lay_out(struct family f[FAMILIES], const struct hy_slab *const slabs[SLABS],
                   int complete, struct hy_err *e)
{
    int rc = HY_OK;
    for (int i = 0; i < FAMILIES; i++)
        f[i] = (struct family){.prefix = prefixes[i], .layout.replicas = 1};
    for (int i = 0; i < SLABS && !rc; i++) {
        for (int k = 0; k < slabs[i]->entry_count && !rc; k++)
            if (is_kept(&slabs[i]->entries[k], complete) &&
                hy_slab_add(&f[i].layout, &slabs[i]->entries[k], e) < 0)
                rc = e->code;
        if (!rc && !(f[i].data = malloc((size_t)(f[i].layout.count + 1) * sizeof(hy_real))))
            rc = hy_fail_memory(e);
    }
    if (rc)
        release_families(f);
    return rc;
}

/* Copies between a family and memory that holds all of a replica of its slab. */
static void copy(struct family *f, const struct hy_slab *slab, hy_real *all, int into_slab)
{
    for (int i = 0, k = 0; i < f->layout.entry_count; i++) {
        const struct hy_entry *own = &f->layout.entries[i];
        while (strcmp(slab->entries[k].name, own->name) != 0)
            k++;
        hy_real *there = all + slab->entries[k].offset, *here = f->data + own->offset;
        memcpy(into_slab ? there : here, into_slab ? here : there,
               (size_t)own->count * sizeof *here);
    }
}

static int collect(struct family *f, const struct hy_slab *slab, int replica, struct hy_err *e)
{
    hy_real *all = malloc((size_t)(slab->count + 1) * sizeof *all);
    const int rc = all ? hy_slab_read(slab, replica, all, e) : hy_fail_memory(e);
    if (!rc)
        copy(f, slab, all, 0);
    free(all);
    return rc;
}

/* What the family does not have stays as it is. */
static int spread(struct family *f, struct hy_slab *slab, int replica, struct hy_err *e)
{
    hy_real *all = malloc((size_t)(slab->count + 1) * sizeof *all);
    int rc = all ? hy_slab_read(slab, replica, all, e) : hy_fail_memory(e);
    if (!rc) {
        copy(f, slab, all, 1);
        rc = hy_slab_write(slab, replica, all, e);
    }
    free(all);
    return rc;
}

/* Hashes all families, in their order. */
static void checksum(const struct family *f, char text[HY_HASH_TEXT])
{
    XXH128_hash_t hash = {0};
    for (int i = 0; i < (f[BASE].layout.count ? FAMILIES : SLABS); i++)
        hash = XXH3_128bits_withSeed(f[i].data, (size_t)f[i].layout.count * sizeof(hy_real),
                                     hash.low64 ^ hash.high64);
    snprintf(text, HY_HASH_TEXT, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

/* Hashes what the metadata say, sums and format apart. */
static int state_sum(const struct hy_st_pair *pairs, size_t count, char text[HY_HASH_TEXT],
                     struct hy_err *e)
{
    struct hy_buf all = {0};
    for (size_t i = 0; i < count; i++)
        if (!strstr(pairs[i].key, "checksum") && strcmp(pairs[i].key, "format"))
            hy_buf_printf(&all, "%s=%s\n", pairs[i].key, pairs[i].value);
    const int rc = hy_buf_failed(&all) ? hy_fail_memory(e) : HY_OK;
    if (!rc)
        hy_hash_bytes(all.data ? all.data : "", all.size, text);
    hy_buf_release(&all);
    return rc;
}

/* Entry i of a family as a tensor of the file; name: room for its name there. */
static struct hy_st_tensor describe(const struct family *f, int i, char name[NAME])
{
    const struct hy_entry *entry = &f->layout.entries[i];
    struct hy_st_tensor t = {
        .name = name,
        .dtype = sizeof(hy_real) == 4 ? HY_ST_F32 : HY_ST_F64,
        .rank = entry->rank,
        .data = f->data + entry->offset,
    };
    snprintf(name, NAME, "%s%s", f->prefix, entry->name);
    memcpy(t.dims, entry->dims, (size_t)entry->rank * sizeof *entry->dims);
    return t;
}

/* Writes families that hold what is to be saved. */
static int write_file(const char *path, const char *key, const struct hy_trained *trained,
                      const struct family families[FAMILIES], struct hy_err *e)
{
    int count = 0;
    for (int f = 0; f < FAMILIES; f++)
        count += families[f].layout.entry_count;
    char state[HY_HASH_TEXT], step[32], stage[16], seconds[32], judged[32], best[32], stale[16],
        sum[HY_HASH_TEXT];
    struct hy_st_tensor *tensors = calloc((size_t)count + 1, sizeof *tensors);
    char(*names)[NAME] = calloc((size_t)count + 1, sizeof *names);
    int rc = tensors && names ? HY_OK : hy_fail_memory(e);
    for (int f = 0, n = 0; f < FAMILIES && !rc; f++)
        for (int i = 0; i < families[f].layout.entry_count; i++, n++)
            tensors[n] = describe(&families[f], i, names[n]);
    checksum(families, sum);
    snprintf(step, sizeof step, "%" PRId64, trained->step);
    snprintf(stage, sizeof stage, "%d", trained->stage);
    snprintf(seconds, sizeof seconds, "%.17g", trained->seconds);
    snprintf(judged, sizeof judged, "%" PRId64, trained->judged);
    snprintf(best, sizeof best, "%.17g", trained->best);
    snprintf(stale, sizeof stale, "%d", trained->stale);
    const struct hy_st_pair pairs[] = {
        {"format", "pt"},
        {"key", key},
        {"step", step},
        {"stage", stage},
        {"seconds", seconds},
        {"judged", judged},
        {"best", best},
        {"stale", stale},
        {"complete", trained->complete ? "1" : "0"},
        {"history", trained->history.data ? trained->history.data : ""},
        {"checksum", sum},
        {"state_checksum", state},
        {"selection", trained->selection.data},
    };
    const size_t pair_count = sizeof pairs / sizeof *pairs - !trained->selection.data;
    if (!rc)
        rc = hy_buf_failed(&trained->history) || hy_buf_failed(&trained->selection)
                 ? hy_fail_memory(e)
                 : state_sum(pairs, pair_count, state, e);
    if (!rc)
        rc = hy_st_write(path, tensors, (size_t)count, pairs, pair_count, e);
    free(names);
    free(tensors);
    return rc;
}

/* The weights to return to as a family of their own. */
static int add_base(struct family *f, const struct hy_snapshot *base, struct hy_err *e)
{
    for (int i = 0; base->data && i < base->layout.entry_count; i++)
        if (hy_slab_add(&f->layout, &base->layout.entries[i], e) < 0)
            return e->code;
    if (!base->data)
        return HY_OK;
    if (!(f->data = malloc((size_t)(f->layout.count + 1) * sizeof *f->data)))
        return hy_fail_memory(e);
    memcpy(f->data, base->data, (size_t)f->layout.count * sizeof *f->data);
    return HY_OK;
}

int hy_checkpoint_save(const char *path, const char *key, const struct hy_trained *trained,
                       const struct hy_slab *params, const struct hy_adamw *opt, int replica,
                       struct hy_err *e)
{
    const struct hy_slab *const slabs[SLABS] = {params, &opt->m, &opt->v};
    struct family families[FAMILIES];
    int rc = lay_out(families, slabs, trained->complete, e);
    if (rc)
        return rc;
    for (int f = 0; f < SLABS && !rc; f++)
        rc = collect(&families[f], slabs[f], replica, e);
    if (!rc)
        rc = add_base(&families[BASE], &trained->base, e);
    if (!rc)
        rc = write_file(path, key, trained, families, e);
    release_families(families);
    return rc;
}

/* Takes a family's tensors from a file that has each of them in its type and shape. */
static int load_family(struct family *f, const struct hy_st_file *file, const char *path,
                       struct hy_err *e)
{
    for (int i = 0; i < f->layout.entry_count; i++) {
        char name[NAME];
        const struct hy_entry *entry = &f->layout.entries[i];
        const struct hy_st_tensor want = describe(f, i, name);
        const struct hy_st_tensor *t = hy_st_find(file, name);
        if (!t || t->dtype != want.dtype || t->rank != want.rank ||
            memcmp(t->dims, want.dims, (size_t)want.rank * sizeof *want.dims))
            return hy_fail(e, HY_E_USAGE, "%s: %s %s", path, name,
                           t ? "has another shape than the model's" : "is missing");
        memcpy(f->data + entry->offset, t->data, (size_t)entry->count * sizeof *f->data);
    }
    return HY_OK;
}

/* Lays out the weights to return to, as the file has them. */
static int lay_out_base(struct family *f, const struct hy_st_file *file, struct hy_err *e)
{
    const size_t prefix = strlen(f->prefix);
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct hy_st_tensor *t = &file->tensors[i];
        struct hy_entry entry = {.rank = t->rank};
        if (strncmp(t->name, f->prefix, prefix) != 0 || t->rank > HY_MAX_DIMS)
            continue;
        snprintf(entry.name, sizeof entry.name, "%s", t->name + prefix);
        memcpy(entry.dims, t->dims, (size_t)t->rank * sizeof *t->dims);
        if (hy_slab_add(&f->layout, &entry, e) < 0)
            return e->code;
    }
    if (f->layout.count && !(f->data = malloc((size_t)(f->layout.count + 1) * sizeof *f->data)))
        return hy_fail_memory(e);
    return HY_OK;
}

static int check_state(const struct hy_st_file *file, const char *path, struct hy_err *e)
{
    const char *stored = hy_st_value(file, "state_checksum");
    char sum[HY_HASH_TEXT];
    if (!stored && !hy_st_value(file, "history"))
        return HY_OK; /* of before there were any */
    const int rc = state_sum(file->pairs, file->pair_count, sum, e);
    if (rc || (stored && !strcmp(sum, stored)))
        return rc;
    return hy_fail(e, HY_E_USAGE, "%s is damaged: the checksum of its metadata is %s, not %s", path,
                   sum, stored ? stored : "there");
}

static int check_owner(const struct hy_st_file *file, const char *path, const char *key,
                       struct hy_err *e)
{
    const char *owner = hy_st_value(file, "key");
    return owner && (!key || !strcmp(owner, key)) && hy_st_value(file, "step") &&
                   hy_st_value(file, "seconds") && hy_st_value(file, "checksum")
               ? HY_OK
               : hy_fail(e, HY_E_USAGE, "%s is no checkpoint%s%s", path, key ? " of run " : "",
                         key ? key : "");
}

static int is_complete(const struct hy_st_file *file)
{
    const char *complete = hy_st_value(file, "complete");
    return complete && !strcmp(complete, "1");
}

static int stage_of(const struct hy_st_file *file)
{
    const char *stage = hy_st_value(file, "stage");
    return stage ? (int)strtol(stage, NULL, 10) : 0;
}

/* Reads a file of that run into families that are laid out for the model. */
static int load_families(struct family families[FAMILIES], const struct hy_st_file *file,
                         const char *path, struct hy_err *e)
{
    char sum[HY_HASH_TEXT];
    const char *stored = hy_st_value(file, "checksum");
    for (int f = 0; f < FAMILIES; f++) {
        const int rc = load_family(&families[f], file, path, e);
        if (rc)
            return rc;
    }
    checksum(families, sum);
    return strcmp(sum, stored) ? hy_fail(e, HY_E_USAGE, "%s is damaged: its checksum is %s, not %s",
                                         path, sum, stored)
                               : HY_OK;
}

static int load_text(const struct hy_st_file *file, const char *key, struct hy_buf *out,
                     struct hy_err *e)
{
    const char *text = hy_st_value(file, key);
    if (text)
        hy_buf_text(out, text);
    return hy_buf_failed(out) ? hy_fail_memory(e) : HY_OK;
}

static int load_trained(const struct hy_st_file *file, struct hy_trained *out, struct hy_err *e)
{
    /* Files of before there were rules for stopping lack the last three. */
    const char *judged = hy_st_value(file, "judged"), *best = hy_st_value(file, "best");
    const char *stale = hy_st_value(file, "stale");
    out->step = strtoll(hy_st_value(file, "step"), NULL, 10);
    out->seconds = strtod(hy_st_value(file, "seconds"), NULL);
    out->stage = stage_of(file);
    out->judged = judged ? strtoll(judged, NULL, 10) : out->step;
    out->best = best ? strtod(best, NULL) : NAN;
    out->stale = stale ? (int)strtol(stale, NULL, 10) : 0;
    const int rc = load_text(file, "history", &out->history, e);
    return rc ? rc : load_text(file, "selection", &out->selection, e);
}

static int load_file(const struct hy_st_file *file, const char *path, struct hy_trained *trained,
                     struct hy_slab *params, struct hy_adamw *opt, int replica, struct hy_err *e)
{
    struct hy_slab *const slabs[SLABS] = {params, &opt->m, &opt->v};
    struct family families[FAMILIES];
    struct hy_trained loaded = {0};
    int rc = lay_out(families, (const struct hy_slab *const[]){params, &opt->m, &opt->v},
                     is_complete(file), e);
    if (rc)
        return rc;
    rc = lay_out_base(&families[BASE], file, e);
    if (!rc && !(rc = load_families(families, file, path, e)) && !(rc = check_state(file, path, e)))
        rc = load_trained(file, &loaded, e);
    for (int f = 0; f < SLABS && !rc; f++)
        rc = spread(&families[f], slabs[f], replica, e);
    if (!rc && families[BASE].data) {
        loaded.base = (struct hy_snapshot){families[BASE].layout, families[BASE].data};
        families[BASE] = (struct family){0};
    }
    hy_trained_release(rc ? &loaded : trained);
    if (!rc)
        *trained = loaded;
    release_families(families);
    return rc;
}

int hy_checkpoint_load(const char *path, const char *key, struct hy_trained *trained,
                       struct hy_slab *params, struct hy_adamw *opt, int replica, struct hy_err *e)
{
    struct hy_st_file file;
    int rc = hy_st_read(path, &file, e);
    if (rc)
        return rc;
    rc = check_owner(&file, path, key, e);
    if (!rc)
        rc = load_file(&file, path, trained, params, opt, replica, e);
    hy_st_release(&file);
    return rc;
}

int hy_checkpoint_peek(const char *path, const char *key, struct hy_trained *out, struct hy_err *e)
{
    struct hy_st_file file;
    struct hy_trained loaded = {0};
    int rc = hy_st_read(path, &file, e);
    if (rc)
        return rc;
    if (!(rc = check_owner(&file, path, key, e)) && !(rc = check_state(&file, path, e)))
        rc = load_trained(&file, &loaded, e);
    loaded.complete = is_complete(&file);
    hy_st_release(&file);
    if (rc)
        hy_trained_release(&loaded);
    else
        *out = loaded;
    return rc;
}

int hy_checkpoint_is_complete(const char *path)
{
    struct hy_st_file file;
    struct hy_err ignored;
    if (hy_st_read(path, &file, &ignored))
        return 0;
    const int is = is_complete(&file) && !check_state(&file, path, &ignored);
    hy_st_release(&file);
    return is;
}
