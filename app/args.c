#include "app/args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/option.h"

void hy_args_begin(void)
{
    optind = 0; /* also resets what getopt remembers of an earlier command line */
    opterr = 0;
}

static int refuse_long(const char *given, const struct option *options, struct hy_err *e)
{
    size_t count = 0;
    while (options[count].name)
        count++;
    const char **names = malloc((count + 1) * sizeof *names);
    char *word = strndup(given + 2, strcspn(given + 2, "="));
    if (names && word) {
        for (size_t i = 0; i < count; i++)
            names[i] = options[i].name;
        const char *near = hy_nearest(word, names, count);
        hy_fail(e, HY_E_USAGE, "unknown option --%s%s%s%s", word, near ? "; did you mean --" : "",
                near ? near : "", near ? "?" : "");
    } else {
        hy_fail_memory(e);
    }
    free(word);
    free(names);
    return '?';
}

int hy_args_next(int argc, char **argv, const char *letters, const struct option *options,
                 struct hy_err *e)
{
    /* A leading ':' makes a missing value known as ':'. */
    const int c = getopt_long(argc, argv, letters, options, NULL);
    if (c != '?' && c != ':')
        return c;
    const char *given = argv[optind > 0 ? optind - 1 : 0];
    if (c == ':')
        hy_fail(e, HY_E_USAGE, "option %s needs a value", given);
    else if (optopt)
        hy_fail(e, HY_E_USAGE, "unknown option -%c", optopt);
    else
        return refuse_long(given, options, e);
    return '?';
}

int hy_args_int(const char *option, const char *text, long min, long max, long *out,
                struct hy_err *e)
{
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < min || value > max)
        return hy_fail(e, HY_E_USAGE, "%s takes a whole number from %ld to %ld, not '%s'", option,
                       min, max, text);
    *out = value;
    return HY_OK;
}

int hy_args_real(const char *option, const char *text, double min, double max, double *out,
                 struct hy_err *e)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= min && value <= max))
        return hy_fail(e, HY_E_USAGE, "%s takes a number from %g to %g, not '%s'", option, min, max,
                       text);
    *out = value;
    return HY_OK;
}

int hy_sets_init(struct hy_sets *s, int argc, struct hy_err *e)
{
    s->count = 0;
    s->items = calloc((size_t)argc, sizeof *s->items);
    return s->items ? HY_OK : hy_fail_memory(e);
}

void hy_sets_add(struct hy_sets *s, const char *text)
{
    s->items[s->count++] = text;
}

void hy_sets_release(struct hy_sets *s)
{
    free(s->items);
}

int hy_args_one(int argc, char **argv, const char *what, const char *usage, const char **out,
                struct hy_err *e)
{
    if (optind == argc)
        return hy_fail(e, HY_E_USAGE, "%s is missing; usage: %s", what, usage);
    if (optind + 1 < argc)
        return hy_fail(e, HY_E_USAGE, "unexpected argument '%s'; usage: %s", argv[optind + 1],
                       usage);
    *out = argv[optind];
    return HY_OK;
}
