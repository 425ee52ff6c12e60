#include "core/trial/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/model/checkpoint.h"
#include "core/ops/support/gemm.h"
#include "core/trial/engine.h"
#include "core/trial/noop.h"
#include "core/trial/stopping.h"

enum { HISTORY_POINTS = 200 }; /* training losses that a run stores, at most */

struct run {
    const struct hy_config *config;
    const struct hy_trial_io *io;
    char key[HY_HASH_TEXT];
    struct hy_device *device; /* NULL: the CPU */
    size_t device_base;       /* bytes that it takes without a model */
    struct hy_engine engine;
    struct hy_schedule schedule;
    struct hy_trained trained;
    int32_t *tokens, *labels;
    float *weights;
    double train_seconds; /* this attempt, evaluation apart */
    int64_t first_step;   /* this attempt's */
    int diverged, paused;
    int complete;     /* the last step that it takes is taken */
    char reason[128]; /* why it stopped before the last of train.steps, else "" */
    double reported;  /* when the last progress row went out */
};

static int64_t step_tokens(const struct run *r)
{
    return (int64_t)r->config->train.batch * r->config->train.seq_len;
}

static void emit_fact(const struct run *r, const char *name, double value)
{
    const struct hy_row row = {.type = HY_ROW_FACT, .name = name, .value = value};
    r->io->emit(r->io->context, &row);
}

static void emit_text(const struct run *r, const char *name, const char *text)
{
    const struct hy_row row = {.type = HY_ROW_FACT, .name = name, .text = text};
    r->io->emit(r->io->context, &row);
}

/* The curve goes into checkpoints too: what was on its way when a run was cut off is told again. */
static void emit_history(struct run *r, int64_t step, const char *name, double value)
{
    const struct hy_row row = {.type = HY_ROW_HISTORY, .step = step, .name = name, .value = value};
    if (r->io->checkpoint)
        hy_row_encode(&row, &r->trained.history);
    r->io->emit(r->io->context, &row);
}

static void emit_end(const struct run *r, const char *status, const char *reason)
{
    const struct hy_row row = {.type = HY_ROW_END, .name = status, .text = reason};
    r->io->emit(r->io->context, &row);
}

static void emit_progress(struct run *r, int force)
{
    const double t = hy_now();
    if (!force && t - r->reported < 1)
        return;
    r->reported = t;
    const double done = (double)((r->trained.step - r->first_step) * step_tokens(r));
    const struct hy_row row = {
        .type = HY_ROW_PROGRESS,
        .step = r->trained.step,
        .steps = r->config->train.steps,
        .value = r->train_seconds > 0 ? done / r->train_seconds : 0,
    };
    r->io->emit(r->io->context, &row);
}

/* Begins one step on its batch. */
static void train_step(struct run *r, int64_t step)
{
    struct hy_trainer *t = &r->engine.trainer;
    const struct hy_config *c = r->config;
    const size_t n = (size_t)step_tokens(r);
    hy_data_batch(r->engine.data, step - 1, c->train.batch, r->tokens, r->labels, r->weights);
    memcpy(hy_input(t->ends.tokens, 0), r->tokens, n * sizeof *r->tokens);
    memcpy(hy_input(t->ends.labels, 0), r->labels, n * sizeof *r->labels);
    hy_real *weights = hy_input(t->weights, 0);
    for (size_t i = 0; i < n; i++)
        weights[i] = (hy_real)r->weights[i];
    const struct hy_update update = {hy_schedule_lr(&r->schedule, step), c->train.weight_decay,
                                     c->train.clip};
    hy_trainer_step(t, step, &update);
}

/* Notes the outcomes of all steps up to this one. HY_E_RUN and r->diverged: one of them diverged.
 */
static int settle(struct run *r, int64_t step, struct hy_err *e)
{
    const struct hy_config *c = r->config;
    const int64_t spacing = (c->train.steps + HISTORY_POINTS - 1) / HISTORY_POINTS;
    int count;
    const int rc = hy_trainer_collect(&r->engine.trainer, &count, e);
    if (rc)
        return rc;
    for (int i = 0; i < count; i++) {
        const struct hy_outcome out = r->engine.trainer.outcomes[i];
        const int64_t at = step - count + 1 + i;
        if (!isfinite(out.loss) || !isfinite(out.norm)) {
            emit_history(r, at, "train.loss", out.loss);
            r->diverged = 1;
            return hy_fail(e, HY_E_RUN, "%s is not finite at step %lld",
                           isfinite(out.loss) ? "the gradient" : "the loss", (long long)at);
        }
        r->trained.step = at;
        if (at % spacing == 0 || at == 1 || at == c->train.steps) {
            emit_history(r, at, "train.loss", out.loss);
            emit_history(r, at, "train.grad_norm", out.norm);
            emit_history(r, at, "train.lr", hy_schedule_lr(&r->schedule, at));
        }
    }
    emit_progress(r, 0);
    return HY_OK;
}

