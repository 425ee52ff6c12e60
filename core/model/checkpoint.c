#include "core/model/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/base/hash.h"
#include "core/model/safetensors.h"

/* The families of tensors in a file: the prefix of their names and where they lie in the host's
 * memory. */
struct family {
    const char *prefix;
    hy_real *data;
};
enum { FAMILIES = 3 };

static const char *const prefixes[FAMILIES] = {"", "optimizer.m.", "optimizer.v."};

/* Reads a replica's families into `memory`, one behind the other. */
static int read_families(struct family out[FAMILIES], const struct hy_slab *params,
                         const struct hy_adamw *opt, int replica, hy_real *memory, struct hy_err *e)
{
    const struct hy_slab *const slabs[FAMILIES] = {params, &opt->m, &opt->v};
    int rc = HY_OK;
    for (int f = 0; f < FAMILIES && !rc; f++, memory += params->count) {
        out[f] = (struct family){prefixes[f], memory};
        rc = hy_slab_read(slabs[f], replica, memory, e);
    }
    return rc;
}

static int write_families(const struct family from[FAMILIES], struct hy_slab *params,
                          struct hy_adamw *opt, int replica, struct hy_err *e)
{
    struct hy_slab *const slabs[FAMILIES] = {params, &opt->m, &opt->v};
    int rc = HY_OK;
    for (int f = 0; f < FAMILIES && !rc; f++)
        rc = hy_slab_write(slabs[f], replica, from[f].data, e);
    return rc;
}

