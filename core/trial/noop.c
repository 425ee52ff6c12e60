#include "core/trial/noop.h"

#include <time.h>

#include "core/base/clock.h"

struct noop {
    const struct hy_config *config;
    const struct hy_trial_io *io;
    int64_t steps, points;
    double seconds, recall;
    double began, reported;
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
    if (n->seconds > 0)
        wait_for_step(n, step);
    if (step * n->points / n->steps > (step - 1) * n->points / n->steps)
        emit_history(n, step, "train.loss", 1 - recall_at(n, step));
    if ((every && step % every == 0) || step == n->steps)
        emit_history(n, step, "valid.recall", recall_at(n, step));
}

int hy_is_noop(const struct hy_config *c)
{
    return c->data.train[0].task->trains_nothing;
}

int hy_noop_run(const struct hy_config *c, const struct hy_trial_io *io, struct hy_err *e)
{
    const struct hy_value *options = c->data.train[0].options;
    const int64_t points = hy_get_int(options, "points");
    struct noop n = {
        .config = c,
        .io = io,
        .steps = c->train.steps,
        .points = points < c->train.steps ? points : c->train.steps,
        .seconds = hy_get_real(options, "seconds"),
        .recall = hy_get_real(options, "recall"),
        .began = hy_now(),
    };
    (void)e;
    int64_t step = 0;
    emit_progress(&n, 0, 1);
    while (step < n.steps && !is_stopped(&n))
        take_step(&n, ++step);
    emit_progress(&n, step, 1);
    emit_fact(&n, "wall_s", hy_now() - n.began);
    if (is_stopped(&n)) {
        emit(&n, &(struct hy_row){
                     .type = HY_ROW_END, .name = "interrupted", .text = "stopped by a signal"});
        return HY_OK;
    }
    emit_fact(&n, "recall_valid", recall_at(&n, step));
    emit_fact(&n, "recall_test", recall_at(&n, step));
    emit(&n, &(struct hy_row){.type = HY_ROW_END, .name = "done"});
    return HY_OK;
}
