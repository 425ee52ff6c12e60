#include "core/trial/member.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/trial/origin.h"
#include "core/ops/products/gemm.h"

enum { HISTORY_POINTS = 200 }; /* training losses that a run stores, at most */

int hy_member_init(struct hy_member *m, const struct hy_trial_order *order,
                   const struct hy_trial_io *io, int replica, struct hy_err *e)
{
    const struct hy_config *c = order->config;
    *m = (struct hy_member){
        .order = *order,
        .io = io,
        .replica = replica,
        .trained.best = NAN,
    };
    hy_found_init(&m->found, c->model.layers);
    hy_member_enter(m, 0);
    const int rc = hy_config_key(c, NULL, m->key, e);
    if (!rc && order->key && strcmp(m->key, order->key) != 0)
        return hy_fail(e, HY_E_USAGE,
                       "what its data's files hold here, or this hylas, is not what rank 0 planned "
                       "with: key %s, there %s",
                       m->key, order->key);
    return rc;
}

void hy_member_enter(struct hy_member *m, int stage)
{
    const struct hy_stage *s = hy_config_stage(m->order.config, stage);
    const int64_t steps = s->parts > 1 ? s->steps / s->parts : s->steps;
    const double warmup = s->warmup < 1 ? s->warmup * (double)steps : s->warmup;
    m->trained.stage = stage;
    m->stage = s;
    m->stage_start = hy_config_stage_start(m->order.config, stage);
    m->schedule = (struct hy_schedule){.lr = s->lr,
                                       .end = s->lr_end,
                                       .steps = steps,
                                       .warmup = (int64_t)warmup,
                                       .cosine = s->cosine};
}

int hy_member_last_stage(const struct hy_member *m)
{
    const struct hy_config *c = m->order.config;
    return c->stage_count - 1 + m->found.given_back * (c->stage_count - c->select.stage_count);
}

int64_t hy_member_steps(const struct hy_member *m)
{
    return hy_config_stage_start(m->order.config, hy_member_last_stage(m) + 1);
}

int hy_member_is_at_end(const struct hy_member *m)
{
    return m->trained.step == m->stage_start + m->stage->steps;
}

int64_t hy_member_origin(const struct hy_member *m, int64_t step)
{
    const int64_t length = m->schedule.steps;
    return m->stage_start + (step - 1 - m->stage_start) / length * length;
}

double hy_member_lr(const struct hy_member *m, int64_t step)
{
    return hy_schedule_lr(&m->schedule, step - hy_member_origin(m, step));
}

void hy_member_release(struct hy_member *m)
{
    hy_trained_release(&m->trained);
    hy_snapshot_release(&m->carried);
}

/* ---- Rows ---- */

void hy_member_emit(const struct hy_member *m, struct hy_row row)
{
    row.member = m->replica;
    m->io->emit(m->io->context, &row);
}

void hy_member_fact(const struct hy_member *m, const char *name, double value)
{
    hy_member_emit(m, (struct hy_row){.type = HY_ROW_FACT, .name = name, .value = value});
}

void hy_member_text(const struct hy_member *m, const char *name, const char *text)
{
    hy_member_emit(m, (struct hy_row){.type = HY_ROW_FACT, .name = name, .text = text});
}

void hy_member_layer(const struct hy_member *m, const struct hy_kind *kind, int layer,
                     const char *metric, double value)
{
    char variant[128];
    hy_kind_title(kind, variant, sizeof variant);
    hy_member_emit(m, (struct hy_row){.type = HY_ROW_LAYER,
                                      .step = layer,
                                      .task = kind->name,
                                      .split = variant,
                                      .name = metric,
                                      .value = value});
}

void hy_member_history(struct hy_member *m, int64_t step, const char *name, double value)
{
    const struct hy_row row = {.type = HY_ROW_HISTORY, .step = step, .name = name, .value = value};
    if (m->order.checkpoint)
        hy_row_encode(&row, &m->trained.history); /* its number may be another one next time */
    hy_member_emit(m, row);
}

