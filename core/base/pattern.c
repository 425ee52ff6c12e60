#include "core/base/pattern.h"

#include <stddef.h>

int hy_name_fits(const char *pattern, const char *name)
{
    const char *star = NULL, *again = NULL; /* the last star, and where its text ends so far */
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            again = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++again;
        } else {
            return 0;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}
