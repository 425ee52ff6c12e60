/* catalogue.h - the commands that show a table of plug-ins: all of them, or the options of one. */
#ifndef HY_APP_CATALOGUE_H
#define HY_APP_CATALOGUE_H

#include "core/base/option.h"

struct hy_catalogue_entry {
    const char *name, *kind, *summary;
    const struct hy_option *options;
};

struct hy_catalogue {
    const char *what;         /* "task" */
    const char *usage;        /* of the command */
    const char *where;        /* above the options of one: where they are given */
    const char *kind;         /* head of the column of kinds; NULL: none */
    const void *const *table; /* generated: see hy_refuse_plugin */
    struct hy_catalogue_entry (*entry)(const void *plugin);
};

/* The body of a command: argv may name one plug-in. */
int hy_catalogue_run(const struct hy_catalogue *c, int argc, char **argv, struct hy_err *e);

#endif