void hy_member_progress(struct hy_member *m, int force)
{
    const double now = hy_now();
    if (!force && now - m->reported < 1)
        return;
    m->reported = now;
    const int64_t taken = m->trained.step - m->first_step;
    const double done = (double)(taken * hy_config_step_tokens(m->order.config));
    hy_member_emit(m, (struct hy_row){.type = HY_ROW_PROGRESS,
                                      .step = m->trained.step,
                                      .steps = hy_member_steps(m),
                                      .value = m->train_seconds > 0 ? done / m->train_seconds : 0});
}

/* What the layers are: parameters, FLOPs and the caches that they take. */
static void introduce_layers(const struct hy_member *m, const struct hy_engine *x)
{
    const struct hy_model_spec *spec = &x->spec;
    const double tokens = (double)hy_config_step_tokens(m->order.config);
    const int context = hy_config_longest_context(m->order.config);
    for (int i = 0; i < spec->layers; i++) {
        const struct hy_kind *kind = hy_model_kind(spec, i);
        const struct hy_mixer layer = hy_model_mixer(spec, i, NULL);
        const struct {
            const char *name;
            double value;
        } metrics[] = {
            {"params", (double)hy_model_layer_params(&x->trainer.params, spec, i)},
            {"state_bytes",
             (double)hy_kind_state_elements(kind, &layer, 1) * (double)sizeof(hy_real)},
            {"cache_bytes",
             (double)hy_kind_state_elements(kind, &layer, context) * (double)sizeof(hy_real)},
            {"flops_per_token", hy_graph_section_cost(x->trainer.graph, i + 1).flops / tokens},
        };
        for (size_t k = 0; k < sizeof metrics / sizeof *metrics; k++)
            hy_member_layer(m, kind, i, metrics[k].name, metrics[k].value);
    }
}

/* What the stages are and what they take, for the view stage_history. */
static void introduce_stages(const struct hy_member *m, const struct hy_engine *x)
{
    const struct hy_config *c = m->order.config;
    const double tokens = (double)hy_config_step_tokens(c);
    for (int i = 0; i < c->stage_count; i++) {
        const struct hy_stage *s = &c->stages[i];
        const struct hy_stage_cost *cost = &x->costs[i];
        const double start = (double)hy_config_stage_start(c, i);
        char name[64], objectives[256] = "";
        for (int k = 0; k < s->objective_count; k++)
            snprintf(objectives + strlen(objectives), sizeof objectives - strlen(objectives),
                     "%s%s", k ? "+" : "", s->objectives[k].objective->name);
        const struct {
            const char *what, *text;
            double value;
        } facts[] = {
            {"name", s->name, 0},
            {"objective", objectives, 0},
            {"first_step", NULL, start + 1},
            {"last_step", NULL, start + (double)s->steps},
            {"trained_params", NULL, (double)cost->trained},
            {"optimizer_bytes", NULL, (double)cost->bytes.optimizer},
            {"train_bytes", NULL, (double)cost->bytes.all},
            {"flops_per_token", NULL, cost->flops / tokens},
        };
        for (size_t k = 0; k < sizeof facts / sizeof *facts; k++) {
            snprintf(name, sizeof name, "stage.%d.%s", i, facts[k].what);
            if (facts[k].text)
                hy_member_text(m, name, facts[k].text);
            else
                hy_member_fact(m, name, facts[k].value);
        }
    }
}

