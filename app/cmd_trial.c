/* The child process of a rank: one run, ordered on standard input, rows on descriptor 3. */
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/args.h"
#include "app/command.h"
#include "core/base/buf.h"
#include "runner/rank/serve.h"
#include "runner/rank/stop.h"

enum { ROWS_FD = 3, STOP_SECONDS = 10 };

static int read_input(struct hy_buf *text, struct hy_err *e)
{
    char piece[4096];
    size_t size;
    while ((size = fread(piece, 1, sizeof piece, stdin)) > 0)
        hy_buf_add(text, piece, size);
    return hy_buf_failed(text) ? hy_fail_memory(e) : HY_OK;
}

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{"parent", required_argument, NULL, 'p'}, {0}};
    struct hy_service service = {.stop = &hy_stop_signals, .rows_fd = ROWS_FD, .owns_process = 1};
    struct hy_buf order = {0};
    int rc = HY_OK;
    hy_stop_install(STOP_SECONDS);
    hy_args_begin();
    for (int c; !rc && (c = hy_args_next(argc, argv, ":", options, e)) != -1;) {
        long parent;
        if (c == 'p' && !(rc = hy_args_int("--parent", optarg, 1, 1L << 30, &parent, e))) {
            prctl(PR_SET_PDEATHSIG, SIGTERM); /* saves its work, then */
            if (getppid() != parent)
                return hy_fail(e, HY_E_ENV, "the rank of this trial is gone");
        } else if (!rc) {
            rc = HY_E_USAGE;
        }
    }
    if (rc)
        return rc;
    rc = read_input(&order, e);
    service.order = order.data ? order.data : "";
    if (!rc)
        rc = hy_serve(&service, e);
    hy_buf_release(&order);
    return rc;
}

const struct hy_command hy_command_trial = {
    .name = "trial",
    .usage = "hylas trial [--parent PID] < ORDER 3> ROWS",
    .summary = "trains one run, as the ranks of hylas run start it",
    .help = "  --parent PID  stops when this parent dies\n",
    .hidden = 1,
    .run = run,
};
