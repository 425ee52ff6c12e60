#include "core/tasks/support/token_files.h"

#include <stdlib.h>
#include <string.h>

#include "core/tasks/support/npy.h"

static const struct {
    int bytes;
    const char *name, *npy;
} types[] = {
    [HY_TOKEN_U16] = {2, "uint16", "<u2"},
    [HY_TOKEN_U32] = {4, "uint32", "<u4"},
    [HY_TOKEN_I32] = {4, "int32", "<i4"},
    [HY_TOKEN_I64] = {8, "int64", "<i8"},
};
enum { TYPES = sizeof types / sizeof *types };

static const struct {
    int32_t magic, version;
    enum hy_token_type type;
} llmc[] = {{20240520, 1, HY_TOKEN_U16}, {20240801, 7, HY_TOKEN_U32}};
enum { LLMC_HEADER = 256 * sizeof(int32_t) };

/* Fails unless the file has exactly the ids that its header, of begin bytes, tells of. */
static int check_size(const struct hy_token_file *f, int64_t told, int64_t at, struct hy_err *e)
{
    const int64_t bytes = f->map.size - f->begin;
    if (told >= 0 && told == bytes / types[f->type].bytes && bytes % types[f->type].bytes == 0)
        return HY_OK;
    return hy_fail(e, HY_E_USAGE,
                   "byte %lld: the header tells of %lld ids of %s, but %lld bytes follow it; is "
                   "the file whole?",
                   (long long)at, (long long)told, types[f->type].name, (long long)bytes);
}

static int read_npy(struct hy_token_file *f, struct hy_err *e)
{
    struct hy_npy npy;
    const int rc = hy_npy_read(f->map.at, f->map.size, &npy, e);
    if (rc)
        return rc;
    int type = 0;
    while (type < TYPES && strcmp(npy.type, types[type].npy) != 0)
        type++;
    if (type == TYPES)
        return hy_fail(e, HY_E_USAGE,
                       "the .npy header tells of numbers '%s'; '<u2', '<u4', '<i4' and '<i8' are "
                       "read",
                       npy.type);
    f->type = (enum hy_token_type)type;
    f->begin = npy.begin;
    f->count = npy.count;
    return check_size(f, npy.count, 0, e);
}

/* which: of llmc. */
static int read_llmc(struct hy_token_file *f, size_t which, struct hy_err *e)
{
    int32_t head[3];
    if (f->map.size < LLMC_HEADER)
        return hy_fail(e, HY_E_USAGE,
                       "byte %lld: the file ends within the 256 numbers of llm.c's header",
                       (long long)f->map.size);
    memcpy(head, f->map.at, sizeof head);
    if (head[1] != llmc[which].version)
        return hy_fail(e, HY_E_USAGE, "byte 4: llm.c's header has version %d, but %d is read",
                       head[1], llmc[which].version);
    f->type = llmc[which].type;
    f->begin = LLMC_HEADER;
    f->count = head[2];
    return check_size(f, head[2], 8, e);
}

static int read_raw(struct hy_token_file *f, enum hy_token_type type, struct hy_err *e)
{
    const int bytes = types[type].bytes;
    f->type = type;
    f->count = f->map.size / bytes;
    if (f->map.size % bytes)
        return hy_fail(e, HY_E_USAGE,
                       "%lld bytes are no whole number of ids of %s; is dtype right and the file "
                       "whole?",
                       (long long)f->map.size, types[type].name);
    return HY_OK;
}

/* "file:line:column: task tokens: <path>" before the message. */
static int wrap(const struct hy_token_file *f, struct hy_err *e)
{
    char place[512];
    return hy_err_wrap(e, "%stask tokens: %s", hy_mark_text(f->mark, place, sizeof place), f->path);
}

static int open_file(struct hy_token_file *f, enum hy_token_type raw, struct hy_err *e)
{
    int rc = hy_corpus_map(f->path, f->mark, "tokens", &f->map, e);
    if (rc)
        return rc;
    int32_t first = 0;
    if (f->map.size >= (int64_t)sizeof first)
        memcpy(&first, f->map.at, sizeof first);
    size_t which = 0;
    while (which < sizeof llmc / sizeof *llmc && llmc[which].magic != first)
        which++;
    if (hy_npy_is(f->map.at, f->map.size))
        rc = read_npy(f, e);
    else if (which < sizeof llmc / sizeof *llmc)
        rc = read_llmc(f, which, e);
    else
        rc = read_raw(f, raw, e);
    if (!rc && !f->count)
        rc = hy_fail(e, HY_E_USAGE, "the file has no ids");
    return rc ? wrap(f, e) : HY_OK;
}

