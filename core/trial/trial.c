#include "core/trial/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/ops/products/gemm.h"
#include "core/trial/carry.h"
#include "core/trial/member.h"
#include "core/trial/noop.h"
#include "core/trial/stopping.h"

struct gang {
    const struct hy_config *config; /* the first's: what members have in common */
    const struct hy_trial_io *io;
    struct hy_member *members;
    const struct hy_config **configs; /* [count]: theirs */
    int count;
    struct hy_device *device; /* NULL: the CPU */
    int stage;                /* of training, that the engine is for */
    struct hy_engine engine;
    struct hy_update *updates; /* [count] */
    struct hy_scores *valid, *test;
    unsigned char *chosen; /* [count]: who is evaluated */
    int32_t *tokens, *labels;
    float *weights;
    double accounted; /* when the members' times were last brought up to date */
};

/* ---- All members ---- */

static int running(const struct gang *g)
{
    int count = 0;
    for (int r = 0; r < g->count; r++)
        count += !g->members[r].ended;
    return count;
}

/* Its next step is one of a later stage, for which it waits until all are there. */
static int is_held(const struct gang *g, const struct hy_member *m)
{
    const int64_t end = hy_config_stage_start(g->config, g->stage + 1);
    return !m->ended && (m->trained.stage > g->stage ||
                         (g->stage + 1 < g->config->stage_count && m->trained.step == end));
}

/* Members that take the next step of the stage. */
static int training(const struct gang *g)
{
    int count = 0;
    for (int r = 0; r < g->count; r++)
        count += !g->members[r].ended && !is_held(g, &g->members[r]);
    return count;
}

/* A member's time is its share, so that the times of all add up to what the gang took. */
static void account(struct gang *g)
{
    const double now = hy_now(), share = (now - g->accounted) / (running(g) ? running(g) : 1);
    for (int r = 0; r < g->count; r++)
        if (!g->members[r].ended)
            g->members[r].seconds += share;
    g->accounted = now;
}

/* The last row of a member. On a device its replica is computed on with the others, in vain. */
static void end(struct gang *g, int r, const char *status, const char *reason)
{
    account(g);
    hy_member_end(&g->members[r], status, reason);
    g->engine.trainer.frozen[r] = 1;
}

static void tell_progress(struct gang *g)
{
    for (int r = 0; r < g->count; r++)
        if (!g->members[r].ended)
            hy_member_progress(&g->members[r], 0);
}

static int is_stopped(const struct gang *g)
{
    return g->io->stop && *g->io->stop;
}

/* Saves what is not done yet; of who is in a later stage the checkpoint is still the newest. */
static int interrupt(struct gang *g, struct hy_err *e)
{
    int rc = HY_OK;
    for (int r = 0; r < g->count && !rc; r++)
        if (!g->members[r].ended && g->members[r].trained.stage == g->stage)
            rc = hy_member_save(&g->members[r], &g->engine.trainer, e);
    for (int r = 0; r < g->count && !rc; r++)
        if (!g->members[r].ended)
            end(g, r, "interrupted", "stopped by a signal");
    return rc;
}

/* ---- Steps ---- */

static void fill_batch(struct gang *g, int r, int64_t step)
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

/* Begins everybody's n-th step from where they are. */
static void train_step(struct gang *g, int n)
{
    for (int r = 0; r < g->count; r++) {
        const struct hy_member *m = &g->members[r];
        const int64_t step = m->trained.step + n;
        const int idle = m->ended || is_held(g, m);
        if (idle && !g->device)
            continue; /* a device wants all inputs or none */
        fill_batch(g, r, step);
        if (idle)
            continue;
        g->engine.trainer.ahead[r] = m->trained.step - m->stage_start;
        g->updates[r] =
            (struct hy_update){hy_member_lr(m, step), m->stage->weight_decay, m->stage->clip};
    }
    hy_trainer_step(&g->engine.trainer, n, g->updates);
}

