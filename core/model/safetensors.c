#include "core/model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/json.h"

/* The format's own bound on the header; it also bounds what a damaged length can make us allocate.
 */
static const uint64_t header_limit = 100000000;
static const char metadata_key[] = "__metadata__";

static const struct {
    const char *name;
    size_t width;
} dtypes[] = {[HY_ST_F32] = {"F32", 4}, [HY_ST_F64] = {"F64", 8}, [HY_ST_I32] = {"I32", 4},
              [HY_ST_I64] = {"I64", 8}, [HY_ST_F16] = {"F16", 2}, [HY_ST_BF16] = {"BF16", 2}};
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
    return hy_fail(e, HY_E_USAGE,
                   "%s: tensor %s has dtype %s; F32, F64, F16, BF16, I32 and I64 can be read", path,
                   name, text ? text : "of no known form");
}

/* limit: bytes of data in the file; with it no product of dims can overflow. */
static int parse_shape(const char *path, const struct hy_value *shape, uint64_t limit,
                       struct hy_st_tensor *t, struct hy_err *e)
{
    if (!shape || shape->type != HY_V_LIST || shape->count > HY_ST_MAX_RANK)
        return hy_fail(e, HY_E_USAGE, "%s: tensor %s needs a shape of at most %d dims", path,
                       t->name, HY_ST_MAX_RANK);
    t->rank = (int)shape->count;
    uint64_t count = 1;
    for (int i = 0; i < t->rank; i++) {
        const struct hy_value *item = shape->items[i];
        const int64_t dim = item->integer;
        if (item->type != HY_V_INT || dim < 0 || (uint64_t)dim > limit)
            return hy_fail(e, HY_E_USAGE, "%s: tensor %s has an impossible dim %d", path, t->name,
                           i);
        if (count > 0 && dim > 0 && count > limit / (uint64_t)dim)
            return hy_fail(e, HY_E_USAGE, "%s: tensor %s is larger than the file", path, t->name);
        count *= (uint64_t)dim;
        t->dims[i] = dim;
    }
    return HY_OK;
}

static int parse_tensor(const char *path, const char *name, const struct hy_value *entry,
                        char *bytes, uint64_t size, struct hy_st_tensor *t, struct hy_err *e)
{
    t->name = name;
    const struct hy_value *dtype = hy_value_get(entry, "dtype");
    int rc = parse_dtype(path, name, dtype && dtype->type == HY_V_STRING ? dtype->string : NULL,
                         &t->dtype, e);
    if (rc == HY_OK)
        rc = parse_shape(path, hy_value_get(entry, "shape"), size, t, e);
    if (rc != HY_OK)
        return rc;
    const struct hy_value *offsets = hy_value_get(entry, "data_offsets");
    const int two = offsets && offsets->type == HY_V_LIST && offsets->count == 2 &&
                    offsets->items[0]->type == HY_V_INT && offsets->items[1]->type == HY_V_INT;
    const int64_t begin = two ? offsets->items[0]->integer : -1;
    const int64_t end = two ? offsets->items[1]->integer : -1;
    if (begin < 0 || end < begin || (uint64_t)end > size)
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

static int parse_pairs(const char *path, const struct hy_value *metadata, struct hy_st_file *f,
                       struct hy_err *e)
{
    if (metadata->type != HY_V_MAP)
        return hy_fail(e, HY_E_USAGE, "%s: the metadata is no JSON object", path);
    f->pairs = calloc(metadata->count + 1, sizeof *f->pairs);
    if (!f->pairs)
        return hy_fail_memory(e);
    for (size_t i = 0; i < metadata->count; i++) {
        const char *key = metadata->keys[i];
        if (metadata->items[i]->type != HY_V_STRING)
            return hy_fail(e, HY_E_USAGE, "%s: metadata %s is not a string", path, key);
        f->pairs[f->pair_count++] = (struct hy_st_pair){key, metadata->items[i]->string};
    }
    return HY_OK;
}

static int parse_header(const char *path, const char *text, size_t length, uint64_t size,
                        struct hy_st_file *f, struct hy_err *e)
{
    int rc = hy_json_parse(text, length, "header", &f->header, e);
    if (rc != HY_OK)
        return hy_err_wrap(e, "%s", path);
    const struct hy_value *root = f->header;
    if (root->type != HY_V_MAP)
        return hy_fail(e, HY_E_USAGE, "%s: the header is no JSON object", path);
    f->tensors = calloc(root->count + 1, sizeof *f->tensors);
    if (!f->tensors)
        return hy_fail_memory(e);
    for (size_t i = 0; i < root->count; i++) {
        const char *name = root->keys[i];
        const struct hy_value *entry = root->items[i];
        rc = strcmp(name, metadata_key) == 0 ? parse_pairs(path, entry, f, e)
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
    hy_value_free(f->header);
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

static void write_entry(const struct hy_st_tensor *t, size_t begin, struct hy_buf *out)
{
    hy_buf_text(out, ",");
    hy_json_quote(t->name, out);
    hy_buf_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", dtypes[t->dtype].name);
    for (int i = 0; i < t->rank; i++)
        hy_buf_printf(out, "%s%" PRId64, i ? "," : "", t->dims[i]);
    hy_buf_printf(out, "],\"data_offsets\":[%zu,%zu]}", begin, begin + tensor_bytes(t));
}

/* The header's text, padded with blanks so that the data start aligned. */
static void write_header(const struct hy_st_tensor *tensors, size_t tensor_count,
                         const struct hy_st_pair *pairs, size_t pair_count, struct hy_buf *out)
{
    hy_buf_printf(out, "{\"%s\":{", metadata_key);
    for (size_t i = 0; i < pair_count; i++) {
        hy_buf_text(out, i ? "," : "");
        hy_json_quote(pairs[i].key, out);
        hy_buf_text(out, ":");
        hy_json_quote(pairs[i].value, out);
    }
    hy_buf_text(out, "}");
    size_t at = 0;
    for (size_t i = 0; i < tensor_count; i++) {
        write_entry(&tensors[i], at, out);
        at += tensor_bytes(&tensors[i]);
    }
    hy_buf_text(out, "}");
    while (out->size % 8 && !hy_buf_failed(out))
        hy_buf_text(out, " ");
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
    char temporary[PATH_MAX];
    const int size = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    if (size < 0 || (size_t)size >= sizeof temporary)
        return hy_fail(e, HY_E_ENV, "the path %s is too long", path);
    struct hy_buf header = {0};
    write_header(tensors, tensor_count, pairs, pair_count, &header);
    if (hy_buf_failed(&header)) {
        rc = hy_fail_memory(e);
        goto out;
    }
    const uint64_t length = header.size;
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write %s", temporary);
        goto out;
    }
    int bad = write_all(fd, &length, sizeof length) || write_all(fd, header.data, header.size);
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
    hy_buf_release(&header);
    return rc;
}
