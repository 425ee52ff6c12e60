#include "core/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int hy_fail(struct hy_err *e, enum hy_code code, const char *format, ...)
{
    if (e) {
        va_list args;
        va_start(args, format);
        e->code = code;
        vsnprintf(e->text, sizeof e->text, format, args);
        va_end(args);
    }
    return code;
}

int hy_fail_errno(struct hy_err *e, enum hy_code code, const char *format, ...)
{
    const int number = errno;
    if (e) {
        va_list args;
        va_start(args, format);
        e->code = code;
        vsnprintf(e->text, sizeof e->text, format, args);
        va_end(args);
        const size_t used = strlen(e->text);
        snprintf(e->text + used, sizeof e->text - used, ": %s", strerror(number));
    }
    return code;
}

int hy_err_wrap(struct hy_err *e, const char *format, ...)
{
    if (!e)
        return HY_E_ENV;
    char prefix[256], text[sizeof e->text];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    memcpy(text, e->text, sizeof text);
    const int cut = (int)(sizeof e->text - strlen(prefix) - 3);
    snprintf(e->text, sizeof e->text, "%s: %.*s", prefix, cut, text);
    return e->code;
}

int hy_fail_memory(struct hy_err *e)
{
    return hy_fail(e, HY_E_ENV, "out of memory");
}