static int is_stopped(const struct run *r)
{
    return r->io->stop && *r->io->stop;
}

static void pass_row(void *context, const struct hy_row *row)
{
    const struct run *r = context;
    r->io->emit(r->io->context, row);
}

/* An evaluation can be long: whoever watches the run must see that it is not stuck. */
static int pulse(void *context)
{
    emit_progress(context, 0);
    return is_stopped(context);
}

static int evaluate(struct run *r, enum hy_split split, struct hy_scores *scores, struct hy_err *e)
{
    return hy_engine_evaluate(&r->engine, split, r->trained.step, pass_row, pulse, r, scores, e);
}

/* Validation scores into the history: how the run got where it is. */
static int validate(struct run *r, struct hy_scores *scores, struct hy_err *e)
{
    const int rc = evaluate(r, HY_SPLIT_VALID, scores, e);
    if (rc)
        return rc;
    if (isfinite(scores->ppl))
        emit_history(r, r->trained.step, "valid.ppl", scores->ppl);
    if (isfinite(scores->recall))
        emit_history(r, r->trained.step, "valid.recall", scores->recall);
    return HY_OK;
}

static int save(struct run *r, struct hy_err *e)
{
    if (!r->io->checkpoint)
        return HY_OK;
    return hy_checkpoint_save(r->io->checkpoint, r->key, &r->trained, &r->engine.trainer.params,
                              &r->engine.trainer.optimizer, e);
}

static int retell(const struct run *r, struct hy_err *e)
{
    const char *history = r->trained.history.data;
    char *text = strdup(history ? history : ""), *rest = NULL;
    int rc = text ? HY_OK : hy_fail_memory(e);
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; !rc && line;
         line = strtok_r(NULL, "\n", &rest)) {
        struct hy_row row;
        void *memory = NULL;
        rc = hy_row_decode(line, &row, &memory, e);
        if (!rc)
            r->io->emit(r->io->context, &row);
        free(memory);
    }
    free(text);
    return rc;
}

static int resume(struct run *r)
{
    struct hy_err e = {0};
    if (!r->io->checkpoint || access(r->io->checkpoint, F_OK))
        return 0;
    if (hy_checkpoint_load(r->io->checkpoint, r->key, &r->trained, &r->engine.trainer.params,
                           &r->engine.trainer.optimizer, &e)) {
        /* A checkpoint only saves time: without a good one the run starts again. */
        emit_text(r, "checkpoint_refused", e.text);
        return 0;
    }
    return 1;
}

static int is_regular(const struct hy_config *c, int64_t step)
{
    return c->eval.every && step % c->eval.every == 0;
}

/* The evaluations that are due after the last step, unless they were made before. */
static int look(struct run *r, struct hy_err *e)
{
    const struct hy_config *c = r->config;
    const int64_t step = r->trained.step;
    struct hy_scores scores;
    if (step >= c->train.steps || step <= r->trained.judged ||
        !(is_regular(c, step) || hy_is_rung(&c->run.halving, step)))
        return HY_OK;
    const int rc = validate(r, &scores, e);
    if (rc)
        return rc;
    r->trained.judged = step;
    /* Where a run is paused must not change where it stops. */
    if (is_regular(c, step))
        hy_stopping_see(&c->run.stop,
                        c->run.stop.metric == HY_METRIC_PPL ? scores.ppl : scores.recall,
                        &r->trained);
    return HY_OK;
}

/* Does something follow the step that needs its outcome? */
static int halts(const struct run *r, int64_t step)
{
    const struct hy_config *c = r->config;
    const int64_t every = c->run.checkpoint_every;
    return step == c->train.steps || step == r->io->until || (r->io->stop && *r->io->stop) ||
           is_regular(c, step) || hy_is_rung(&c->run.halving, step) || (every && step % every == 0);
}

