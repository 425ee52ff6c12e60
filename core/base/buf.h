/* buf.h - a growing byte string, for text that is put together piece by piece.
 *
 * Appending never fails visibly: when memory is out the buffer is marked and stays so; the owner
 * asks once, at the end, with hy_buf_failed(). */
#ifndef HY_BASE_BUF_H
#define HY_BASE_BUF_H

#include <stddef.h>

#include "core/base/err.h"

struct hy_buf {
    char *data; /* NUL-terminated once anything was appended */
    size_t size, room;
    int failed;
};

void hy_buf_release(struct hy_buf *b);
void hy_buf_add(struct hy_buf *b, const void *bytes, size_t size);
void hy_buf_text(struct hy_buf *b, const char *text);
void hy_buf_printf(struct hy_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first size bytes. */
void hy_buf_drop(struct hy_buf *b, size_t size);
int hy_buf_failed(const struct hy_buf *b);
/* Appends a whole file. HY_E_USAGE where it cannot be read. */
int hy_buf_read_file(struct hy_buf *b, const char *path, struct hy_err *e);

#endif
