#include "core/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "core/base/utf8.h"

static enum hy_log_level chosen = HY_LOG_NORMAL;
static int live; /* a live line stands on the terminal */

void hy_log_set_level(enum hy_log_level level)
{
    chosen = level;
}

enum hy_log_level hy_log_get_level(void)
{
    return chosen;
}

/* Names may hold what a terminal would obey: spaces stand in for it. */
static void blank_controls(char *text)
{
    char *to = text;
    for (const char *s = text; *s; s++) {
        const int control = *s == '\n' ? 0 : hy_utf8_control(s);
        *to++ = control ? ' ' : *s;
        s += control == 2;
    }
    *to = 0;
}

/* A line is written whole, as other ranks write to the same terminal. */
static void say(const char *prefix, const char *format, va_list args)
{
    char text[4096];
    vsnprintf(text, sizeof text, format, args);
    blank_controls(text);
    fprintf(stderr, "%s%s%s\n", live ? "\r\033[K" : "", prefix, text);
    live = 0;
}

#define SAY(prefix)                \
    do {                           \
        va_list args;              \
        va_start(args, format);    \
        say(prefix, format, args); \
        va_end(args);              \
    } while (0)

void hy_error(const char *format, ...)
{
    SAY("hylas: ");
}

void hy_warn(const char *format, ...)
{
    SAY("hylas: warning: ");
}

void hy_info(const char *format, ...)
{
    if (chosen >= HY_LOG_NORMAL)
        SAY("");
}

void hy_verbose(const char *format, ...)
{
    if (chosen >= HY_LOG_VERBOSE)
        SAY("");
}

void hy_log_live(const char *line)
{
    if (chosen < HY_LOG_NORMAL)
        return;
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    live = 1;
}