static int is_regular(const struct hy_config *c, int64_t step)
{
    return c->eval.every && step % c->eval.every == 0;
}

/* Does something follow a member's step that needs its outcome? */
static int halts(const struct gang *g, const struct hy_member *m, int64_t step)
{
    const struct hy_config *c = m->order.config;
    const int64_t every = c->run.checkpoint_every;
    const int64_t end = hy_config_stage_start(c, g->stage + 1);
    return !m->ended && !is_held(g, m) &&
           (step == end || step == m->order.until || is_regular(c, step) ||
            hy_is_rung(&c->run.halving, step) || (every && step % every == 0));
}

static int someone_halts(const struct gang *g, int n)
{
    int found = is_stopped(g);
    for (int r = 0; r < g->count && !found; r++)
        found = halts(g, &g->members[r], g->members[r].trained.step + n);
    return found;
}

/* Notes the outcomes of the steps begun; who diverged has ended. */
static int settle(struct gang *g, struct hy_err *e)
{
    struct hy_trainer *t = &g->engine.trainer;
    int count;
    const int rc = hy_trainer_collect(t, &count, e);
    if (rc)
        return rc;
    account(g);
    for (int r = 0; r < g->count; r++) {
        struct hy_member *m = &g->members[r];
        for (int i = 0; i < count && !m->ended && !is_held(g, m); i++)
            hy_member_settle(m, t->outcomes[i * g->count + r]);
        if (m->ended || is_held(g, m))
            t->frozen[r] = 1;
    }
    tell_progress(g);
    return HY_OK;
}

/* Everybody's next step, on a device all steps until an outcome is needed. */
static int advance(struct gang *g, struct hy_err *e)
{
    struct hy_trainer *t = &g->engine.trainer;
    const double start = hy_now();
    int n = 0;
    do
        train_step(g, ++n);
    while (!hy_trainer_due(t) && !someone_halts(g, n));
    const int rc = hy_graph_wait(t->graph, e);
    const double share = (hy_now() - start) / training(g);
    for (int r = 0; r < g->count; r++) {
        struct hy_member *m = &g->members[r];
        if (m->ended || is_held(g, m))
            continue;
        m->train_seconds += share;
        m->trained.seconds += share;
    }
    return rc ? rc : settle(g, e);
}

/* ---- Evaluation ---- */

static void pass_row(void *context, int replica, const struct hy_row *row)
{
    const struct gang *g = context;
    hy_member_emit(&g->members[replica], *row);
}

/* An evaluation can be long: whoever watches the run must see that it is not stuck. */
static int pulse(void *context)
{
    tell_progress(context);
    return is_stopped(context);
}

static int evaluate(struct gang *g, enum hy_split split, struct hy_scores *scores, struct hy_err *e)
{
    const struct hy_audience to = {pass_row, pulse, g};
    return hy_engine_evaluate(&g->engine, split, g->chosen, &to, scores, e);
}

