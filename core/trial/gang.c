#include "core/trial/gang.h"

#include <string.h>

#include "core/base/clock.h"
#include "core/base/rng.h"
#include "core/trial/selecting.h"

/* ---- All members ---- */

int hy_gang_running(const struct hy_gang *g)
{
    int count = 0;
    for (int r = 0; r < g->count; r++)
        count += !g->members[r].ended;
    return count;
}

int hy_gang_is_held(const struct hy_member *m)
{
    return !m->ended && (!m->is_inside ||
                         (hy_member_is_at_end(m) && m->trained.stage < hy_member_last_stage(m)));
}

int hy_gang_training(const struct hy_gang *g)
{
    int count = 0;
    for (int r = 0; r < g->count; r++)
        count += !g->members[r].ended && !hy_gang_is_held(&g->members[r]);
    return count;
}

/* A member's time is its share, so that the times of all add up to what the gang took. */
static void account(struct hy_gang *g)
{
    const double now = hy_now(),
                 share = (now - g->accounted) / (hy_gang_running(g) ? hy_gang_running(g) : 1);
    for (int r = 0; r < g->count; r++)
        if (!g->members[r].ended)
            g->members[r].seconds += share;
    g->accounted = now;
}

void hy_gang_end(struct hy_gang *g, int r, const char *status, const char *reason)
{
    account(g);
    hy_member_end(&g->members[r], status, reason);
    g->engine.trainer.frozen[r] = 1;
}

void hy_gang_tell_progress(struct hy_gang *g)
{
    for (int r = 0; r < g->count; r++)
        if (!g->members[r].ended)
            hy_member_progress(&g->members[r], 0);
}

int hy_gang_is_stopped(const struct hy_gang *g)
{
    return g->io->stop && *g->io->stop;
}

/* Of who is not in the engine the checkpoint is still the newest. */
int hy_gang_interrupt(struct hy_gang *g, struct hy_err *e)
{
    int rc = HY_OK;
    for (int r = 0; r < g->count && !rc; r++)
        if (!g->members[r].ended && g->members[r].is_inside)
            rc = hy_member_save(&g->members[r], &g->engine.trainer, e);
    for (int r = 0; r < g->count && !rc; r++)
        if (!g->members[r].ended)
            hy_gang_end(g, r, "interrupted", "stopped by a signal");
    return rc;
}

/* ---- Steps ---- */

static void fill_batch(struct hy_gang *g, int r, int64_t step)
{
    struct hy_trainer *t = &g->engine.trainer;
    const size_t n = (size_t)hy_config_step_tokens(g->config);
    hy_data_batch(g->engine.sources[r], step - 1, g->config->train.batch, g->tokens, g->labels,
                  g->weights);
    memcpy(hy_input(t->ends.tokens, r), g->tokens, n * sizeof *g->tokens);
    if (!t->ends.labels)
        return;
    memcpy(hy_input(t->ends.labels, r), g->labels, n * sizeof *g->labels);
    hy_real *weights = hy_input(t->weights, r);
    for (size_t i = 0; i < n; i++)
        weights[i] = (hy_real)g->weights[i];
}

/* Whose windows are left out of a step is drawn for each step and layer. */
static void fill_drops(const struct hy_member *m, struct hy_trainer *t, int64_t step)
{
    if (!t->ends.dropped)
        return;
    hy_real *dropped = hy_input(t->ends.dropped, m->replica);
    const double rate = hy_stage_dropout(m->stage, step - 1 - m->stage_start);
    const uint64_t seed = (uint64_t)m->order.config->train.seed;
    for (int i = 0; i < m->order.config->model.layers; i++) {
        struct hy_rng rng = hy_rng_start(seed, HY_RNG_WINDOW, (uint32_t)step, (uint32_t)i);
        dropped[i] = hy_rng_uniform(&rng) < rate;
    }
}

/* Begins everybody's n-th step from where they are. */
static void train_step(struct hy_gang *g, int n)
{
    for (int r = 0; r < g->count; r++) {
        const struct hy_member *m = &g->members[r];
        const int64_t step = m->trained.step + n;
        const int idle = m->ended || hy_gang_is_held(m);
        if (idle && !g->device)
            continue; /* a device wants all inputs or none */
        fill_batch(g, r, step);
        hy_selecting_fill(m, &g->engine.trainer, step);
        fill_drops(m, &g->engine.trainer, step);
        if (idle)
            continue;
        g->engine.trainer.ahead[r] = m->trained.step - hy_member_origin(m, step);
        g->updates[r] =
            (struct hy_update){hy_member_lr(m, step), m->stage->weight_decay, m->stage->clip};
    }
    hy_trainer_step(&g->engine.trainer, n, g->updates);
}

int hy_gang_is_regular(const struct hy_config *c, int64_t step)
{
    return c->eval.every && step % c->eval.every == 0;
}

/* Does something follow a member's step that needs its outcome? */
static int halts(const struct hy_member *m, int64_t step)
{
    const struct hy_config *c = m->order.config;
    const int64_t every = c->run.checkpoint_every;
    return !m->ended && !hy_gang_is_held(m) &&
           (hy_member_origin(m, step + 1) == step || step == m->order.until ||
            hy_gang_is_regular(c, step) || hy_is_rung(&c->run.halving, step) ||
            (every && step % every == 0));
}

static int someone_halts(const struct hy_gang *g, int n)
{
    int found = hy_gang_is_stopped(g);
    for (int r = 0; r < g->count && !found; r++)
        found = halts(&g->members[r], g->members[r].trained.step + n);
    return found;
}

static void settle_member(struct hy_member *m, struct hy_outcome out)
{
    if (hy_member_settle(m, out))
        hy_selecting_see(m, out.loss);
}

/* Notes the outcomes of the steps begun; who diverged has ended. */
static int settle(struct hy_gang *g, struct hy_err *e)
{
    struct hy_trainer *t = &g->engine.trainer;
    int count;
    const int rc = hy_trainer_collect(t, &count, e);
    if (rc)
        return rc;
    account(g);
    for (int r = 0; r < g->count; r++) {
        struct hy_member *m = &g->members[r];
        for (int i = 0; i < count && !m->ended && !hy_gang_is_held(m); i++)
            settle_member(m, t->outcomes[i * g->count + r]);
        if (m->ended || hy_gang_is_held(m))
            t->frozen[r] = 1;
    }
    hy_gang_tell_progress(g);
    return HY_OK;
}

int hy_gang_advance(struct hy_gang *g, struct hy_err *e)
{
    struct hy_trainer *t = &g->engine.trainer;
    const double start = hy_now();
    int n = 0, rc = HY_OK;
    for (int r = 0; r < g->count && !rc; r++)
        if (!g->members[r].ended && !hy_gang_is_held(&g->members[r]))
            rc = hy_selecting_turn(&g->members[r], t, e);
    if (rc)
        return rc;
    do
        train_step(g, ++n);
    while (!hy_trainer_due(t) && !someone_halts(g, n));
    rc = hy_graph_wait(t->graph, e);
    const double share = (hy_now() - start) / hy_gang_training(g);
    for (int r = 0; r < g->count; r++) {
        struct hy_member *m = &g->members[r];
        if (m->ended || hy_gang_is_held(m))
            continue;
        m->train_seconds += share;
        m->trained.seconds += share;
    }
    return rc ? rc : settle(g, e);
}
