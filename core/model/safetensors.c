#include "core/model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format's own bound on the header; it also bounds what a damaged length can make us allocate.
 */
static const uint64_t header_limit = 100000000;
static const char metadata_key[] = "__metadata__";

static const struct {
    const char *name;
    size_t width;
} dtypes[] = {[HY_ST_F32] = {"F32", 4},
              [HY_ST_F64] = {"F64", 8},
              [HY_ST_I32] = {"I32", 4},
              [HY_ST_I64] = {"I64", 8}};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

int64_t hy_st_count(const struct hy_st_tensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= t->dims[i];
    return count;
}

static size_t tensor_bytes(const struct hy_st_tensor *t)
{
    return (size_t)hy_st_count(t) * dtypes[t->dtype].width;
}

/* ---- Reading ---- */

static int read_all(int fd, void *bytes, size_t size, const char *path, struct hy_err *e)
{
    char *at = bytes;
    while (size > 0) {
        const ssize_t got = read(fd, at, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return hy_fail_errno(e, HY_E_ENV, "cannot read %s", path);
        if (got == 0)
            return hy_fail(e, HY_E_USAGE, "%s ended while it was read", path);
        at += got;
        size -= (size_t)got;
    }
    return HY_OK;
}

static int parse_dtype(const char *path, const char *name, const char *text,
                       enum hy_st_dtype *dtype, struct hy_err *e)
{
    for (int i = 0; text && i < DTYPES; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            *dtype = (enum hy_st_dtype)i;
            return HY_OK;
        }
    }
    return hy_fail(e, HY_E_USAGE, "%s: tensor %s has dtype %s; F32, F64, I32 and I64 can be read",
                   path, name, text ? text : "of no known form");
}

/* limit: bytes of data in the file; with it no product of dims can overflow. */
static int parse_shape(const char *path, const json_t *shape, uint64_t limit,
                       struct hy_st_tensor *t, struct hy_err *e)
{
    if (!json_is_array(shape) || json_array_size(shape) > HY_ST_MAX_RANK)
        return hy_fail(e, HY_E_USAGE, "%s: tensor %s needs a shape of at most %d dims", path,
                       t->name, HY_ST_MAX_RANK);
    t->rank = (int)json_array_size(shape);
    uint64_t count = 1;
    for (int i = 0; i < t->rank; i++) {
        const json_t *item = json_array_get(shape, (size_t)i);
        const json_int_t dim = json_integer_value(item);
        if (!json_is_integer(item) || dim < 0 || (uint64_t)dim > limit)
            return hy_fail(e, HY_E_USAGE, "%s: tensor %s has an impossible dim %d", path, t->name,
                           i);
        if (count > 0 && dim > 0 && count > limit / (uint64_t)dim)
            return hy_fail(e, HY_E_USAGE, "%s: tensor %s is larger than the file", path, t->name);
        count *= (uint64_t)dim;
        t->dims[i] = dim;
    }
    return HY_OK;
}

static int parse_tensor(const char *path, const char *name, const json_t *entry, char *bytes,
                        uint64_t size, struct hy_st_tensor *t, struct hy_err *e)
{
    t->name = name;
    int rc =
        parse_dtype(path, name, json_string_value(json_object_get(entry, "dtype")), &t->dtype, e);
    if (rc == HY_OK)
        rc = parse_shape(path, json_object_get(entry, "shape"), size, t, e);
    if (rc != HY_OK)
        return rc;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    const json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last) ||
        begin < 0 || end < begin || (uint64_t)end > size)
        return hy_fail(e, HY_E_USAGE,
                       "%s: tensor %s lies outside the file's %" PRIu64 " data bytes", path, name,
                       size);
    if ((size_t)(end - begin) != tensor_bytes(t))
        return hy_fail(e, HY_E_USAGE,
                       "%s: tensor %s has %zu bytes by its shape but %zu by its offsets", path,
                       name, tensor_bytes(t), (size_t)(end - begin));
    if ((size_t)begin % dtypes[t->dtype].width)
        return hy_fail(e, HY_E_USAGE, "%s: tensor %s is not aligned to its elements", path, name);
    t->data = bytes + begin;
    return HY_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct hy_st_tensor *x = a, *y = b;
    const char *p = x->data, *q = y->data;
    if (p != q)
        return p < q ? -1 : 1;
    return (tensor_bytes(x) > tensor_bytes(y)) - (tensor_bytes(x) < tensor_bytes(y));
}

