/* command.h - the contract of a command: one file app/cmd_<verb>.c that defines
 * `const struct hy_command hy_command_<verb>`. */
#ifndef HY_APP_COMMAND_H
#define HY_APP_COMMAND_H

#include "core/base/err.h"

struct hy_command {
    const char *name;
    const char *usage;   /* "hylas report DB [TABLE] [--format F]" */
    const char *summary; /* one line */
    const char *help;    /* the options, one per line, for --help */
    int hidden;          /* not listed (trial, which ranks start) */
    /* argv[0] is the verb; common options (--quiet, --verbose, --help) are already taken out.
     * Returns an exit code; on failure with *e set, main prints it. */
    int (*run)(int argc, char **argv, struct hy_err *e);
};

extern const struct hy_command *const hy_commands[];

#endif
