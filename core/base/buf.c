#include "core/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hy_buf_release(struct hy_buf *b)
{
    free(b->data);
    *b = (struct hy_buf){0};
}

/* Makes room for `more` bytes and the NUL; 0 when memory is out. */
static int reserve(struct hy_buf *b, size_t more)
{
    if (b->failed)
        return 0;
    if (b->size + more + 1 <= b->room)
        return 1;
    size_t room = b->room ? b->room : 64;
    while (room < b->size + more + 1)
        room *= 2;
    char *data = realloc(b->data, room);
    if (!data) {
        b->failed = 1;
        return 0;
    }
    b->data = data;
    b->room = room;
    return 1;
}

void hy_buf_add(struct hy_buf *b, const void *bytes, size_t size)
{
    if (!reserve(b, size))
        return;
    if (size)
        memcpy(b->data + b->size, bytes, size);
    b->size += size;
    b->data[b->size] = 0;
}

void hy_buf_text(struct hy_buf *b, const char *text)
{
    hy_buf_add(b, text, strlen(text));
}

void hy_buf_printf(struct hy_buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size >= 0 && reserve(b, (size_t)size)) {
        vsnprintf(b->data + b->size, (size_t)size + 1, format, again);
        b->size += (size_t)size;
    }
    va_end(again);
}

void hy_buf_drop(struct hy_buf *b, size_t size)
{
    if (!size)
        return;
    memmove(b->data, b->data + size, b->size - size + 1);
    b->size -= size;
}

int hy_buf_failed(const struct hy_buf *b)
{
    return b->failed;
}

int hy_buf_read_file(struct hy_buf *b, const char *path, struct hy_err *e)
{
    char part[4096];
    FILE *file = fopen(path, "r");
    if (!file)
        return hy_fail_errno(e, HY_E_USAGE, "cannot read %s", path);
    for (size_t got; (got = fread(part, 1, sizeof part, file)) > 0;)
        hy_buf_add(b, part, got);
    const int bad = ferror(file);
    fclose(file);
    if (bad)
        return hy_fail_errno(e, HY_E_USAGE, "cannot read %s", path);
    return hy_buf_failed(b) ? hy_fail_memory(e) : HY_OK;
}
