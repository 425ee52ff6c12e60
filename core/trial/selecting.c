#include "core/trial/selecting.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/selection/names.h"
#include "core/trial/origin.h"

/* The share of a probe's steps, its last ones, whose mean loss ranks the layer. */
static const double probe_tail = 0.1;

/* Where a ramp of gates begins: one layer in fifty is linear then. */
static const double ramp_start = -4;

int hy_selecting_is_on(const struct hy_member *m)
{
    return m->order.config->select.method != NULL;
}

int hy_selecting_is_open(const struct hy_member *m)
{
    const struct hy_config *c = m->order.config;
    return c->select.method && m->trained.stage < c->select.stage_count;
}

double hy_selecting_loss(const struct hy_config *c, const struct hy_scores *scores)
{
    const double loss = c->select.metric == HY_METRIC_PPL ? log(scores->ppl) : 1 - scores->recall;
    return isnan(loss) ? INFINITY : loss;
}

/* ---- In front of the choice ---- */

static int64_t part_steps(const struct hy_member *m)
{
    return m->stage->steps / m->stage->parts;
}

/* The probe of a step, counted over all stages. */
static int part_of(const struct hy_member *m, int64_t step)
{
    return (int)((step - 1 - m->stage_start) / part_steps(m));
}

/* What a step's gates are moved by, towards full: until a model can do its tasks at all, no gate
 * learns which layers they need. */
static double ramp(const struct hy_member *m, int64_t step)
{
    const double share = hy_get_real_or(m->order.config->select.options, "ramp", 0);
    const double length = share * (double)m->stage->steps;
    const double at = (double)(step - 1 - m->stage_start);
    return at < length ? ramp_start * (1 - at / length) : 0;
}

static void fill_noise(const struct hy_member *m, hy_real *noise, int layers, int64_t step)
{
    const double offset = ramp(m, step);
    const uint64_t seed = (uint64_t)m->order.config->train.seed;
    for (int i = 0; i < layers; i++) {
        struct hy_rng rng = hy_rng_start(seed, HY_RNG_GATES, (uint32_t)step, (uint32_t)i);
        const double u = hy_rng_uniform(&rng);
        noise[i] = (hy_real)(log(u / (1 - u)) + offset);
    }
}

/* Falls by equal factors from the first step of the stage to its last. */
static double temperature(const struct hy_member *m, int64_t step)
{
    const struct hy_value *options = m->order.config->select.options;
    const double first = hy_get_real(options, "temperature");
    const double last = hy_get_real(options, "temperature_end");
    const double steps = (double)(m->stage->steps - 1);
    const double at = (double)(step - 1 - m->stage_start);
    return first * pow(last / first, steps > 0 ? at / steps : 1);
}

void hy_selecting_fill(const struct hy_member *m, struct hy_trainer *t, int64_t step)
{
    const struct hy_gates *gates = &t->ends.gates;
    const int layers = m->order.config->model.layers;
    if (gates->noise) {
        fill_noise(m, hy_input(gates->noise, m->replica), layers, step);
        *(hy_real *)hy_input(gates->temperature, m->replica) = (hy_real)temperature(m, step);
    }
    if (gates->given) {
        hy_real *given = hy_input(gates->given, m->replica);
        const int full = m->stage->role == HY_STAGE_PROBES ? part_of(m, step) : -1;
        for (int i = 0; i < layers; i++)
            given[i] = i != full;
    }
}

/* The logits of the gates as they are now, gain included. */
static int read_logits(const struct hy_member *m, const struct hy_engine *x, double *logits,
                       struct hy_err *e)
{
    const struct hy_slab *params = &x->trainer.params;
    hy_real *all = malloc((size_t)params->count * sizeof *all);
    const int rc = all ? hy_slab_read(params, m->replica, all, e) : hy_fail_memory(e);
    for (int i = 0; i < x->spec.layers && !rc; i++) {
        char name[HY_NAME_SIZE];
        hy_gates_logit_name(NULL, i, name);
        logits[i] =
            x->gating.gain * (double)all[params->entries[hy_slab_find(params, name)].offset];
    }
    free(all);
    return rc;
}

