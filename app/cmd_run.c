#include "app/args.h"
#include "app/command.h"
#include "runner/run.h"

static const char usage[] = "hylas run SWEEP [-o DB] [--set PATH=VALUE]... [--lost-after S]";

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                            {"set", required_argument, NULL, 's'},
                                            {"lost-after", required_argument, NULL, 'l'},
                                            {0}};
    struct hy_run_request request = {.version = HY_VERSION};
    long patience = 30;
    struct hy_sets sets;
    int rc = hy_sets_init(&sets, argc, e);
    if (rc)
        return rc;
    hy_args_begin();
    for (int c; !rc && (c = hy_args_next(argc, argv, ":o:", options, e)) != -1;) {
        if (c == 'o')
            request.database = optarg;
        else if (c == 's')
            hy_sets_add(&sets, optarg);
        else if (c == 'l')
            rc = hy_args_int("--lost-after", optarg, 2, 86400, &patience, e);
        else
            rc = HY_E_USAGE;
    }
    if (!rc)
        rc = hy_args_one(argc, argv, "the sweep file", usage, &request.sweep, e);
    request.sets = sets.items;
    request.set_count = sets.count;
    request.patience = (double)patience;
    if (!rc)
        rc = hy_run_sweep(&request, e);
    hy_sets_release(&sets);
    return rc;
}

const struct hy_command hy_command_run = {
    .name = "run",
    .usage = usage,
    .summary = "trains what is missing of a sweep; under mpirun on all ranks",
    .help =
        "  -o, --output DB     the database (default: the sweep's name with .db)\n"
        "  --set PATH=VALUE    sets a value, such as train.steps=100; repeatable\n"
        "  --lost-after S      a rank that is silent for S seconds counts as lost; its run goes\n"
        "                      to another one (default: 30)\n\n"
        "A run that is done is never trained again, in this sweep or another one in the same\n"
        "database; nor is one that diverged, which is a result too. Runs that failed, took\n"
        "too long or were interrupted are tried again. SIGINT, SIGTERM and SIGUSR1 write\n"
        "checkpoints and leave with 75; a second SIGINT kills. Under mpirun as root set\n"
        "OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1.\n",
    .run = run,
};
