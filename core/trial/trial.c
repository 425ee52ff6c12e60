#include "core/trial/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/ops/products/gemm.h"
#include "core/trial/gang.h"
#include "core/trial/noop.h"
#include "core/trial/selecting.h"
#include "core/trial/shares.h"
#include "core/trial/stopping.h"

/* ---- Evaluation ---- */

static void pass_row(void *context, int replica, const struct hy_row *row)
{
    const struct hy_gang *g = context;
    hy_member_emit(&g->members[replica], *row);
}

/* An evaluation can be long: whoever watches the run must see that it is not stuck. */
static int pulse(void *context)
{
    hy_gang_tell_progress(context);
    return hy_gang_is_stopped(context);
}

/* Of the chosen. */
static int evaluate(struct hy_gang *g, enum hy_split split, struct hy_scores *scores,
                    struct hy_err *e)
{
    const struct hy_audience to = {pass_row, pulse, g};
    return hy_engine_evaluate(&g->engine, split, g->chosen, &to, scores, e);
}

/* Validation scores of the chosen into their histories: how they got where they are. */
static int validate(struct hy_gang *g, struct hy_err *e)
{
    int rc = HY_OK;
    for (int r = 0; r < g->count && !rc; r++)
        if (g->chosen[r])
            rc = hy_selecting_watch(&g->members[r], &g->engine, e);
    if (!rc)
        rc = evaluate(g, HY_SPLIT_VALID, g->valid, e);
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        if (!g->chosen[r])
            continue;
        if (isfinite(g->valid[r].ppl))
            hy_member_history(m, m->trained.step, "valid.ppl", g->valid[r].ppl);
        if (isfinite(g->valid[r].recall))
            hy_member_history(m, m->trained.step, "valid.recall", g->valid[r].recall);
    }
    return rc;
}

static int is_due(const struct hy_member *m)
{
    const struct hy_config *c = m->order.config;
    const int64_t step = m->trained.step;
    return !m->ended && !hy_gang_is_held(m) && step < hy_member_steps(m) &&
           step > m->trained.judged &&
           (hy_gang_is_regular(c, step) || hy_is_rung(&c->run.halving, step));
}

/* The evaluations that are due after the last step, unless they were made before. */
static int look(struct hy_gang *g, struct hy_err *e)
{
    int due = 0;
    for (int r = 0; r < g->count; r++)
        due += g->chosen[r] = (unsigned char)is_due(&g->members[r]);
    const int rc = due ? validate(g, e) : HY_OK;
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_trained *trained = &g->members[r].trained;
        const struct hy_stop_rule *stop = &g->members[r].order.config->run.stop;
        if (!g->chosen[r])
            continue;
        trained->judged = trained->step;
        /* Where a run is paused must not change where it stops. */
        if (hy_gang_is_regular(g->config, trained->step))
            hy_stopping_see(stop,
                            stop->metric == HY_METRIC_PPL ? g->valid[r].ppl : g->valid[r].recall,
                            trained);
    }
    return rc;
}

/* ---- Ends ---- */

static void emit_slice(const struct hy_member *m, const char *task, const char *split,
                       const char *slice, const char *metric, double value)
{
    hy_member_emit(m, (struct hy_row){.type = HY_ROW_SLICE,
                                      .task = task,
                                      .split = split,
                                      .slice = slice,
                                      .name = metric,
                                      .value = value});
}

/* The chosen with parts of their mixers alone, on test data. */
static int evaluate_components(struct hy_gang *g, struct hy_err *e)
{
    const struct hy_config *c = g->config;
    struct hy_scores *scores = calloc((size_t)g->count, sizeof *scores);
    int rc = scores ? HY_OK : hy_fail_memory(e);
    for (int i = 0; i < c->eval.component_count && !rc; i++) {
        if (c->eval.components[i] == HY_COMPONENT_FULL)
            continue; /* that was the evaluation before */
        rc = hy_engine_look_at(&g->engine, c->eval.components[i], e);
        if (!rc)
            rc = evaluate(g, HY_SPLIT_TEST, scores, e);
    }
    if (!rc)
        rc = hy_engine_look_at(&g->engine, HY_COMPONENT_FULL, e);
    free(scores);
    return rc;
}

/* A cache of one sequence and how fast it is continued, for the chosen alike. */
static int measure_caches(struct hy_gang *g, struct hy_err *e)
{
    const struct hy_config *c = g->config;
    int largest = 0;
    for (int i = 0; i < c->eval.context_count; i++) {
        int64_t bytes;
        double tokens_per_s;
        char slice[32];
        const int context = c->eval.contexts[i];
        const int rc = hy_engine_measure_cache(&g->engine, context, &bytes, &tokens_per_s, e);
        if (rc)
            return rc;
        snprintf(slice, sizeof slice, "context=%d", context);
        for (int r = 0; r < g->count; r++) {
            if (!g->chosen[r])
                continue;
            emit_slice(&g->members[r], "memory", "cache", slice, "bytes", (double)bytes);
            emit_slice(&g->members[r], "speed", "decode", slice, "tokens_per_s", tokens_per_s);
            if (context > largest)
                hy_member_fact(&g->members[r], "cache_bytes", (double)bytes);
        }
        largest = context > largest ? context : largest;
    }
    return HY_OK;
}