int hy_selecting_watch(struct hy_member *m, struct hy_engine *x, struct hy_err *e)
{
    const int layers = m->order.config->model.layers;
    unsigned char *full = x->full + (size_t)m->replica * (size_t)layers;
    double logits[HY_MAX_LAYERS];
    if (!hy_selecting_is_open(m))
        return HY_OK;
    if (m->stage->role == HY_STAGE_GATES) {
        const int rc = read_logits(m, x, logits, e);
        for (int i = 0; i < layers && !rc; i++) {
            char name[32];
            snprintf(name, sizeof name, "layer.%d.gate", i);
            hy_member_history(m, m->trained.step, name, logits[i]);
            full[i] = logits[i] <= 0;
        }
        return rc;
    }
    for (int i = 0; i < layers; i++)
        full[i] = m->stage->role == HY_STAGE_ALIGN || i == m->found.part;
    return HY_OK;
}

void hy_selecting_see(struct hy_member *m, double loss)
{
    if (m->stage->role != HY_STAGE_PROBES)
        return;
    const int64_t taken = m->trained.step - m->stage_start, length = part_steps(m);
    const int64_t tail = (int64_t)ceil(probe_tail * (double)length);
    const int64_t into = (taken - 1) % length + 1;
    if (into > length - tail) {
        m->found.sum += loss;
        m->found.summed++;
    }
    if (into == length)
        m->found.probes[m->found.part] = m->found.sum / (double)m->found.summed;
}

int hy_selecting_turn(struct hy_member *m, struct hy_trainer *t, struct hy_err *e)
{
    const int part = m->stage->role == HY_STAGE_PROBES ? part_of(m, m->trained.step + 1) : -1;
    if (part <= m->found.part || part >= m->stage->parts)
        return HY_OK;
    int rc = m->trained.base.data
                 ? hy_snapshot_give(&m->trained.base, NULL, NULL, &t->params, m->replica, e)
                 : hy_snapshot_take(&m->trained.base, &t->params, m->replica, e);
    if (!rc)
        rc = hy_adamw_reset(&t->optimizer, m->replica, e);
    m->found.part = part;
    m->found.sum = 0;
    m->found.summed = 0;
    return rc;
}

/* The last validation score of that name in a run's history; NaN: none. */
static double last_score(const char *history, const char *name, struct hy_err *e)
{
    char *text = strdup(history ? history : ""), *rest = NULL;
    double score = NAN;
    if (!text)
        hy_fail_memory(e);
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        struct hy_row row;
        void *memory = NULL;
        if (!hy_row_decode(line, &row, &memory, NULL) && row.type == HY_ROW_HISTORY &&
            !strcmp(row.name, name))
            score = row.value;
        free(memory);
    }
    free(text);
    return score;
}

int hy_selecting_read_reference(struct hy_member *m, struct hy_err *e)
{
    const struct hy_config *c = m->order.config;
    struct hy_trained source = {0};
    struct hy_scores scores = {NAN, NAN, NAN};
    char name[32];
    if (!hy_selecting_is_on(m) || !c->init.source || !m->order.source || !isnan(m->found.reference))
        return HY_OK;
    int rc = hy_checkpoint_peek(m->order.source, NULL, &source, e);
    if (rc)
        return rc;
    snprintf(name, sizeof name, "valid.%s", hy_metric_name(c->select.metric));
    scores.ppl = scores.recall = last_score(source.history.data, name, e);
    hy_trained_release(&source);
    if (!isnan(scores.ppl))
        m->found.reference = hy_selecting_loss(c, &scores);
    else if (c->select.budget < 0)
        rc = hy_fail(e, HY_E_USAGE, "%s does not tell the %s of its run, which the tolerance is of",
                     m->order.source, name);
    return rc;
}

