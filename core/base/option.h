/* option.h - tables of settings: of a variant, of a task, of a section of the sweep file.
 *
 * A setting is one row: key, type, default, bounds, one line of help. hy_options_resolve() checks a
 * map against a table and gives the canonical map: every key present, in the table's order,
 * defaults filled in, types exact. What it refuses is reported with file, line, column and the
 * nearest key. */
#ifndef HY_BASE_OPTION_H
#define HY_BASE_OPTION_H

#include "core/base/value.h"

enum hy_option_type {
    HY_OPT_END = 0, /* ends a table: {0} */
    HY_OPT_INT,
    HY_OPT_REAL,
    HY_OPT_BOOL,
    HY_OPT_CHOICE,   /* one of choices, "a|b|c" */
    HY_OPT_STRING,   /* any string; text NULL and no value: null */
    HY_OPT_PATH,     /* a file's path, relative to the working directory */
    HY_OPT_DURATION, /* seconds, or 90s, 15m, 2h, 1d; canonical: seconds as a real */
    HY_OPT_AMOUNT,   /* whole number, or 1.5k, 2M, 3G, 64Ki, 1Mi, 1Gi; canonical: an integer */
    HY_OPT_INTS,     /* list of integers, each within bounds; a single integer is a list of one */
    HY_OPT_REALS,
    HY_OPT_STRINGS /* list of strings; a single string is a list of one; no value: null */
};

struct hy_option {
    const char *key;
    enum hy_option_type type;
    double def;      /* INT, REAL, BOOL, DURATION, AMOUNT, and the single entry of INTS, REALS */
    double min, max; /* numbers and list entries, both inclusive */
    /* Default of CHOICE, STRING, PATH; of INTS and REALS: "4, 8, 16"; of INT: a word for it. */
    const char *text;
    const char *choices; /* CHOICE */
    int required;        /* no default: must be given */
    /* Left out of the canonical map where it has its default: options that came after runs had been
     * keyed without them. Read with hy_get_*_or(). */
    int quiet;
    const char *help; /* one line, no full stop */
};

/* given: a map or NULL (nothing given). where: "variant gla", "task mqar", "section train": for the
 * messages. ignore: NULL-ended keys that the caller handles itself, or NULL. *out: a new map. */
int hy_options_resolve(const struct hy_option *table, const struct hy_value *given,
                       const char *where, const char *const *ignore, struct hy_value **out,
                       struct hy_err *e);

/* The default as a value; NULL when memory is out. For an option that is required: null. */
struct hy_value *hy_option_default(const struct hy_option *option);

/* Readers of a resolved map; asking for a key that is not in it is a bug (abort). */
int64_t hy_get_int(const struct hy_value *options, const char *key);
double hy_get_real(const struct hy_value *options, const char *key);
int hy_get_bool(const struct hy_value *options, const char *key);
const char *hy_get_string(const struct hy_value *options, const char *key); /* NULL when null */
const struct hy_value *hy_get_list(const struct hy_value *options, const char *key);

/* Readers of a quiet option: `def`, its default, where it is left out. */
int64_t hy_get_int_or(const struct hy_value *options, const char *key, int64_t def);
double hy_get_real_or(const struct hy_value *options, const char *key, double def);
int hy_get_bool_or(const struct hy_value *options, const char *key, int def);
const char *hy_get_string_or(const struct hy_value *options, const char *key, const char *def);

/* The name among names[0..count) nearest to word by edit distance, or NULL when none is near. */
const char *hy_nearest(const char *word, const char *const *names, size_t count);
/* Fails with "file:line:column: unknown <what> '<word>'" and the nearest name, or all names where
 * none is near. */
int hy_refuse_name(struct hy_mark mark, const char *what, const char *word,
                   const char *const *names, size_t count, struct hy_err *e);
/* The same for the names of a generated table: pointers to structs that begin with their name,
 * ended by NULL. */
int hy_refuse_plugin(struct hy_mark mark, const char *what, const char *word,
                     const void *const *table, struct hy_err *e);

#endif
