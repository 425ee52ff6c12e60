#include "core/trial/noop.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/trial/stopping.h"

struct noop {
    const struct hy_config *config;
    const struct hy_trial_io *io;
    int64_t until; /* as in hy_trial_order */
    int64_t steps, points;
    double seconds, recall;
    double began, reported;
    struct hy_trained trained;
    struct hy_row end; /* what it ends with */
    char reason[128];
};

static void emit(const struct noop *n, const struct hy_row *row)
{
    n->io->emit(n->io->context, row);
}

static void emit_fact(const struct noop *n, const char *name, double value)
{
    emit(n, &(struct hy_row){.type = HY_ROW_FACT, .name = name, .value = value});
}

static void emit_history(const struct noop *n, int64_t step, const char *name, double value)
{
    emit(n, &(struct hy_row){.type = HY_ROW_HISTORY, .step = step, .name = name, .value = value});
}

static void emit_progress(struct noop *n, int64_t step, int force)
{
    const double now = hy_now();
    if (!force && now - n->reported < 1)
        return;
    n->reported = now;
    emit(n, &(struct hy_row){.type = HY_ROW_PROGRESS, .step = step, .steps = n->steps});
}

static int is_stopped(const struct noop *n)
{
    return n->io->stop && *n->io->stop;
}

/* Sleeps until the step's time has come, or the run is told to stop. */
static void wait_for_step(struct noop *n, int64_t step)
{
    static const double slice = 0.01;
    const double until = n->began + n->seconds * (double)step / (double)n->steps;
    for (double left; !is_stopped(n) && (left = until - hy_now()) > 0;) {
        emit_progress(n, step - 1, 0);
        nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * (left < slice ? left : slice))}, NULL);
    }
}

static double recall_at(const struct noop *n, int64_t step)
{
    return n->recall * (double)step / (double)n->steps;
}

static void take_step(struct noop *n, int64_t step)
{
    const int64_t every = n->config->eval.every;
    const int regular = every && step % every == 0;
    if (n->seconds > 0)
        wait_for_step(n, step);
    n->trained.step = step;
    if (step * n->points / n->steps > (step - 1) * n->points / n->steps)
        emit_history(n, step, "train.loss", 1 - recall_at(n, step));
    if (regular || hy_is_rung(&n->config->run.halving, step) || step == n->steps)
        emit_history(n, step, "valid.recall", recall_at(n, step));
    if (regular && step < n->steps)
        hy_stopping_see(&n->config->run.stop, recall_at(n, step), &n->trained);
}

/* Whether it goes on, and if not, as what it ends. */
static int goes_on(struct noop *n)
{
    const int64_t step = n->trained.step;
    if (is_stopped(n))
        n->end = (struct hy_row){HY_ROW_END, .name = "interrupted", .text = "stopped by a signal"};
    else if (step == n->steps)
        n->end = (struct hy_row){HY_ROW_END, .name = "done"};
    else if (hy_stopping_now(&n->config->run.stop, &n->trained, n->reason, sizeof n->reason))
        n->end = (struct hy_row){HY_ROW_END, .name = "done", .text = n->reason};
    else if (n->until && step >= n->until)
        n->end = (struct hy_row){HY_ROW_END, .name = "paused"};
    else
        return 1;
    return 0;
}

int hy_is_noop(const struct hy_config *c)
{
    return c->data.train[0].task->trains_nothing;
}

int hy_noop_run(const struct hy_trial_order *order, const struct hy_trial_io *io, struct hy_err *e)
{
    const struct hy_config *c = order->config;
    const struct hy_value *options = c->data.train[0].options;
    const int64_t points = hy_get_int(options, "points");
    struct noop n = {
        .config = c,
        .io = io,
        .until = order->until,
        .steps = c->train.steps,
        .points = points < c->train.steps ? points : c->train.steps,
        .seconds = hy_get_real(options, "seconds"),
        .recall = hy_get_real(options, "recall"),
        .began = hy_now(),
        .trained.best = NAN,
    };
    (void)e;
    emit_progress(&n, 0, 1);
    while (goes_on(&n))
        take_step(&n, n.trained.step + 1);
    emit_progress(&n, n.trained.step, 1);
    emit_fact(&n, "wall_s", hy_now() - n.began);
    if (!strcmp(n.end.name, "done")) {
        emit_fact(&n, "recall_valid", recall_at(&n, n.trained.step));
        emit_fact(&n, "recall_test", recall_at(&n, n.trained.step));
    }
    emit(&n, &n.end);
    return HY_OK;
}