void hy_member_introduce(const struct hy_member *m, const struct hy_engine *x)
{
    const struct hy_config *c = m->order.config;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    hy_member_text(m, "host", host);
    hy_member_text(m, "device", x->device ? hy_device_name(x->device) : "cpu");
    hy_member_text(m, "gemm", x->device ? hy_device_library(x->device) : hy_gemm_library());
    if (x->device)
        hy_member_fact(m, "device_planned_bytes",
                       (double)hy_engine_bytes(x) + (double)x->device_base);
    hy_member_fact(m, "gang", x->replicas);
    hy_member_fact(m, "threads", c->run.threads);
    hy_member_fact(m, "params", (double)hy_model_params(&x->trainer.params));
    const struct hy_value *residual = hy_value_at(c->tree, "model.match.residual");
    if (residual)
        hy_member_fact(m, "match_residual", residual->real);
    hy_member_fact(m, "vocab", x->spec.vocab);
    hy_member_fact(m, "param_bytes", (double)x->alone.params);
    hy_member_fact(m, "gradient_bytes", (double)x->alone.gradients);
    hy_member_fact(m, "optimizer_bytes", (double)x->alone.optimizer);
    hy_member_fact(m, "activation_bytes", (double)x->alone.activations);
    hy_member_fact(m, "train_bytes", (double)x->alone.all);
    hy_member_fact(m, "state_bytes",
                   (double)hy_model_state_elements(&x->spec, 1) * (double)sizeof(hy_real));
    hy_member_fact(m, "flops_per_token",
                   hy_engine_step_flops(x, c) / (double)hy_config_step_tokens(c));
    introduce_layers(m, x);
    if (hy_value_get(c->tree, "stages") || c->select.method)
        introduce_stages(m, x);
}

void hy_member_sum_up(const struct hy_member *m, const struct hy_engine *x,
                      const struct hy_scores *valid, const struct hy_scores *test)
{
    if (isfinite(valid->ppl)) {
        hy_member_fact(m, "ppl_valid", valid->ppl);
        hy_member_fact(m, "ppl_test", test->ppl);
        hy_member_fact(m, "bpb_test", test->bits_per_byte);
    }
    if (isfinite(valid->recall)) {
        hy_member_fact(m, "recall_valid", valid->recall);
        hy_member_fact(m, "recall_test", test->recall);
    }
    struct hy_device_memory memory;
    if (x->device && !hy_device_memory(x->device, &memory, NULL))
        hy_member_fact(m, "device_peak_bytes", (double)memory.peak);
    const double trained = (double)(m->trained.step * hy_config_step_tokens(m->order.config));
    hy_member_fact(m, "tokens", trained);
    if (m->trained.seconds > 0)
        hy_member_fact(m, "tokens_per_s", trained / m->trained.seconds);
}

void hy_member_end(struct hy_member *m, const char *status, const char *reason)
{
    hy_member_progress(m, 1);
    hy_member_fact(m, "wall_s", m->seconds);
    hy_member_emit(m, (struct hy_row){.type = HY_ROW_END, .name = status, .text = reason});
    m->ended = 1;
}

/* ---- Weights ---- */

/* The first of many names, with how many there are. */
static void tell_names(const struct hy_member *m, const char *fact, int count,
                       const struct hy_buf *names)
{
    enum { MOST = 2000 };
    char text[MOST + 64];
    if (names->size > MOST)
        snprintf(text, sizeof text, "%d: %.*s ...", count, MOST, names->data);
    else
        snprintf(text, sizeof text, "%d%s%s", count, count ? ": " : "",
                 names->data ? names->data : "");
    hy_member_text(m, fact, text);
}

int hy_member_take_weights(const struct hy_member *m, struct hy_slab *params, int tells,
                           struct hy_err *e)
{
    const struct hy_config *c = m->order.config;
    struct hy_origin origin;
    struct hy_weights_report report = {0};
    int rc = hy_origin_open(c, m->order.source, &origin, e);
    if (rc)
        return rc;
    const struct hy_weights_order order = hy_origin_order(&origin, c);
    rc = hy_weights_take(&origin.weights, &order, params, m->replica, &report, e);
    if (!rc && tells) {
        hy_member_fact(m, "init_taken", report.taken);
        tell_names(m, "init_initialised", report.initialised, &report.initialised_names);
        tell_names(m, "init_unused", report.unused, &report.unused_names);
    }
    hy_weights_report_release(&report);
    hy_origin_close(&origin);
    return rc;
}