/* Validation scores of the chosen into their histories: how they got where they are. */
static int validate(struct gang *g, struct hy_err *e)
{
    const int rc = evaluate(g, HY_SPLIT_VALID, g->valid, e);
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

static int is_due(const struct gang *g, const struct hy_member *m)
{
    const struct hy_config *c = m->order.config;
    const int64_t step = m->trained.step;
    return !m->ended && !is_held(g, m) && step < c->train.steps && step > m->trained.judged &&
           (is_regular(c, step) || hy_is_rung(&c->run.halving, step));
}

/* The evaluations that are due after the last step, unless they were made before. */
static int look(struct gang *g, struct hy_err *e)
{
    int due = 0;
    for (int r = 0; r < g->count; r++)
        due += g->chosen[r] = (unsigned char)is_due(g, &g->members[r]);
    const int rc = due ? validate(g, e) : HY_OK;
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_trained *trained = &g->members[r].trained;
        const struct hy_stop_rule *stop = &g->members[r].order.config->run.stop;
        if (!g->chosen[r])
            continue;
        trained->judged = trained->step;
        /* Where a run is paused must not change where it stops. */
        if (is_regular(g->config, trained->step))
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

/* A cache of one sequence and how fast it is continued, for the chosen alike. */
static int measure_caches(struct gang *g, struct hy_err *e)
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

/* Low-rank additions of the chosen become part of the weights. */
static int merge(struct gang *g, struct hy_err *e)
{
    const struct hy_lora *lora = g->engine.spec.lora;
    int rc = HY_OK;
    for (int r = 0; lora && r < g->count && !rc; r++)
        if (g->chosen[r])
            rc = hy_lora_merge(&g->engine.trainer.params, r, lora, e);
    return rc;
}

/* Everything after the last step of the chosen. */
static int finish(struct gang *g, struct hy_err *e)
{
    int rc;
    if ((rc = merge(g, e)) || (rc = validate(g, e)) ||
        (rc = evaluate(g, HY_SPLIT_TEST, g->test, e)) || (rc = measure_caches(g, e)))
        return rc;
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        if (!g->chosen[r])
            continue;
        hy_member_sum_up(m, &g->engine, &g->valid[r], &g->test[r]);
        m->trained.complete = 1;
        if (g->config->run.keep_checkpoint || m->order.keep)
            rc = hy_member_save(m, &g->engine.trainer, e);
        if (!rc)
            end(g, r, "done", *m->reason ? m->reason : NULL);
    }
    return rc;
}

/* Ends who has taken the last step that it takes, or pauses; saves who is to be saved. */
static int end_some(struct gang *g, struct hy_err *e)
{
    int complete = 0, rc = HY_OK;
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        const struct hy_config *c = m->order.config;
        const int64_t step = m->trained.step, every = c->run.checkpoint_every;
        const int idle = m->ended || is_held(g, m);
        g->chosen[r] =
            !idle && (step == c->train.steps ||
                      hy_stopping_now(&c->run.stop, &m->trained, m->reason, sizeof m->reason));
        complete += g->chosen[r];
        if (idle || g->chosen[r])
            continue;
        const int pauses = m->order.until && step >= m->order.until;
        if (pauses || (every && step > m->first_step && step % every == 0))
            rc = hy_member_save(m, &g->engine.trainer, e);
        if (pauses && !rc)
            end(g, r, "paused", NULL);
    }
    return !rc && complete ? finish(g, e) : rc;
}

/* ---- Stages ---- */

/* The stage of the next step that anybody takes. */
static int next_stage(const struct gang *g)
{
    int next = g->config->stage_count - 1;
    for (int r = 0; r < g->count; r++) {
        const struct hy_member *m = &g->members[r];
        const int passed = g->engine.trainer.graph && m->trained.stage == g->stage;
        const int own = m->trained.stage + passed;
        if (!m->ended && own < next)
            next = own;
    }
    return next;
}

/* Takes the weights of those who are at the stage's end. */
static int pack(struct gang *g, struct hy_carry *carry, struct hy_err *e)
{
    const struct hy_slab *params = &g->engine.trainer.params;
    int rc = hy_carry_init(carry, params, g->count, e);
    for (int r = 0; r < g->count; r++)
        g->chosen[r] =
            params->data && !g->members[r].ended && g->members[r].trained.stage == g->stage;
    if (!rc)
        rc = merge(g, e);
    for (int r = 0; r < g->count && !rc; r++)
        if (g->chosen[r])
            rc = hy_carry_take(carry, params, r, e);
    return rc;
}

static int open_engine(struct gang *g, int stage, struct hy_err *e)
{
    hy_engine_release(&g->engine);
    return hy_engine_init(&g->engine, g->configs, g->count, stage, g->device, 0, e);
}