/* What it selected, and why it ended as it did. */
static void tell_selection(struct hy_gang *g, struct hy_member *m)
{
    hy_selecting_tell(m, &g->engine);
    hy_selecting_outcome(m, m->reason, sizeof m->reason);
}

/* The chosen that select their layers and have come to the end of what is planned: where the
 * tolerance is broken, a layer is given back and they go on, no longer chosen. */
static int verify(struct hy_gang *g, struct hy_err *e)
{
    int rc = HY_OK;
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        struct hy_gang_place place = {g, r};
        double loss;
        if (!g->chosen[r] || !hy_selecting_is_on(m))
            continue;
        rc = hy_gang_evaluate_layout(&place, m->found.full, &loss, e);
        if (!rc && hy_selecting_verify(m, loss)) {
            g->chosen[r] = 0;
            g->engine.trainer.frozen[r] = 1;
        }
    }
    return rc;
}

/* Everything after the last step of the chosen. */
static int finish(struct hy_gang *g, struct hy_err *e)
{
    int rc;
    if ((rc = hy_gang_merge(g, e)) || (rc = validate(g, e)) ||
        (rc = evaluate(g, HY_SPLIT_TEST, g->test, e)) || (rc = evaluate_components(g, e)) ||
        (rc = measure_caches(g, e)))
        return rc;
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        if (!g->chosen[r])
            continue;
        hy_member_sum_up(m, &g->engine, &g->valid[r], &g->test[r]);
        if (hy_selecting_is_on(m))
            tell_selection(g, m);
        if ((rc = hy_shares_tell(m, &g->engine, e)))
            return rc;
        m->trained.complete = 1;
        hy_snapshot_release(&m->trained.base);
        if (g->config->run.keep_checkpoint || m->order.keep)
            rc = hy_member_save(m, &g->engine.trainer, e);
        if (!rc)
            hy_gang_end(g, r, "done", *m->reason ? m->reason : NULL);
    }
    return rc;
}

/* Ends who has taken the last step that it takes, or pauses; saves who is to be saved. */
static int end_some(struct hy_gang *g, struct hy_err *e)
{
    int complete = 0, rc = HY_OK;
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        const struct hy_config *c = m->order.config;
        const int64_t step = m->trained.step, every = c->run.checkpoint_every;
        const int idle = m->ended || hy_gang_is_held(m);
        g->chosen[r] =
            !idle && (step == hy_member_steps(m) ||
                      hy_stopping_now(&c->run.stop, &m->trained, m->reason, sizeof m->reason));
        complete += g->chosen[r];
        if (idle || g->chosen[r])
            continue;
        const int pauses = m->order.until && step >= m->order.until;
        if (pauses || (every && step > m->first_step && step % every == 0))
            rc = hy_member_save(m, &g->engine.trainer, e);
        if (pauses && !rc)
            hy_gang_end(g, r, "paused", NULL);
    }
    if (!rc && complete)
        rc = verify(g, e);
    complete = 0;
    for (int r = 0; r < g->count; r++)
        complete += g->chosen[r];
    return !rc && complete ? finish(g, e) : rc;
}

/* Trains until a rule, a pause or the last step has ended all, or a signal. */
static int train(struct hy_gang *g, struct hy_err *e)
{
    for (;;) {
        int rc = hy_gang_running(g) && !hy_gang_training(g) ? hy_gang_change(g, e) : HY_OK;
        if (!rc)
            rc = look(g, e);
        if (!rc && !hy_gang_is_stopped(g))
            rc = end_some(g, e);
        if (rc && rc != HY_E_INTERRUPTED)
            return rc;
        if (hy_gang_is_stopped(g))
            return hy_gang_interrupt(g, e);
        if (!hy_gang_running(g))
            return HY_OK;
        if (!hy_gang_training(g))
            continue;
        if ((rc = hy_gang_advance(g, e)))
            return rc;
    }
}

/* ---- Beginning ---- */

static int allocate(struct hy_gang *g, struct hy_err *e)
{
    const size_t n = (size_t)hy_config_step_tokens(g->config), count = (size_t)g->count;
    g->configs = calloc(count, sizeof *g->configs);
    g->updates = calloc(count, sizeof *g->updates);
    g->valid = calloc(count, sizeof *g->valid);
    g->test = calloc(count, sizeof *g->test);
    g->chosen = calloc(count, sizeof *g->chosen);
    g->tokens = calloc(n, sizeof *g->tokens);
    g->labels = calloc(n, sizeof *g->labels);
    g->weights = calloc(n, sizeof *g->weights);
    for (int r = 0; g->configs && r < g->count; r++)
        g->configs[r] = g->members[r].order.config;
    return g->configs && g->updates && g->valid && g->test && g->chosen && g->tokens && g->labels &&
                   g->weights
               ? HY_OK
               : hy_fail_memory(e);
}