/* Takes the next step, on a device all steps until an outcome is needed; r->diverged: e tells how.
 */
static int advance(struct run *r, struct hy_err *e)
{
    struct hy_trainer *t = &r->engine.trainer;
    const double start = hy_now();
    int64_t step = r->trained.step;
    do
        train_step(r, ++step);
    while (!hy_trainer_due(t) && !halts(r, step));
    int rc = hy_graph_wait(t->graph, e);
    const double spent = hy_now() - start;
    r->train_seconds += spent;
    r->trained.seconds += spent;
    if (!rc)
        rc = settle(r, step, e);
    return rc;
}

/* Trains until a rule, a pause or the last step ends it. HY_E_INTERRUPTED: stopped and saved. */
static int train(struct run *r, struct hy_err *e)
{
    const struct hy_config *c = r->config;
    const int64_t steps = c->train.steps, every = c->run.checkpoint_every;
    for (;;) {
        int rc = look(r, e);
        if (rc && rc != HY_E_INTERRUPTED)
            return rc;
        const int64_t step = r->trained.step;
        if (is_stopped(r))
            return (rc = save(r, e)) ? rc : hy_fail(e, HY_E_INTERRUPTED, "stopped by a signal");
        r->complete = step == steps ||
                      hy_stopping_now(&c->run.stop, &r->trained, r->reason, sizeof r->reason);
        if (r->complete)
            return HY_OK;
        r->paused = r->io->until && step >= r->io->until;
        if (r->paused)
            return save(r, e);
        if (every && step > r->first_step && step % every == 0 && (rc = save(r, e)))
            return rc;
        if ((rc = advance(r, e)))
            return rc;
    }
}

static void emit_slice(const struct run *r, const char *task, const char *split, const char *slice,
                       const char *metric, double value)
{
    const struct hy_row row = {.type = HY_ROW_SLICE,
                               .task = task,
                               .split = split,
                               .slice = slice,
                               .name = metric,
                               .value = value};
    r->io->emit(r->io->context, &row);
}

static int measure_caches(struct run *r, struct hy_err *e)
{
    const struct hy_config *c = r->config;
    int largest = 0;
    for (int i = 0; i < c->eval.context_count; i++) {
        int64_t bytes;
        double tokens_per_s;
        char slice[32];
        const int context = c->eval.contexts[i];
        const int rc = hy_engine_measure_cache(&r->engine, context, &bytes, &tokens_per_s, e);
        if (rc)
            return rc;
        snprintf(slice, sizeof slice, "context=%d", context);
        emit_slice(r, "memory", "cache", slice, "bytes", (double)bytes);
        emit_slice(r, "speed", "decode", slice, "tokens_per_s", tokens_per_s);
        if (context > largest) {
            largest = context;
            emit_fact(r, "cache_bytes", (double)bytes);
        }
    }
    return HY_OK;
}

static void emit_start(const struct run *r)
{
    const struct hy_engine *x = &r->engine;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    emit_text(r, "host", host);
    emit_text(r, "device", r->device ? hy_device_name(r->device) : "cpu");
    emit_text(r, "gemm", r->device ? hy_device_library(r->device) : hy_gemm_library());
    if (r->device)
        emit_fact(r, "device_planned_bytes", (double)hy_engine_bytes(x) + (double)r->device_base);
    emit_fact(r, "threads", r->config->run.threads);
    emit_fact(r, "params", (double)x->trainer.params.count);
    const struct hy_value *residual = hy_value_at(r->config->tree, "model.match.residual");
    if (residual)
        emit_fact(r, "match_residual", residual->real);
    emit_fact(r, "vocab", x->spec.vocab);
    emit_fact(r, "param_bytes", (double)x->trainer.bytes.params);
    emit_fact(r, "gradient_bytes", (double)x->trainer.bytes.gradients);
    emit_fact(r, "optimizer_bytes", (double)x->trainer.bytes.optimizer);
    emit_fact(r, "activation_bytes", (double)x->trainer.bytes.activations);
    emit_fact(r, "train_bytes", (double)x->trainer.bytes.all);
    emit_fact(r, "state_bytes",
              (double)hy_model_state_elements(&x->spec, 1) * (double)sizeof(hy_real));
    emit_fact(r, "flops_per_token", x->trainer.cost.flops / (double)step_tokens(r));
}