int hy_member_begin(const struct hy_member *m, struct hy_slab *params, struct hy_err *e)
{
    const struct hy_config *c = m->order.config;
    const int rc = hy_slab_draw(params, m->replica, (uint64_t)c->train.seed, e);
    return rc || !hy_config_takes_weights(c) ? rc : hy_member_take_weights(m, params, 1, e);
}

int hy_member_teach(const struct hy_member *m, const struct hy_engine *x, struct hy_slab *params,
                    struct hy_err *e)
{
    struct hy_origin origin;
    struct hy_weights_report report = {0};
    if (!x->teacher.layers)
        return HY_OK;
    int rc = hy_origin_open(m->order.config, m->order.source, &origin, e);
    if (rc)
        return rc;
    struct hy_weights_order order = origin.names;
    order.prefix = HY_TEACHER_PREFIX;
    rc = hy_weights_take(&origin.weights, &order, params, m->replica, &report, e);
    if (!rc && report.initialised)
        rc = hy_fail(e, HY_E_USAGE, "the source lacks weights of the teacher: %.600s",
                     report.initialised_names.data);
    hy_weights_report_release(&report);
    hy_origin_close(&origin);
    return rc;
}

/* ---- Checkpoints ---- */

int hy_member_save(struct hy_member *m, const struct hy_trainer *t, struct hy_err *e)
{
    if (!m->order.checkpoint)
        return HY_OK;
    if (m->order.config->select.method && hy_found_encode(&m->found, &m->trained.selection, e))
        return e->code;
    return hy_checkpoint_save(m->order.checkpoint, m->key, &m->trained, &t->params, &t->optimizer,
                              m->replica, e);
}

static int retell(const struct hy_member *m, struct hy_err *e)
{
    const char *history = m->trained.history.data;
    char *text = strdup(history ? history : ""), *rest = NULL;
    int rc = text ? HY_OK : hy_fail_memory(e);
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; !rc && line;
         line = strtok_r(NULL, "\n", &rest)) {
        struct hy_row row;
        void *memory = NULL;
        rc = hy_row_decode(line, &row, &memory, e);
        if (!rc)
            hy_member_emit(m, row);
        free(memory);
    }
    free(text);
    return rc;
}

int hy_member_resume(struct hy_member *m, struct hy_trainer *t, struct hy_err *e)
{
    struct hy_err why = {0};
    if (!m->order.checkpoint || access(m->order.checkpoint, F_OK))
        return HY_OK;
    if (hy_checkpoint_load(m->order.checkpoint, m->key, &m->trained, &t->params, &t->optimizer,
                           m->replica, &why)) {
        /* A checkpoint only saves time: without a good one the run starts again. */
        hy_member_text(m, "checkpoint_refused", why.text);
        return HY_OK;
    }
    if (m->order.config->select.method && hy_found_decode(m->trained.selection.data, &m->found, e))
        return e->code;
    hy_member_fact(m, "resumed_at", (double)m->trained.step);
    m->first_step = m->trained.step;
    hy_member_enter(m, m->trained.stage);
    return retell(m, e);
}

/* ---- Steps ---- */

int hy_member_settle(struct hy_member *m, struct hy_outcome out)
{
    const int64_t steps = hy_member_steps(m), at = m->trained.step + 1;
    const int64_t spacing = (steps + HISTORY_POINTS - 1) / HISTORY_POINTS;
    if (!isfinite(out.loss) || !isfinite(out.norm)) {
        char reason[96];
        hy_member_history(m, at, "train.loss", out.loss);
        snprintf(reason, sizeof reason, "%s is not finite at step %lld",
                 isfinite(out.loss) ? "the gradient" : "the loss", (long long)at);
        hy_member_end(m, "diverged", reason);
        return 0;
    }
    m->trained.step = at;
    if (at % spacing == 0 || at == 1 || at == steps) {
        hy_member_history(m, at, "train.loss", out.loss);
        hy_member_history(m, at, "train.grad_norm", out.norm);
        hy_member_history(m, at, "train.lr", hy_member_lr(m, at));
    }
    return 1;
}
