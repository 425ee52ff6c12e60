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
    int rc = hy_format_write(format, g, &out, e);
    if (!rc && fwrite(out.data, 1, out.size, stdout) != out.size)
        rc = hy_fail_errno(e, HY_E_ENV, "cannot write to standard output");
    hy_buf_release(&out);
    return rc;
}
