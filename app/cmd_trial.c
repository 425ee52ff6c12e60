/* The child process of a rank: one run, configured on standard input, rows on descriptor 3. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/args.h"
#include "app/command.h"
#include "core/trial/trial.h"
#include "runner/stop.h"

enum { ROWS_FD = 3 };

static void write_row(const struct hy_row *row, struct hy_buf *line)
{
    line->size = 0;
    hy_row_encode(row, line);
    for (size_t at = 0; at < line->size;) {
        const ssize_t size = write(ROWS_FD, line->data + at, line->size - at);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            _exit(HY_E_ENV); /* the rank is gone, and with it all use of this process */
        at += (size_t)size;
    }
}

/* The process's own peak, from the kernel: unlike getrusage it never counts the parent's pages. */
static double peak_bytes(void)
{
    double kilobytes = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lf", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return 1024 * kilobytes;
}

static void emit(void *context, const struct hy_row *row)
{
    const double peak = row->type == HY_ROW_END ? peak_bytes() : 0;
    if (peak > 0)
        write_row(&(struct hy_row){.type = HY_ROW_FACT, .name = "peak_rss_bytes", .value = peak},
                  context);
    write_row(row, context);
}

static int read_config(struct hy_config *out, struct hy_err *e)
{
    struct hy_buf text = {0};
    struct hy_value *tree = NULL;
    char piece[4096];
    size_t size;
    while ((size = fread(piece, 1, sizeof piece, stdin)) > 0)
        hy_buf_add(&text, piece, size);
    int rc = hy_buf_failed(&text) ? hy_fail_memory(e) : HY_OK;
    if (!rc)
        rc = hy_value_from_json(text.data ? text.data : "", "configuration", &tree, e);
    if (!rc)
        rc = hy_config_resolve(tree, out, e);
    hy_value_free(tree);
    hy_buf_release(&text);
    return rc;
}

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{"checkpoint", required_argument, NULL, 'c'},
                                            {"parent", required_argument, NULL, 'p'},
                                            {0}};
    struct hy_buf line = {0};
    struct hy_trial_io io = {.emit = emit, .context = &line, .stop = &hy_stop_signals};
    struct hy_config config;
    int rc = HY_OK;
    hy_args_begin();
    for (int c; !rc && (c = hy_args_next(argc, argv, ":", options, e)) != -1;) {
        long parent;
        if (c == 'c') {
            io.checkpoint = optarg;
        } else if (c == 'p' && !(rc = hy_args_int("--parent", optarg, 1, 1L << 30, &parent, e))) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                return hy_fail(e, HY_E_ENV, "the rank of this trial is gone");
        } else if (!rc) {
            rc = HY_E_USAGE;
        }
    }
    if (rc)
        return rc;
    hy_stop_install();
    rc = read_config(&config, e);
    if (rc)
        return rc;
    rc = hy_trial_run(&config, &io, e);
    hy_config_release(&config);
    hy_buf_release(&line);
    return rc;
}

const struct hy_command hy_command_trial = {
    .name = "trial",
    .usage = "hylas trial [--checkpoint FILE] [--parent PID] < CONFIG 3> ROWS",
    .summary = "trains one run, as the ranks of hylas run start it",
    .help = "  --checkpoint FILE   resumed where it exists, written when stopped\n"
            "  --parent PID        dies with this parent\n",
    .hidden = 1,
    .run = run,
};