static int check_cover(const char *path, const struct hy_st_file *f, uint64_t size,
                       struct hy_err *e)
{
    const char *at = f->bytes;
    for (size_t i = 0; i < f->tensor_count; i++) {
        if ((const char *)f->tensors[i].data != at)
            return hy_fail(e, HY_E_USAGE, "%s: the data before tensor %s has a gap or an overlap",
                           path, f->tensors[i].name);
        at += tensor_bytes(&f->tensors[i]);
    }
    const uint64_t used = (uint64_t)(at - (const char *)f->bytes);
    if (used != size)
        return hy_fail(e, HY_E_USAGE, "%s: %" PRIu64 " bytes follow the last tensor", path,
                       size - used);
    return HY_OK;
}

static int parse_pairs(const char *path, json_t *metadata, struct hy_st_file *f, struct hy_err *e)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return hy_fail(e, HY_E_USAGE, "%s: the metadata is no JSON object", path);
    f->pairs = calloc(json_object_size(metadata) + 1, sizeof *f->pairs);
    if (!f->pairs)
        return hy_fail_memory(e);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return hy_fail(e, HY_E_USAGE, "%s: metadata %s is not a string", path, key);
        f->pairs[f->pair_count++] = (struct hy_st_pair){key, json_string_value(value)};
    }
    return HY_OK;
}

static int parse_header(const char *path, const char *text, size_t length, uint64_t size,
                        struct hy_st_file *f, struct hy_err *e)
{
    json_error_t where;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    f->header = root;
    if (!json_is_object(root))
        return hy_fail(e, HY_E_USAGE, "%s: the header is no JSON object (byte %d: %s)", path,
                       root ? 0 : where.position, root ? "another type" : where.text);
    f->tensors = calloc(json_object_size(root) + 1, sizeof *f->tensors);
    if (!f->tensors)
        return hy_fail_memory(e);
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry)
    {
        const int rc = strcmp(name, metadata_key) == 0
                           ? parse_pairs(path, entry, f, e)
                           : parse_tensor(path, name, entry, f->bytes, size,
                                          &f->tensors[f->tensor_count++], e);
        if (rc != HY_OK)
            return rc;
    }
    qsort(f->tensors, f->tensor_count, sizeof *f->tensors, by_place);
    return check_cover(path, f, size, e);
}

int hy_st_read(const char *path, struct hy_st_file *out, struct hy_err *e)
{
    int rc;
    struct hy_st_file f = {0};
    char *text = NULL;
    struct stat info;
    uint64_t length = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hy_fail_errno(e, HY_E_USAGE, "cannot read %s", path);
    if (fstat(fd, &info) != 0) {
        rc = hy_fail_errno(e, HY_E_ENV, "cannot read %s", path);
        goto out;
    }
    if (!S_ISREG(info.st_mode) || info.st_size < (off_t)sizeof length) {
        rc = hy_fail(e, HY_E_USAGE, "%s is no safetensors file", path);
        goto out;
    }
    rc = read_all(fd, &length, sizeof length, path, e);
    if (rc != HY_OK)
        goto out;
    const uint64_t rest = (uint64_t)info.st_size - sizeof length;
    if (length > rest || length > header_limit) {
        rc = hy_fail(e, HY_E_USAGE,
                     "%s: a header of %" PRIu64 " bytes does not fit a file of %lld bytes", path,
                     length, (long long)info.st_size);
        goto out;
    }
    text = malloc(length + 1);
    f.bytes = malloc(rest - length + 1);
    if (!text || !f.bytes) {
        rc = hy_fail_memory(e);
        goto out;
    }
    rc = read_all(fd, text, length, path, e);
    if (rc == HY_OK)
        rc = read_all(fd, f.bytes, rest - length, path, e);
    if (rc == HY_OK)
        rc = parse_header(path, text, length, rest - length, &f, e);
    if (rc == HY_OK)
        *out = f;
out:
    if (rc != HY_OK)
        hy_st_release(&f);
    free(text);
    close(fd);
    return rc;
}

