/* safetensors.h - reads and writes named tensors in the safetensors format.
 *
 * A file is a little-endian u64 header length, a JSON header {"name": {"dtype", "shape",
 * "data_offsets"}, ..., "__metadata__": {string: string}} and the tensors' bytes without gaps
 * (https://github.com/huggingface/safetensors, "Format"). Both ends are little-endian machines. */
#ifndef HY_MODEL_SAFETENSORS_H
#define HY_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/value.h"

enum { HY_ST_MAX_RANK = 8 };

enum hy_st_dtype { HY_ST_F32, HY_ST_F64, HY_ST_I32, HY_ST_I64, HY_ST_F16, HY_ST_BF16 };

struct hy_st_tensor {
    const char *name;
    enum hy_st_dtype dtype;
    int rank;
    int64_t dims[HY_ST_MAX_RANK];
    const void *data; /* row-major, aligned to its element */
};

struct hy_st_pair {
    const char *key, *value;
};

struct hy_st_file {
    struct hy_st_tensor *tensors; /* in the order of their data */
    size_t tensor_count;
    struct hy_st_pair *pairs; /* the metadata, in the order of the header */
    size_t pair_count;
    struct hy_value *header; /* what names and pairs point into */
    void *bytes;             /* what the tensors point into */
};

/* Elements of t: the product of its dims, 1 where rank is 0. */
int64_t hy_st_count(const struct hy_st_tensor *t);

/* Reads a whole file into memory. Refuses (HY_E_USAGE) whatever does not keep to the format: a
 * header that is cut off or no JSON, another dtype, shapes that do not fit their offsets, gaps,
 * overlaps and trailing bytes. */
int hy_st_read(const char *path, struct hy_st_file *out, struct hy_err *e);
void hy_st_release(struct hy_st_file *f);
const struct hy_st_tensor *hy_st_find(const struct hy_st_file *f, const char *name); /* or NULL */
const char *hy_st_value(const struct hy_st_file *f, const char *key); /* metadata, or NULL */

/* Writes path as a whole or not at all: a temporary file beside it is written, synced and renamed
 * over it. Names are distinct. On failure (HY_E_ENV) nothing is left behind and path is as it was.
 */
int hy_st_write(const char *path, const struct hy_st_tensor *tensors, size_t tensor_count,
                const struct hy_st_pair *pairs, size_t pair_count, struct hy_err *e);

#endif