/* Hashes all three families, in the order of memory. */
static void checksum(const struct family *f, size_t bytes, char text[HY_HASH_TEXT])
{
    XXH128_hash_t hash = {0};
    for (int i = 0; i < FAMILIES; i++)
        hash = XXH3_128bits_withSeed(f[i].data, bytes, hash.low64 ^ hash.high64);
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

static size_t family_bytes(const struct hy_slab *params)
{
    return (size_t)params->count * sizeof(hy_real);
}

/* Entry i as a tensor of the file, from the family whose data these are. */
static struct hy_st_tensor describe(const struct hy_slab *params, int i, const char *name,
                                    hy_real *family)
{
    const struct hy_entry *entry = &params->entries[i];
    struct hy_st_tensor t = {
        .name = name,
        .dtype = sizeof(hy_real) == 4 ? HY_ST_F32 : HY_ST_F64,
        .rank = entry->rank,
        .data = family ? family + entry->offset : NULL,
    };
    memcpy(t.dims, entry->dims, (size_t)entry->rank * sizeof *entry->dims);
    return t;
}

int hy_checkpoint_save(const char *path, const char *key, const struct hy_trained *trained,
                       const struct hy_slab *params, const struct hy_adamw *opt, int replica,
                       struct hy_err *e)
{
    enum { NAME = HY_NAME_SIZE + 16 };
    const int entries = params->entry_count, count = FAMILIES * entries;
    struct family families[FAMILIES];
    char state[HY_HASH_TEXT], step[32], seconds[32], judged[32], best[32], stale[16],
        sum[HY_HASH_TEXT];
    struct hy_st_tensor *tensors = calloc((size_t)count, sizeof *tensors);
    char(*names)[NAME] = calloc((size_t)count, sizeof *names);
    hy_real *memory = malloc(FAMILIES * family_bytes(params));
    int rc;
    if (!tensors || !names || !memory) {
        rc = hy_fail_memory(e);
        goto out;
    }
    if ((rc = read_families(families, params, opt, replica, memory, e)))
        goto out;
    for (int f = 0, n = 0; f < FAMILIES; f++) {
        for (int i = 0; i < entries; i++, n++) {
            snprintf(names[n], NAME, "%s%s", families[f].prefix, params->entries[i].name);
            tensors[n] = describe(params, i, names[n], families[f].data);
        }
    }
    checksum(families, family_bytes(params), sum);
    snprintf(step, sizeof step, "%" PRId64, trained->step);
    snprintf(seconds, sizeof seconds, "%.17g", trained->seconds);
    snprintf(judged, sizeof judged, "%" PRId64, trained->judged);
    snprintf(best, sizeof best, "%.17g", trained->best);
    snprintf(stale, sizeof stale, "%d", trained->stale);
    const struct hy_st_pair pairs[] = {
        {"format", "pt"},
        {"key", key},
        {"step", step},
        {"seconds", seconds},
        {"judged", judged},
        {"best", best},
        {"stale", stale},
        {"complete", trained->complete ? "1" : "0"},
        {"history", trained->history.data ? trained->history.data : ""},
        {"checksum", sum},
        {"state_checksum", state},
    };
    const size_t pair_count = sizeof pairs / sizeof *pairs;
    rc = hy_buf_failed(&trained->history) ? hy_fail_memory(e)
                                          : state_sum(pairs, pair_count, state, e);
    if (!rc)
        rc = hy_st_write(path, tensors, (size_t)count, pairs, pair_count, e);
out:
    free(memory);
    free(names);
    free(tensors);
    return rc;
}

/* Finds an entry's tensor in the file and checks its type and shape. */
static const struct hy_st_tensor *wanted(const struct hy_st_file *file, const char *path,
                                         const struct hy_slab *params, int i, const char *prefix,
                                         struct hy_err *e)
{
    char name[HY_NAME_SIZE + 16];
    snprintf(name, sizeof name, "%s%s", prefix, params->entries[i].name);
    const struct hy_st_tensor want = describe(params, i, name, NULL);
    const struct hy_st_tensor *t = hy_st_find(file, name);
    if (!t || t->dtype != want.dtype || t->rank != want.rank ||
        memcmp(t->dims, want.dims, (size_t)want.rank * sizeof *want.dims)) {
        hy_fail(e, HY_E_USAGE, "%s: %s %s", path, name,
                t ? "has another shape than the model's" : "is missing");
        return NULL;
    }
    return t;
}

/* The tensors have a sum of their own. */
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

static int load_history(const struct hy_st_file *file, struct hy_buf *out, struct hy_err *e)
{
    const char *text = hy_st_value(file, "history");
    hy_buf_text(out, text ? text : "");
    return hy_buf_failed(out) ? hy_fail_memory(e) : HY_OK;
}

int hy_checkpoint_load(const char *path, const char *key, struct hy_trained *trained,
                       struct hy_slab *params, struct hy_adamw *opt, int replica, struct hy_err *e)
{
    const size_t bytes = family_bytes(params);
    struct family loaded[FAMILIES];
    struct hy_st_file file = {0};
    struct hy_buf history = {0};
    char sum[HY_HASH_TEXT];
    hy_real *memory = malloc(FAMILIES * bytes);
    int rc;
    if (!memory)
        return hy_fail_memory(e);
    if ((rc = hy_st_read(path, &file, e)))
        goto out;
    const char *owner = hy_st_value(&file, "key"), *step = hy_st_value(&file, "step");
    const char *seconds = hy_st_value(&file, "seconds"), *stored = hy_st_value(&file, "checksum");
    if (!owner || !step || !seconds || !stored || strcmp(owner, key)) {
        rc = hy_fail(e, HY_E_USAGE, "%s is no checkpoint of run %s", path, key);
        goto out;
    }
    for (int f = 0; f < FAMILIES; f++) {
        loaded[f] = (struct family){prefixes[f], memory + (size_t)f * (bytes / sizeof *memory)};
        for (int i = 0; i < params->entry_count; i++) {
            const struct hy_st_tensor *t = wanted(&file, path, params, i, prefixes[f], e);
            if (!t) {
                rc = HY_E_USAGE;
                goto out;
            }
            const struct hy_entry *entry = &params->entries[i];
            memcpy(loaded[f].data + entry->offset, t->data, (size_t)entry->count * sizeof *memory);
        }
    }
    checksum(loaded, bytes, sum);
    if (strcmp(sum, stored)) {
        rc = hy_fail(e, HY_E_USAGE, "%s is damaged: its checksum is %s, not %s", path, sum, stored);
        goto out;
    }
    if ((rc = check_state(&file, path, e)) || (rc = load_history(&file, &history, e)) ||
        (rc = write_families(loaded, params, opt, replica, e)))
        goto out;
    hy_buf_release(&trained->history);
    trained->history = history;
    history = (struct hy_buf){0};
    trained->step = strtoll(step, NULL, 10);
    trained->seconds = strtod(seconds, NULL);
    /* Files of before there were rules for stopping lack these. */
    const char *judged = hy_st_value(&file, "judged"), *best = hy_st_value(&file, "best");
    const char *stale = hy_st_value(&file, "stale");
    trained->judged = judged ? strtoll(judged, NULL, 10) : trained->step;
    trained->best = best ? strtod(best, NULL) : NAN;
    trained->stale = stale ? (int)strtol(stale, NULL, 10) : 0;
out:
    hy_buf_release(&history);
    hy_st_release(&file);
    free(memory);
    return rc;
}

int hy_checkpoint_is_complete(const char *path)
{
    struct hy_st_file file = {0};
    struct hy_err ignored;
    if (hy_st_read(path, &file, &ignored))
        return 0;
    const char *complete = hy_st_value(&file, "complete");
    const int is = complete && !strcmp(complete, "1") && !check_state(&file, path, &ignored);
    hy_st_release(&file);
    return is;
}