void hy_st_release(struct hy_st_file *f)
{
    json_decref(f->header);
    free(f->tensors);
    free(f->pairs);
    free(f->bytes);
    *f = (struct hy_st_file){0};
}

const struct hy_st_tensor *hy_st_find(const struct hy_st_file *f, const char *name)
{
    for (size_t i = 0; i < f->tensor_count; i++)
        if (strcmp(f->tensors[i].name, name) == 0)
            return &f->tensors[i];
    return NULL;
}

const char *hy_st_value(const struct hy_st_file *f, const char *key)
{
    for (size_t i = 0; i < f->pair_count; i++)
        if (strcmp(f->pairs[i].key, key) == 0)
            return f->pairs[i].value;
    return NULL;
}

/* ---- Writing ---- */

static json_t *tensor_entry(const struct hy_st_tensor *t, size_t begin)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer(t->dims[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[t->dtype].name, "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + tensor_bytes(t)));
}

/* The header's text, padded with blanks so that the data start aligned; malloc'd, NULL without
 * memory. */
static char *header_text(const struct hy_st_tensor *tensors, size_t tensor_count,
                         const struct hy_st_pair *pairs, size_t pair_count, uint64_t *length)
{
    json_t *root = json_object();
    json_t *metadata = json_object();
    int bad = 0;
    for (size_t i = 0; i < pair_count; i++)
        bad |= json_object_set_new(metadata, pairs[i].key, json_string(pairs[i].value));
    bad |= json_object_set_new(root, metadata_key, metadata);
    size_t at = 0;
    for (size_t i = 0; i < tensor_count; i++) {
        bad |= json_object_set_new(root, tensors[i].name, tensor_entry(&tensors[i], at));
        at += tensor_bytes(&tensors[i]);
    }
    char *text = bad ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text)
        return NULL;
    const size_t size = strlen(text), padded = (size + 7) / 8 * 8;
    char *whole = realloc(text, padded);
    if (!whole) {
        free(text);
        return NULL;
    }
    memset(whole + size, ' ', padded - size);
    *length = padded;
    return whole;
}

static int write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        const ssize_t put = write(fd, at, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return -1;
        at += put;
        size -= (size_t)put;
    }
    return 0;
}

/* Without this the new name itself could be lost with the power. */
static int sync_folder(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    const int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    const int rc = fsync(fd);
    close(fd);
    return rc;
}

int hy_st_write(const char *path, const struct hy_st_tensor *tensors, size_t tensor_count,
                const struct hy_st_pair *pairs, size_t pair_count, struct hy_err *e)
{
    int rc = HY_OK, fd = -1;
    uint64_t length;
    char temporary[PATH_MAX];
    const int size = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    if (size < 0 || (size_t)size >= sizeof temporary)
        return hy_fail(e, HY_E_ENV, "the path %s is too long", path);
    char *text = header_text(tensors, tensor_count, pairs, pair_count, &length);
    if (!text)
        return hy_fail_memory(e);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write %s", temporary);
        goto out;
    }
    int bad = write_all(fd, &length, sizeof length) || write_all(fd, text, length);
    for (size_t i = 0; !bad && i < tensor_count; i++)
        bad = write_all(fd, tensors[i].data, tensor_bytes(&tensors[i]));
    bad = bad || fsync(fd);
    if (bad)
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
    if (close(fd) != 0 && !bad)
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
    if (rc == HY_OK && (rename(temporary, path) != 0 || sync_folder(path) != 0))
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
    if (rc != HY_OK)
        unlink(temporary);
out:
    free(text);
    return rc;
}
