/* hylas - sweeps over hybrids of linear and full attention. */
#include <stdio.h>
#include <string.h>

#include "app/command.h"
#include "core/base/log.h"
#include "core/base/option.h"

static void print_help(FILE *out)
{
    fprintf(out, "usage: hylas COMMAND [ARGUMENTS]\n\n"
                 "Trains sweeps of small hybrid language models across MPI ranks and tabulates\n"
                 "perplexity, recall and memory.\n\ncommands:\n");
    for (const struct hy_command *const *c = hy_commands; *c; c++)
        if (!(*c)->hidden)
            fprintf(out, "  %-10s %s\n", (*c)->name, (*c)->summary);
    fprintf(out,
            "\noptions everywhere:\n"
            "  --help       this text, or a command's\n"
            "  --version    the version\n"
            "  --quiet      errors and warnings only\n"
            "  --verbose    more\n\n"
            "exit codes: 0 good; 1 runs failed or diverged; 2 bad command line or sweep file;\n"
            "3 the environment; 75 interrupted, the same command goes on\n");
}

static void print_command_help(const struct hy_command *c)
{
    printf("usage: %s\n\n%s\n", c->usage, c->summary);
    if (c->help)
        printf("\n%s", c->help);
}

/* The options that every command takes, taken out of argv. */
struct common {
    int help, version;
};

static int take_common(int *argc, char **argv, struct common *out)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        const char *arg = argv[i];
        if (!strcmp(arg, "--")) {
            while (i < *argc)
                argv[kept++] = argv[i++];
            break;
        }
        if (!strcmp(arg, "--help") || !strcmp(arg, "-h"))
            out->help = 1;
        else if (!strcmp(arg, "--version"))
            out->version = 1;
        else if (!strcmp(arg, "--quiet") || !strcmp(arg, "-q"))
            hy_log_set_level(HY_LOG_QUIET);
        else if (!strcmp(arg, "--verbose") || !strcmp(arg, "-v"))
            hy_log_set_level(HY_LOG_VERBOSE);
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    *argc = kept;
    return kept > 1;
}

static const struct hy_command *find_command(const char *name, struct hy_err *e)
{
    for (const struct hy_command *const *c = hy_commands; *c; c++)
        if (!strcmp((*c)->name, name))
            return *c;
    hy_refuse_plugin((struct hy_mark){0}, "command", name, (const void *const *)hy_commands, e);
    return NULL;
}

/* Results are worth nothing where they could not be written. */
static int finish_output(int rc, struct hy_err *e)
{
    if ((fflush(stdout) || ferror(stdout)) && !rc)
        return hy_fail_errno(e, HY_E_ENV, "cannot write to standard output");
    return rc;
}

int main(int argc, char **argv)
{
    struct common common = {0};
    struct hy_err e = {0};
    const int has_verb = take_common(&argc, argv, &common);
    if (common.version) {
#ifdef HY_CUDA
        puts("hylas " HY_VERSION ", with CUDA " HY_CUDA);
#else
        puts("hylas " HY_VERSION ", for CPUs only (built without CUDA)");
#endif
        return finish_output(HY_OK, &e);
    }
    if (!has_verb) {
        print_help(common.help ? stdout : stderr);
        return common.help ? HY_OK : HY_E_USAGE;
    }
    const struct hy_command *command = find_command(argv[1], &e);
    int rc = command ? HY_OK : HY_E_USAGE;
    if (command && common.help)
        print_command_help(command);
    else if (command)
        rc = command->run(argc - 1, argv + 1, &e);
    rc = finish_output(rc, &e);
    if (rc && e.text[0])
        hy_error("%s", e.text);
    return rc;
}
