/* device.c - devices by name. */
#include "core/graph/internal.h"

#include <stdlib.h>
#include <string.h>

/* K of "cuda:K"; -1 where text is anything else. */
static int ordinal_of(const char *text)
{
    char *end;
    if (strncmp(text, "cuda:", 5) != 0 || text[5] < '0' || text[5] > '9')
        return -1;
    const long k = strtol(text + 5, &end, 10);
    return *end || k > 4095 ? -1 : (int)k;
}

int hy_is_device(const char *text)
{
    return !strcmp(text, "auto") || !strcmp(text, "cpu") || !strcmp(text, "cuda") ||
           ordinal_of(text) >= 0;
}

int hy_device_choose(const char *name, int local_rank, int dry, struct hy_device **out,
                     struct hy_err *note, struct hy_err *e)
{
    const int is_auto = !strcmp(name, "auto"), ordinal = ordinal_of(name);
    struct hy_err why = {0};
    *out = NULL;
    if (!strcmp(name, "cpu"))
        return HY_OK;
    const int count = hy_device_count(&why);
    int rc = why.code;
    if (count > 0)
        rc = hy_device_open(ordinal >= 0 ? ordinal : local_rank % count, dry, out, &why);
    if (!rc || (is_auto && count == 0))
        return HY_OK;
    if (!is_auto)
        return hy_fail(e, rc, "the device is to be %s, but %s", name, why.text);
    if (note)
        *note = why;
    return HY_OK;
}
