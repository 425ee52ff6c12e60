#include "report/setting.h"

#include <stdio.h>
#include <string.h>

static const char prefix[] = "select.";

/* key: with its value, up to `size`. */
static int is_told(const char *entry, size_t size)
{
    static const char *const apart[] = {
        "method=", "tolerance=", "budget=", "align=", "steps=", "repair="};
    const size_t before = strlen(prefix);
    if (strncmp(entry, prefix, before) != 0)
        return 1;
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (!strncmp(entry + before, apart[i], strlen(apart[i])))
            return 0;
    return size < 5 || strncmp(entry + size - 5, "=auto", 5) != 0;
}

/* The end of an entry: before the next word that is one, since values hold blanks too. */
static const char *end_of(const char *entry)
{
    for (const char *at = strchr(entry, ' '); at; at = strchr(at + 1, ' ')) {
        const size_t word = strcspn(at + 1, " ");
        if (memchr(at + 1, '=', word))
            return at;
    }
    return entry + strlen(entry);
}

const char *hy_setting_of_selection(const char *label, char *text, size_t size)
{
    size_t used = 0;
    *text = 0;
    for (const char *at = label; at && *at;) {
        const char *end = end_of(at);
        const size_t skip = strncmp(at, prefix, strlen(prefix)) ? 0 : strlen(prefix);
        if (is_told(at, (size_t)(end - at)) && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", used ? " " : "",
                                     (int)(end - at - (long)skip), at + skip);
        at = *end ? end + 1 : end;
    }
    return label ? text : NULL;
}