int hy_token_files_open(const struct hy_value *options, const char *key, enum hy_token_type raw,
                        struct hy_token_files *out, struct hy_err *e)
{
    const struct hy_value *paths = hy_value_get(options, key);
    struct hy_token_files t = {0};
    int rc = HY_OK;
    if (!paths->count)
        return HY_OK;
    t.files = calloc(paths->count, sizeof *t.files);
    if (!t.files)
        return hy_fail_memory(e);
    for (size_t i = 0; !rc && i < paths->count; i++) {
        struct hy_token_file *f = &t.files[t.file_count++];
        f->path = paths->items[i]->string;
        f->mark = paths->items[i]->mark;
        rc = open_file(f, raw, e);
        t.size += rc ? 0 : f->count;
    }
    if (rc)
        hy_token_files_close(&t);
    else
        *out = t;
    return rc;
}

void hy_token_files_close(struct hy_token_files *t)
{
    for (int i = 0; i < t->file_count; i++)
        hy_corpus_close(&t->files[i].map);
    free(t->files);
    *t = (struct hy_token_files){0};
}

/* Copies of the bytes, since a hostile header leaves numbers unaligned. */
static const unsigned char *place_of(const struct hy_token_file *f, int64_t at)
{
    return f->map.at + f->begin + at * types[f->type].bytes;
}

static int64_t id_at(const struct hy_token_file *f, int64_t at)
{
    union {
        uint16_t u16;
        uint32_t u32;
        int32_t i32;
        int64_t i64;
    } id;
    memcpy(&id, place_of(f, at), (size_t)types[f->type].bytes);
    switch (f->type) {
    case HY_TOKEN_U16:
        return id.u16;
    case HY_TOKEN_U32:
        return id.u32;
    case HY_TOKEN_I32:
        return id.i32;
    default:
        return id.i64;
    }
}

/* The largest id, negative ones counting as larger than any. Of uint16, the usual case, at the
 * speed of memory. */
static uint64_t largest_of(const struct hy_token_file *f)
{
    uint64_t largest = 0;
    if (f->type == HY_TOKEN_U16) {
        const unsigned char *ids = place_of(f, 0);
        uint16_t most = 0, id;
        for (int64_t i = 0; i < f->count; i++) {
            memcpy(&id, ids + 2 * i, sizeof id);
            most = id > most ? id : most;
        }
        return most;
    }
    for (int64_t i = 0; i < f->count; i++) {
        const uint64_t id = (uint64_t)id_at(f, i);
        largest = id > largest ? id : largest;
    }
    return largest;
}

static int check_file(const struct hy_token_file *f, int64_t limit, int64_t *largest,
                      struct hy_err *e)
{
    const uint64_t most = largest_of(f);
    if (most < (uint64_t)limit) {
        *largest = (int64_t)most > *largest ? (int64_t)most : *largest;
        return HY_OK;
    }
    int64_t at = 0;
    while ((uint64_t)id_at(f, at) < (uint64_t)limit)
        at++;
    hy_fail(
        e, HY_E_USAGE,
        "token %lld (byte %lld) is %lld, but ids must be from 0 to %lld; are vocab and the type "
        "of the numbers, %s, right?",
        (long long)at, (long long)(f->begin + at * types[f->type].bytes), (long long)id_at(f, at),
        (long long)limit - 1, types[f->type].name);
    return wrap(f, e);
}

int hy_token_files_check(const struct hy_token_files *t, int64_t limit, int64_t *largest,
                         struct hy_err *e)
{
    int rc = HY_OK;
    for (int i = 0; !rc && i < t->file_count; i++)
        rc = check_file(&t->files[i], limit, largest, e);
    return rc;
}

void hy_token_files_read(const struct hy_token_files *t, int64_t at, int64_t count, int32_t *out)
{
    const struct hy_token_file *f = t->files;
    for (; at >= f->count; f++)
        at -= f->count;
    for (int64_t i = 0; i < count; i++, at++) {
        for (; at == f->count; f++)
            at = 0;
        out[i] = (int32_t)id_at(f, at);
    }
}
