#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/args.h"
#include "app/command.h"
#include "core/base/log.h"
#include "runner/plan.h"
#include "runner/stop.h"

static const char usage[] = "hylas train SWEEP --run N [--checkpoint FILE] [--set PATH=VALUE]...";

/* What hy_trial_run reports, as a person reads it. */
static void print_row(void *context, const struct hy_row *row)
{
    char *end = context; /* name of the end row */
    char line[160];
    switch (row->type) {
    case HY_ROW_HISTORY:
        printf("step %-8lld %-24s %.6g\n", (long long)row->step, row->name, row->value);
        break;
    case HY_ROW_SLICE:
        printf("%s %s %s %s %.6g\n", row->task, row->split, *row->slice ? row->slice : "all",
               row->name, row->value);
        break;
    case HY_ROW_FACT:
        if (row->text)
            printf("%s %s\n", row->name, row->text);
        else
            printf("%s %.10g\n", row->name, row->value);
        break;
    case HY_ROW_PROGRESS:
        snprintf(line, sizeof line, "step %lld of %lld, %.0f tokens/s", (long long)row->step,
                 (long long)row->steps, row->value);
        if (isatty(STDERR_FILENO))
            hy_log_live(line);
        break;
    case HY_ROW_END:
        snprintf(end, 32, "%s", row->name);
        printf("%s%s%s\n", row->name, row->text ? ": " : "", row->text ? row->text : "");
        break;
    }
    fflush(stdout);
}

/* OpenMP reads OMP_NUM_THREADS when its library loads, so the program starts once more with it. */
static int ensure_threads(int threads, char **argv, struct hy_err *e)
{
    char text[16];
    const char *now = getenv("OMP_NUM_THREADS");
    snprintf(text, sizeof text, "%d", threads);
    if (now && !strcmp(now, text))
        return HY_OK;
    setenv("OMP_NUM_THREADS", text, 1);
    execv("/proc/self/exe", argv);
    return hy_fail_errno(e, HY_E_ENV, "cannot start again with %d threads", threads);
}

static int train(const struct hy_plan_run *planned, const char *checkpoint, struct hy_err *e)
{
    char end[32] = "";
    const struct hy_trial_io io = {
        .emit = print_row, .context = end, .stop = &hy_stop_signals, .checkpoint = checkpoint};
    hy_info("%s, key %s", planned->title, planned->key);
    hy_stop_install();
    const int rc = hy_trial_run(&planned->config, &io, e);
    if (rc)
        return rc;
    if (!strcmp(end, "interrupted"))
        return hy_fail(e, HY_E_INTERRUPTED, "interrupted%s",
                       checkpoint ? "; the same command goes on" : "");
    return !strcmp(end, "done") ? HY_OK : hy_fail(e, HY_E_RUN, "the run %s", end);
}

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{"run", required_argument, NULL, 'r'},
                                            {"checkpoint", required_argument, NULL, 'c'},
                                            {"set", required_argument, NULL, 's'},
                                            {0}};
    struct hy_sweep sweep = {0};
    struct hy_plan plan = {0};
    struct hy_sets sets;
    const char *path, *checkpoint = NULL;
    long number = 0;
    char **again = calloc((size_t)argc + 3, sizeof *again);
    int rc = hy_sets_init(&sets, argc, e);
    if (!rc && !again)
        rc = hy_fail_memory(e);
    /* getopt reorders argv; the program's own command line is kept for ensure_threads. */
    if (!rc) {
        again[0] = "hylas";
        memcpy(again + 1, argv, (size_t)argc * sizeof *argv);
        if (hy_log_get_level() != HY_LOG_NORMAL)
            again[argc + 1] = hy_log_get_level() == HY_LOG_QUIET ? "--quiet" : "--verbose";
    }
    hy_args_begin();
    for (int c; !rc && (c = hy_args_next(argc, argv, ":", options, e)) != -1;) {
        if (c == 'r')
            rc = hy_args_int("--run", optarg, 1, INT_MAX, &number, e);
        else if (c == 'c')
            checkpoint = optarg;
        else if (c == 's')
            hy_sets_add(&sets, optarg);
        else
            rc = HY_E_USAGE;
    }
    if (!rc)
        rc = hy_args_one(argc, argv, "the sweep file", usage, &path, e);
    if (!rc)
        rc = hy_sweep_load(path, sets.items, sets.count, &sweep, e);
    if (!rc)
        rc = hy_plan_make(&sweep, &plan, e);
    if (!rc && !number && plan.count > 1)
        rc = hy_fail(e, HY_E_USAGE, "--run N is missing: %s has %d runs (hylas plan lists them)",
                     path, plan.count);
    if (!rc && number > plan.count)
        rc = hy_fail(e, HY_E_USAGE, "--run %ld: %s has %d runs", number, path, plan.count);
    if (!rc) {
        const struct hy_plan_run *planned = &plan.runs[number ? number - 1 : 0];
        rc = ensure_threads(planned->config.run.threads, again, e);
        if (!rc)
            rc = train(planned, checkpoint, e);
    }
    hy_plan_release(&plan);
    hy_sweep_release(&sweep);
    hy_sets_release(&sets);
    free(again);
    return rc;
}

const struct hy_command hy_command_train = {
    .name = "train",
    .usage = usage,
    .summary = "trains one run in the foreground, for debugging",
    .help = "  --run N             the run, as hylas plan counts them\n"
            "  --checkpoint FILE   resumed where it exists, written when stopped\n"
            "  --set PATH=VALUE    sets a value; repeatable\n",
    .run = run,
};