/* ---- The choice ---- */

static double limit_of(const struct hy_member *m)
{
    return m->found.reference + m->order.config->select.tolerance;
}

struct counted {
    int (*evaluate)(void *, const unsigned char *, double *, struct hy_err *);
    void *context;
    int64_t count;
};

static int evaluate_counted(void *context, const unsigned char *full, double *loss,
                            struct hy_err *e)
{
    struct counted *c = context;
    c->count++;
    return c->evaluate(c->context, full, loss, e);
}

int hy_selecting_choose(struct hy_member *m, const struct hy_engine *x,
                        int (*evaluate)(void *, const unsigned char *, double *, struct hy_err *),
                        void *context, struct hy_err *e)
{
    const struct hy_config *c = m->order.config;
    struct hy_found *f = &m->found;
    struct counted counted = {evaluate, context, 0};
    struct hy_choosing choosing = {
        .layers = c->model.layers,
        .budget = c->select.budget,
        .limit = limit_of(m),
        .seed = (uint64_t)c->train.seed,
        .options = c->select.options,
        .logits = c->select.method->search == HY_STAGE_GATES ? f->logits : NULL,
        .probes = c->select.method->search == HY_STAGE_PROBES ? f->probes : NULL,
        .evaluate = x ? evaluate_counted : NULL,
        .context = &counted,
    };
    for (int i = 0; i < HY_MAX_LAYERS; i++)
        choosing.added[i] = NAN;
    if (c->select.budget == 0 || c->select.budget == c->model.layers) {
        memset(f->full, c->select.budget != 0, sizeof f->full);
        f->decided = 1;
        return HY_OK;
    }
    int rc = choosing.logits ? read_logits(m, x, f->logits, e) : HY_OK;
    if (!rc)
        rc = c->select.method->choose(&choosing, e);
    if (rc)
        return rc;
    memcpy(f->full, choosing.full, sizeof f->full);
    memcpy(f->importance, choosing.importance, sizeof f->importance);
    memcpy(f->added, choosing.added, sizeof f->added);
    f->evaluations = counted.count;
    f->decided = 1;
    return HY_OK;
}

struct hy_layout hy_selecting_layout(const struct hy_member *m)
{
    return hy_config_selected_layout(m->order.config, m->found.full);
}

int hy_selecting_verify(struct hy_member *m, double loss)
{
    const struct hy_config *c = m->order.config;
    struct hy_found *f = &m->found;
    f->loss = loss;
    if (c->select.budget >= 0)
        return 0;
    f->met = loss <= limit_of(m);
    const int next = hy_choose_next(f->importance, f->full, f->layers);
    if (f->met || next < 0 || f->given_back == c->select.repair)
        return 0;
    f->returned = next;
    f->given_back++;
    return 1;
}

void hy_selecting_give_back(struct hy_member *m)
{
    m->found.full[m->found.returned] = 1;
}

/* ---- Weights that change their model ---- */

/* Where a model of the found layout finds its parameters in what the run carries. */
struct names {
    const struct hy_slab *carried;
    const struct hy_model_spec *spec;
};

/* A mixer's own parameters stand under its name where both were trained, and those that both share
 * under none. */
static int carried_name(void *context, const char *parameter, char out[HY_NAME_SIZE])
{
    const struct names *names = context;
    const int layer = hy_mixer_layer(parameter);
    const struct hy_kind *kind = layer < 0 ? NULL : hy_model_kind(names->spec, layer);
    if (!kind || !hy_branch_name(parameter, kind->branches[0].name, out) ||
        hy_slab_find(names->carried, out) < 0)
        snprintf(out, HY_NAME_SIZE, "%s", parameter);
    return 1;
}

