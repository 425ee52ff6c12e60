#include "app/command.h"
#include "app/request.h"

static const char usage[] = "hylas run SWEEP " HY_REQUEST_USAGE;

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {HY_REQUEST_OPTIONS, {0}};
    struct hy_request request;
    int rc = hy_request_init(&request, argc, e);
    hy_args_begin();
    for (int c; !rc && (c = hy_args_next(argc, argv, ":o:", options, e)) != -1;)
        rc = hy_request_take(&request, c, e);
    if (!rc)
        rc = hy_request_finish(&request, argc, argv, usage, e);
    if (!rc)
        rc = hy_run_sweep(&request.run, e);
    hy_request_release(&request);
    return rc;
}

const struct hy_command hy_command_run = {
    .name = "run",
    .usage = usage,
    .summary = "trains what is missing of a sweep; under mpirun on all ranks",
    .help = HY_REQUEST_HELP
    "\n"
    "A run that is done is never trained again, in this sweep or another one in the same\n"
    "database; nor is one that diverged, which is a result too. Runs that failed, took\n"
    "too long or were interrupted are tried again. SIGINT, SIGTERM and SIGUSR1 write\n"
    "checkpoints and leave with 75; a second SIGINT kills. Under mpirun as root set\n"
    "OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1.\n",
    .run = run,
};
