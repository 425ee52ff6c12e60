#include <limits.h>
#include <string.h>

#include "app/command.h"
#include "app/request.h"
#include "runner/launch/launch.h"

static const char usage[] =
    "hylas launch [-n N] [--hostfile FILE] SWEEP " HY_REQUEST_USAGE " [-- MPIRUN-OPTIONS...]";

/* Cuts argv at "--"; what follows is mpirun's. */
static const char *const *cut(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--") != 0)
            continue;
        *argc = i;
        argv[i] = NULL;
        return (const char *const *)argv + i + 1;
    }
    return NULL;
}

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {HY_REQUEST_OPTIONS,
                                            {"ranks", required_argument, NULL, 'n'},
                                            {"hostfile", required_argument, NULL, 'h'},
                                            {0}};
    struct hy_launch launch = {.extra = cut(&argc, argv)};
    struct hy_request request;
    long ranks = 0;
    int rc = hy_request_init(&request, argc, e);
    hy_args_begin();
    for (int c; !rc && (c = hy_args_next(argc, argv, ":o:n:", options, e)) != -1;) {
        if (c == 'n')
            rc = hy_args_int("-n", optarg, 1, INT_MAX, &ranks, e);
        else if (c == 'h')
            launch.hostfile = optarg;
        else
            rc = hy_request_take(&request, c, e);
    }
    if (!rc)
        rc = hy_request_finish(&request, argc, argv, usage, e);
    launch.run = request.run;
    launch.ranks = (int)ranks;
    if (!rc)
        rc = hy_launch_sweep(&launch, e);
    hy_request_release(&request);
    return rc;
}

const struct hy_command hy_command_launch = {
    .name = "launch",
    .usage = usage,
    .summary = "starts mpirun on a sweep and sees it through whatever happens to its ranks",
    .help =
        "  -n, --ranks N       ranks (default: what mpirun takes for right)\n"
        "  --hostfile FILE     hosts, as mpirun reads them; run this on the first\n" HY_REQUEST_HELP
        "\nRuns `hylas run` under mpirun. When a rank dies the others go on; when rank 0 dies or\n"
        "mpirun itself, it is started again, as long as runs are left and some came to their\n"
        "end since the last start. SIGINT, SIGTERM and SIGUSR1 write checkpoints and leave with\n"
        "75; the exit code says what became of the sweep, as that of `hylas run` does. What\n"
        "follows -- goes to mpirun, such as --oversubscribe or --map-by.\n",
    .run = run,
};
