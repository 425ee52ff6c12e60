/* npy.h - the header of a .npy file (NumPy enhancement proposal 1, versions 1 to 3) that holds an
 * array of one dimension. Seen by core/tasks only. */
#ifndef HY_TASKS_SUPPORT_NPY_H
#define HY_TASKS_SUPPORT_NPY_H

#include <stdint.h>

#include "core/base/err.h"

struct hy_npy {
    char type[8];  /* byte order, kind and bytes of a number: "<u2" */
    int64_t count; /* of numbers */
    int64_t begin; /* byte of the file at which they begin */
};

/* Whether a file begins as .npy files do. */
int hy_npy_is(const unsigned char *bytes, int64_t size);
/* bytes: such a file of size bytes, of which the header alone is read. Errors say "byte N: ...";
 * who has read the file's name puts it before. */
int hy_npy_read(const unsigned char *bytes, int64_t size, struct hy_npy *out, struct hy_err *e);

#endif