/* Everything after the last step: final scores and what the run cost. */
static int finish(struct run *r, struct hy_err *e)
{
    struct hy_scores valid, test;
    int rc;
    if ((rc = validate(r, &valid, e)) || (rc = evaluate(r, HY_SPLIT_TEST, &test, e)) ||
        (rc = measure_caches(r, e)))
        return rc;
    if (isfinite(valid.ppl)) {
        emit_fact(r, "ppl_valid", valid.ppl);
        emit_fact(r, "ppl_test", test.ppl);
        emit_fact(r, "bpb_test", test.bits_per_byte);
    }
    if (isfinite(valid.recall)) {
        emit_fact(r, "recall_valid", valid.recall);
        emit_fact(r, "recall_test", test.recall);
    }
    struct hy_device_memory memory;
    if (r->device && !hy_device_memory(r->device, &memory, NULL))
        emit_fact(r, "device_peak_bytes", (double)memory.peak);
    const double trained = (double)(r->trained.step * step_tokens(r));
    emit_fact(r, "tokens", trained);
    if (r->trained.seconds > 0)
        emit_fact(r, "tokens_per_s", trained / r->trained.seconds);
    return HY_OK;
}

static int start(struct run *r, struct hy_err *e)
{
    const struct hy_config *c = r->config;
    const size_t n = (size_t)step_tokens(r);
    struct hy_err note = {0};
    int rc = hy_config_key(c, NULL, r->key, e);
    hy_gemm_set_threads(c->run.threads);
    if (rc || (rc = hy_device_choose(c->run.device, r->io->local_rank, 0, &r->device, &note, e)))
        return rc;
    if (note.code)
        emit_text(r, "device_refused", note.text);
    struct hy_device_memory memory;
    if (r->device && !hy_device_memory(r->device, &memory, NULL))
        r->device_base = memory.used;
    if ((rc = hy_engine_init(&r->engine, c, r->device, 0, e)))
        return rc;
    r->tokens = calloc(n, sizeof *r->tokens);
    r->labels = calloc(n, sizeof *r->labels);
    r->weights = calloc(n, sizeof *r->weights);
    if (!r->tokens || !r->labels || !r->weights)
        return hy_fail_memory(e);
    const double warmup =
        c->train.warmup < 1 ? c->train.warmup * (double)c->train.steps : c->train.warmup;
    r->schedule = (struct hy_schedule){
        .lr = c->train.lr,
        .end = c->train.lr_end,
        .steps = c->train.steps,
        .warmup = (int64_t)warmup,
        .cosine = c->train.cosine,
    };
    return hy_slab_draw(&r->engine.trainer.params, 0, (uint64_t)c->train.seed, e);
}

int hy_trial_run(const struct hy_config *config, const struct hy_trial_io *io, struct hy_err *e)
{
    if (hy_is_noop(config))
        return hy_noop_run(config, io, e);
    struct run r = {.config = config, .io = io, .trained.best = NAN};
    const double began = hy_now();
    int rc = start(&r, e);
    if (rc)
        goto out;
    emit_start(&r);
    if (resume(&r)) {
        emit_fact(&r, "resumed_at", (double)r.trained.step);
        if ((rc = retell(&r, e)))
            goto out;
    }
    r.first_step = r.trained.step;
    emit_progress(&r, 1);
    rc = train(&r, e);
    if (r.complete)
        rc = finish(&r, e);
    if (rc == HY_E_INTERRUPTED && r.complete)
        rc = save(&r, e) ? HY_E_ENV : rc; /* trained, but not yet evaluated */
    emit_progress(&r, 1);
    emit_fact(&r, "wall_s", hy_now() - began);
    if (rc == HY_OK && r.complete) {
        if (io->checkpoint && !config->run.keep_checkpoint)
            unlink(io->checkpoint);
        else
            rc = save(&r, e);
    }
    if (rc == HY_OK) {
        emit_end(&r, r.paused ? "paused" : "done", *r.reason ? r.reason : NULL);
    } else if (rc == HY_E_INTERRUPTED) {
        emit_end(&r, "interrupted", e->text);
        rc = HY_OK;
    } else if (r.diverged) {
        emit_end(&r, "diverged", e->text);
        rc = HY_OK;
    }
out:
    hy_buf_release(&r.trained.history);
    free(r.tokens);
    free(r.labels);
    free(r.weights);
    hy_engine_release(&r.engine);
    hy_device_close(r.device);
    return rc;
}
