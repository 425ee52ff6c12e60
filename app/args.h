/* args.h - command lines: getopt_long with errors of ours, and what several commands take. */
#ifndef HY_APP_ARGS_H
#define HY_APP_ARGS_H

#include <getopt.h>
#include <stddef.h>

#include "core/base/err.h"

/* getopt_long without its own messages: the option's letter, -1 at the end of the options, or '?'
 * with *e set, naming the nearest option. Call hy_args_begin first. */
void hy_args_begin(void);
int hy_args_next(int argc, char **argv, const char *letters, const struct option *options,
                 struct hy_err *e);

/* A number within bounds: a whole one, any one. */
int hy_args_int(const char *option, const char *text, long min, long max, long *out,
                struct hy_err *e);
int hy_args_real(const char *option, const char *text, double min, double max, double *out,
                 struct hy_err *e);

/* "path=value" of each --set, in order. */
struct hy_sets {
    const char **items; /* room for argc */
    size_t count;
};
int hy_sets_init(struct hy_sets *s, int argc, struct hy_err *e);
void hy_sets_add(struct hy_sets *s, const char *text);
void hy_sets_release(struct hy_sets *s);

/* The one argument that is left, or an error that shows the usage. */
int hy_args_one(int argc, char **argv, const char *what, const char *usage, const char **out,
                struct hy_err *e);

#endif