/* A member begins, or goes on from its checkpoint, in the stage that the engine is for. */
static int join(struct gang *g, struct hy_member *m, struct hy_err *e)
{
    struct hy_trainer *t = &g->engine.trainer;
    int rc = hy_member_begin(m, &t->params, e);
    if (!rc)
        rc = hy_member_resume(m, t, e);
    if (!rc && g->count > 1 && m->trained.step < m->stage_start)
        rc = hy_fail(e, HY_E_ENV, "%s is damaged: the run is to begin again, by itself",
                     m->order.checkpoint);
    hy_member_progress(m, 1);
    return rc;
}

/* Everybody whose next step is of that stage goes into it, from the stage before or from a
 * checkpoint. */
static int enter(struct gang *g, int stage, struct hy_err *e)
{
    struct hy_slab *params = &g->engine.trainer.params;
    const int is_first = !g->engine.trainer.graph;
    struct hy_carry carry;
    int rc = pack(g, &carry, e);
    if (!rc)
        rc = open_engine(g, stage, e);
    g->stage = stage;
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        if (is_first)
            hy_member_introduce(m, &g->engine);
        if (!m->ended && carry.weights[r]) {
            hy_member_enter(m, stage);
            rc = hy_carry_give(&carry, params, r, (uint64_t)m->order.config->train.seed, e);
        } else if (!m->ended && m->trained.stage == stage) {
            rc = join(g, m, e);
        }
        if (m->ended || is_held(g, m))
            g->engine.trainer.frozen[r] = 1;
        else if (!rc)
            rc = hy_member_teach(m, &g->engine, params, e);
    }
    hy_carry_release(&carry);
    return rc;
}

/* Trains until a rule, a pause or the last step has ended all, or a signal. */
static int train(struct gang *g, struct hy_err *e)
{
    for (;;) {
        int rc = running(g) && !training(g) ? enter(g, next_stage(g), e) : HY_OK;
        if (!rc)
            rc = look(g, e);
        if (!rc && !is_stopped(g))
            rc = end_some(g, e);
        if (rc && rc != HY_E_INTERRUPTED)
            return rc;
        if (is_stopped(g))
            return interrupt(g, e);
        if (!running(g))
            return HY_OK;
        if ((rc = advance(g, e)))
            return rc;
    }
}

/* ---- Beginning ---- */

static int allocate(struct gang *g, struct hy_err *e)
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

static int start(struct gang *g, struct hy_err *e)
{
    const struct hy_config *c = g->config;
    const int is_given = g->io->auto_device && !strcmp(c->run.device, "auto");
    const char *device = is_given ? g->io->auto_device : c->run.device;
    struct hy_err note = {0};
    hy_gemm_set_threads(c->run.threads);
    int rc = hy_device_choose(device, g->io->local_rank, 0, &g->device, &note, e);
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        if (note.code)
            hy_member_text(m, "device_refused", note.text);
        const int stage = c->stage_count > 1 && m->order.checkpoint
                              ? hy_checkpoint_stage(m->order.checkpoint, m->key)
                              : 0;
        hy_member_enter(m, stage < c->stage_count ? stage : 0);
    }
    if (rc || (rc = allocate(g, e)))
        return rc;
    rc = enter(g, next_stage(g), e);
    /* A checkpoint only saves time, also one that shows its damage in a later stage. */
    if (!rc && g->count == 1 && g->members[0].trained.step < g->members[0].stage_start) {
        hy_member_enter(&g->members[0], 0);
        rc = enter(g, 0, e);
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
    struct gang g = {.config = orders[0].config, .io = io, .count = count, .accounted = hy_now()};
    g.members = calloc((size_t)count, sizeof *g.members);
    if (!g.members)
        return hy_fail_memory(e);
    for (int r = 0; r < count && !rc; r++)
        rc = hy_member_init(&g.members[r], &orders[r], io, r, e);
    if (!rc)
        rc = start(&g, e);
    if (!rc)
        rc = train(&g, e);
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
