#include "app/print.h"

#include <stdio.h>
#include <string.h>

#include "core/base/option.h"

const struct hy_format *hy_format_find(const char *name, struct hy_err *e)
{
    const char *names[16];
    size_t count = 0;
    for (const struct hy_format *f = hy_formats; f->name; f++) {
        if (f->draws)
            continue;
        if (!strcmp(f->name, name))
            return f;
        if (count < sizeof names / sizeof *names)
            names[count++] = f->name;
    }
    hy_refuse_name((struct hy_mark){0}, "format", name, names, count, e);
    return NULL;
}

int hy_print_grid(const struct hy_grid *g, const struct hy_format *format, struct hy_err *e)
{
    struct hy_buf out = {0};
    if (hy_grid_failed(g))
        return hy_fail_memory(e);
    format->write(g, &out);
    const int rc = hy_buf_failed(&out) ? hy_fail_memory(e) : HY_OK;
    if (!rc && out.size)
        fwrite(out.data, 1, out.size, stdout);
    hy_buf_release(&out);
    return rc;
}
