#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/args.h"
#include "app/command.h"
#include "core/base/log.h"
#include "runner/plan/plan.h"
#include "runner/rank/stop.h"

static const char usage[] = "hylas train SWEEP --run N [--checkpoint FILE] [--set PATH=VALUE]...";

/* What hy_trial_run reports, as a person reads it. */
static void print_row(void *context, const struct hy_row *row)
{
    char *end = context; /* name of the end row */
    char line[160];
    switch (row->type) {
    case HY_ROW_LAYER:
        break; /* hylas plan and the database have them */
    case HY_ROW_HISTORY:
        printf("step %-8lld %-24s %.6g\n", (long long)row->step, row->name, row->value);
        break;
    case HY_ROW_SLICE:
        if (row->component && *row->component)
            printf("component %s: ", row->component);
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

static int train(const struct hy_plan_run *planned, const char *checkpoint, struct hy_err *e)
{
    char end[32] = "";
    const struct hy_trial_order order = {.config = &planned->config, .checkpoint = checkpoint};
    const struct hy_trial_io io = {.emit = print_row, .context = end, .stop = &hy_stop_signals};
    hy_info("%s, key %s", planned->title, planned->key);
    hy_stop_install(0);
    const int rc = hy_trial_run(&order, 1, &io, e);
    if (rc)
        return rc;
    if (!strcmp(end, "interrupted"))
        return hy_fail(e, HY_E_INTERRUPTED, "interrupted%s",
                       checkpoint ? "; the same command goes on" : "");
    if (strcmp(end, "done") != 0)
        return hy_fail(e, HY_E_RUN, "the run %s", end);
    if (checkpoint && !planned->config.run.keep_checkpoint)
        unlink(checkpoint);
    return HY_OK;
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
    int rc = hy_sets_init(&sets, argc, e);
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
    if (!rc)
        rc = train(&plan.runs[number ? number - 1 : 0], checkpoint, e);
    hy_plan_release(&plan);
    hy_sweep_release(&sweep);
    hy_sets_release(&sets);
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