/* The stage that a checkpoint is in, and what its run has selected, so that the right engine is
 * opened for it. A bad one is found to be so when it is loaded. */
static void look_ahead(struct hy_member *m)
{
    const struct hy_config *c = m->order.config;
    struct hy_trained trained;
    struct hy_found found;
    if ((c->stage_count == 1 && !c->select.method) || !m->order.checkpoint ||
        hy_checkpoint_peek(m->order.checkpoint, m->key, &trained, NULL))
        return;
    if (!c->select.method) {
        hy_member_enter(m, trained.stage < c->stage_count ? trained.stage : 0);
    } else if (!hy_found_decode(trained.selection.data, &found, NULL) &&
               found.layers == c->model.layers &&
               found.decided >= (trained.stage >= c->select.stage_count) &&
               trained.stage <
                   c->stage_count + found.given_back * (c->stage_count - c->select.stage_count)) {
        m->found = found;
        hy_member_enter(m, trained.stage);
    }
    hy_trained_release(&trained);
}

/* From its first stage, whatever a checkpoint said. A run that trains nothing to choose by has its
 * layout at once. */
static int begin(struct hy_member *m, struct hy_err *e)
{
    const struct hy_config *c = m->order.config;
    hy_found_init(&m->found, c->model.layers);
    hy_member_enter(m, 0);
    if (!c->select.method || c->select.stage_count)
        return HY_OK;
    return hy_selecting_choose(m, NULL, NULL, NULL, e);
}

static int start(struct hy_gang *g, struct hy_err *e)
{
    const struct hy_config *c = g->config;
    const int is_given = g->io->auto_device && !strcmp(c->run.device, "auto");
    const char *device = is_given ? g->io->auto_device : c->run.device;
    struct hy_member *only = &g->members[0];
    struct hy_err note = {0};
    hy_gemm_set_threads(c->run.threads);
    int rc = hy_device_choose(device, g->io->local_rank, 0, &g->device, &note, e);
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        if (note.code)
            hy_member_text(m, "device_refused", note.text);
        if (!(rc = begin(m, e)))
            look_ahead(m);
    }
    if (rc || (rc = allocate(g, e)))
        return rc;
    rc = hy_gang_change(g, e);
    /* A checkpoint only saves time, also one that shows its damage in a later stage. */
    if (!rc && g->count == 1 && only->trained.step < only->stage_start) {
        only->is_inside = 0;
        if (!(rc = begin(only, e)))
            rc = hy_gang_change(g, e);
    }
    return rc;
}

/* What is no gang is refused, lest one member's batches be taken for another's. */
static int check(const struct hy_trial_order *orders, int count, struct hy_err *e)
{
    char first[HY_HASH_TEXT], key[HY_HASH_TEXT];
    int rc = hy_config_gang_key(orders[0].config, first, e);
    for (int r = 1; r < count && !rc; r++) {
        rc = hy_config_gang_key(orders[r].config, key, e);
        if (!rc && (strcmp(first, key) || hy_is_noop(orders[r].config)))
            rc = hy_fail(e, HY_E_USAGE, "run %d of the gang has other settings than the first",
                         r + 1);
    }
    return rc;
}

int hy_trial_run(const struct hy_trial_order *orders, int count, const struct hy_trial_io *io,
                 struct hy_err *e)
{
    int rc = check(orders, count, e);
    if (rc)
        return rc;
    if (hy_is_noop(orders[0].config))
        return hy_noop_run(orders, io, e);
    struct hy_gang g = {
        .config = orders[0].config, .io = io, .count = count, .accounted = hy_now()};
    g.members = calloc((size_t)count, sizeof *g.members);
    if (!g.members)
        return hy_fail_memory(e);
    for (int r = 0; r < count && !rc; r++)
        rc = hy_member_init(&g.members[r], &orders[r], io, r, e);
    if (!rc)
        rc = start(&g, e);
    if (!rc)
        rc = train(&g, e);
    else if (rc == HY_E_INTERRUPTED)
        rc = hy_gang_interrupt(&g, e);
    for (int r = 0; r < count; r++)
        hy_member_release(&g.members[r]);
    free(g.members);
    free(g.configs);
    free(g.updates);
    free(g.valid);
    free(g.test);
    free(g.chosen);
    free(g.tokens);
    free(g.labels);
    free(g.weights);
    hy_engine_release(&g.engine);
    hy_device_close(g.device);
    return rc;
}

int hy_trial_is_final(const char *checkpoint)
{
    return hy_checkpoint_is_complete(checkpoint);
}