int hy_selecting_hand_over(const struct hy_member *m, const struct hy_engine *x,
                           struct hy_slab *params, struct hy_err *e)
{
    const struct hy_config *c = m->order.config;
    struct names names = {&m->carried.layout, &x->spec};
    int rc = hy_slab_draw(params, m->replica, (uint64_t)c->train.seed, e);
    if (!rc && hy_config_takes_weights(c))
        rc = hy_member_take_weights(m, params, !m->goes_on, e);
    return rc || !m->carried.data
               ? rc
               : hy_snapshot_give(&m->carried, carried_name, &names, params, m->replica, e);
}

/* ---- Words ---- */

void hy_selecting_outcome(const struct hy_member *m, char *text, size_t size)
{
    const struct hy_config *c = m->order.config;
    const struct hy_found *f = &m->found;
    const int is_ppl = c->select.metric == HY_METRIC_PPL;
    const struct hy_layout layout = hy_selecting_layout(m);
    const struct hy_layout_text letters = hy_model_layout_text(c->layers.kinds, &layout);
    if (c->select.budget >= 0) {
        snprintf(text, size, "%s, %d full layer%s as asked for", letters.text, c->select.budget,
                 c->select.budget == 1 ? "" : "s");
        return;
    }
    const double limit = limit_of(m);
    snprintf(text, size, "%s, tolerance %s: %s %.4g, %s %.4g%s", letters.text,
             f->met ? "met" : "not met", hy_metric_name(c->select.metric),
             is_ppl ? exp(f->loss) : 1 - f->loss, is_ppl ? "at most" : "at least",
             is_ppl ? exp(limit) : 1 - limit, f->met ? "" : "; this is the nearest");
}

static void tell_layers(const struct hy_member *m, const struct hy_engine *x)
{
    const struct hy_found *f = &m->found;
    for (int i = 0; i < f->layers; i++) {
        const struct hy_kind *kind = &x->spec.kinds[f->full[i] ? HY_FULL : HY_LINEAR];
        const struct {
            const char *name;
            double value;
        } metrics[] = {
            {"importance", f->importance[i]},
            {"gate", f->logits[i]},
            {"loss_added", f->added[i]},
            {"kl", f->probes[i]},
        };
        for (size_t k = 0; k < sizeof metrics / sizeof *metrics; k++)
            if (!isnan(metrics[k].value))
                hy_member_layer(m, kind, i, metrics[k].name, metrics[k].value);
    }
}

/* A loss as the score that it is of. */
static double score_of(const struct hy_config *c, double loss)
{
    return c->select.metric == HY_METRIC_PPL ? exp(loss) : 1 - loss;
}

void hy_selecting_tell(const struct hy_member *m, const struct hy_engine *x)
{
    const struct hy_config *c = m->order.config;
    const struct hy_found *f = &m->found;
    const struct hy_layout layout = hy_selecting_layout(m);
    const int full = hy_layout_count(&layout, HY_FULL);
    const double searched =
        (double)hy_config_stage_start(c, c->select.stage_count) * (double)hy_config_step_tokens(c);
    hy_member_text(m, "layout", hy_model_layout_text(c->layers.kinds, &layout).text);
    hy_member_fact(m, "full_layers", full);
    hy_member_fact(m, "linear_layers", f->layers - full);
    hy_member_fact(m, "select_evaluations", (double)f->evaluations);
    hy_member_fact(m, "select_tokens", searched);
    hy_member_fact(m, "select_given_back", f->given_back);
    if (!isnan(f->reference))
        hy_member_fact(m, "select_reference", score_of(c, f->reference));
    if (c->select.budget < 0)
        hy_member_fact(m, "select_limit", score_of(c, limit_of(m)));
    if (!isnan(f->loss)) {
        char text[256];
        hy_member_fact(m, "select_score", score_of(c, f->loss));
        if (c->select.budget < 0)
            hy_member_fact(m, "select_met", f->met);
        hy_selecting_outcome(m, text, sizeof text);
        hy_member_text(m, "select_outcome", text);
    }
    tell_layers(m, x);
}
