#include "core/trial/engine.h"

#include <stdlib.h>
#include <string.h>

#include "core/ops/products/gemm.h"
#include "core/config/read.h"
#include "core/interchange/interchange.h"
#include "core/model/decoder.h"
#include "core/trial/shares.h"

/* Long enough for a median, short beside any training. */
static const double decoding_seconds = 0.05;

/* Sequences of an evaluation batch: as many tokens as a training batch has, at most. */
static int eval_batch(const struct hy_config *c, int seq_len)
{
    const int64_t fit = hy_config_step_tokens(c) / seq_len;
    return fit < 1 ? 1 : fit < c->train.batch ? (int)fit : c->train.batch;
}

static void free_evaluators(struct hy_engine *x)
{
    for (int i = 0; i < x->evaluator_count; i++)
        hy_graph_free(x->evaluators[i].graph);
    x->evaluator_count = 0;
}

/* Builds one evaluation graph for each length of evaluation sequences. */
static int build_evaluators(struct hy_engine *x, const struct hy_config *c, int dry,
                            struct hy_err *e)
{
    int rc;
    for (int s = 0; s < hy_data_eval_count(x->data); s++) {
        const int seq_len = hy_data_eval_seq_len(x->data, s);
        const struct hy_shape shape = {.replicas = x->replicas,
                                       .batch = eval_batch(c, seq_len),
                                       .tokens = seq_len,
                                       .mode = HY_EVAL,
                                       .precision = c->train.precision};
        if (hy_engine_evaluator(x, s))
            continue;
        struct hy_evaluator *v = &x->evaluators[x->evaluator_count];
        v->graph = hy_graph_new(&shape, &x->trainer.params, NULL, NULL);
        if (!v->graph)
            return hy_fail_memory(e);
        x->evaluator_count++;
        v->graph->device = x->device;
        v->graph->dry = dry;
        struct hy_model_spec spec = x->spec;
        spec.component = x->component;
        spec.gating = spec.gating ? &x->given : NULL;
        hy_model_build(&spec, v->graph, hy_data_max_eval_labels(x->data, seq_len, shape.batch),
                       &v->ends);
        hy_shares_keep(&v->ends, spec.layers);
        if ((rc = hy_graph_plan(v->graph, e)))
            return rc;
        v->cost = hy_graph_cost(v->graph);
    }
    return HY_OK;
}

static int check_precision(const struct hy_config *c, const struct hy_device *device,
                           struct hy_err *e)
{
    const struct hy_place at = hy_place_of(hy_value_at(c->tree, "train.precision"));
    /* Where a CUDA run is planned on a machine without a device, the device will tell. */
    return !device && strncmp(c->run.device, "cuda", 4) != 0 && hy_gemm_check(c->train.precision, e)
               ? hy_err_wrap(e, "%strain.precision", at.text)
               : HY_OK;
}

/* Opens the data of each replica. *labels grows to the most labelled positions in a batch of any.
 */
static int open_data(struct hy_engine *x, const struct hy_config *const *configs, int64_t *labels,
                     struct hy_err *e)
{
    x->sources = calloc((size_t)x->replicas, sizeof *x->sources);
    if (!x->sources)
        return hy_fail_memory(e);
    for (int r = 0; r < x->replicas; r++) {
        const struct hy_config *c = configs[r];
        const struct hy_task_env env = {.seq_len = c->train.seq_len,
                                        .seed = (uint64_t)c->train.seed};
        const int rc = hy_data_open(c->data.train, c->data.train_count, c->data.eval,
                                    c->data.eval_count, &env, &x->sources[r], e);
        if (rc)
            return rc;
        const int64_t most = hy_data_max_train_labels(x->sources[r], c->train.batch);
        *labels = most > *labels ? most : *labels;
    }
    x->data = x->sources[0];
    return HY_OK;
}

/* Reads what the model in a folder is, where a stage learns from it. */
static int read_teacher(struct hy_engine *x, const struct hy_config *c, struct hy_err *e)
{
    struct hy_foreign foreign;
    int needed = 0;
    for (int i = 0; i < c->stage_count; i++)
        needed |= hy_stage_needs_teacher(&c->stages[i]);
    if (!needed || !c->init.folder)
        return HY_OK;
    x->folder = calloc(1, sizeof *x->folder);
    if (!x->folder)
        return hy_fail_memory(e);
    int rc = hy_foreign_open(c->init.folder, &foreign, e);
    if (!rc)
        rc = hy_foreign_config(&foreign, x->folder, e);
    hy_foreign_close(&foreign);
    return rc ? hy_err_wrap(e, "%s", c->init.folder) : HY_OK;
}

/* The teacher of a stage: what its weights come from; all zeros where none is needed. */
static struct hy_model_spec teacher_of(const struct hy_engine *x, const struct hy_config *c,
                                       int stage)
{
    const struct hy_config *source = x->folder ? x->folder : c->init.source;
    if (!source || !hy_stage_needs_teacher(hy_config_stage(c, stage)))
        return (struct hy_model_spec){0};
    const int own = source->model.vocab;
    struct hy_model_spec teacher = hy_config_model(source, own ? own : x->spec.vocab);
    teacher.prefix = HY_TEACHER_PREFIX;
    return teacher;
}

/* How the graph of a stage gates its layers. */
static struct hy_gating gating_of(const struct hy_config *c, int stage)
{
    static const enum hy_gating_mode modes[] = {
        [HY_STAGE_ALIGN] = HY_GATING_TWINS,
        [HY_STAGE_GATES] = HY_GATING_HARD,
        [HY_STAGE_PROBES] = HY_GATING_GIVEN,
    };
    const enum hy_stage_role role = hy_config_stage(c, stage)->role;
    struct hy_gating g = {.mode = modes[role], .gain = 1};
    if (role == HY_STAGE_GATES) {
        g.gain = hy_get_real(c->select.options, "gain");
        if (!strcmp(hy_get_string(c->select.options, "form"), "soft"))
            g.mode = HY_GATING_SOFT;
    }
    return g;
}

/* The model of a stage, whose gating stays where `gating` is. layout: of runs that have selected
 * their layers. */
static struct hy_model_spec spec_of(const struct hy_config *c, int vocab, int stage,
                                    const struct hy_layout *layout, struct hy_gating *gating)
{
    struct hy_model_spec spec = hy_config_model(c, vocab);
    unsigned char full[HY_MAX_LAYERS];
    if (!c->select.method)
        return spec;
    if (stage < c->select.stage_count) {
        *gating = gating_of(c, stage);
        spec.gating = gating;
        return spec;
    }
    memset(full, 1, sizeof full);
    spec.layout = layout ? *layout : hy_config_selected_layout(c, full);
    return spec;
}

static int init_trainer(const struct hy_engine *x, const struct hy_engine_plan *p, int stage,
                        int replicas, int64_t labels, int dry, struct hy_trainer *out,
                        struct hy_err *e)
{
    const struct hy_config *c = p->configs[0];
    struct hy_shape shape = hy_config_step_shape(c);
    struct hy_gating gating;
    const struct hy_model_spec spec = spec_of(c, x->spec.vocab, stage, p->layout, &gating);
    const struct hy_model_spec teacher = teacher_of(x, c, stage);
    const struct hy_trainer_plan plan = {
        .spec = &spec,
        .shape = &shape,
        .max_labels = labels,
        .stage = hy_config_stage(c, stage),
        .teacher = teacher.layers ? &teacher : NULL,
        .device = x->device,
        .dry = dry,
    };
    const struct hy_value *stages = hy_value_get(c->tree, "stages");
    shape.replicas = replicas;
    const int rc = hy_trainer_init(out, &plan, e);
    if (rc && stage < c->select.stage_count)
        return hy_mark_wrap(c->select.options->mark, e);
    const size_t own = (size_t)(stage - c->select.stage_count);
    return rc && stages && own < stages->count ? hy_mark_wrap(stages->items[own]->mark, e) : rc;
}

static struct hy_stage_cost cost_of(const struct hy_trainer *t)
{
    return (struct hy_stage_cost){t->bytes, t->optimizer.m.count, t->cost.flops};
}

/* What each stage takes for one replica: a gang's arena holds the inputs of all replicas, so that
 * its share is not what one run needs. */
static int plan_stages(struct hy_engine *x, const struct hy_engine_plan *p, int64_t labels,
                       struct hy_err *e)
{
    const struct hy_config *c = p->configs[0];
    int rc = HY_OK;
    for (int i = 0; i < c->stage_count && !rc; i++) {
        struct hy_trainer other;
        if (i == x->stage && x->replicas == 1) {
            x->costs[i] = cost_of(&x->trainer);
        } else {
            rc = init_trainer(x, p, i, 1, labels, 1, &other, e);
            x->costs[i] = cost_of(&other);
            hy_trainer_release(&other);
        }
        if (!i || x->costs[i].bytes.all > x->alone.all)
            x->alone = x->costs[i].bytes;
    }
    return rc;
}

int hy_engine_init(struct hy_engine *x, const struct hy_engine_plan *plan, struct hy_err *e)
{
    const struct hy_config *c = plan->configs[0];
    int64_t labels = 0;
    memset(x, 0, sizeof *x);
    x->device = plan->device;
    x->replicas = plan->count;
    x->stage = plan->stage;
    x->config = c;
    x->given = (struct hy_gating){HY_GATING_GIVEN, 1};
    struct hy_device_memory memory;
    if (x->device && !plan->dry && !hy_device_memory(x->device, &memory, NULL))
        x->device_base = memory.used;
    int rc = check_precision(c, x->device, e);
    if (rc || (rc = open_data(x, plan->configs, &labels, e)))
        return rc;
    const int needed = hy_data_vocab(x->data), vocab = c->model.vocab;
    if (vocab && vocab < needed)
        return hy_fail(e, HY_E_USAGE, "model.vocab is %d but the tasks use %d tokens", vocab,
                       needed);
    x->spec = spec_of(c, vocab ? vocab : needed, x->stage, plan->layout, &x->gating);
    x->full = calloc((size_t)x->replicas, (size_t)x->spec.layers);
    if (!x->full)
        return hy_fail_memory(e);
    if ((rc = read_teacher(x, c, e)))
        return rc;
    x->teacher = teacher_of(x, c, x->stage);
    rc = init_trainer(x, plan, x->stage, x->replicas, labels, plan->dry, &x->trainer, e);
    if (!rc)
        rc = plan_stages(x, plan, labels, e);
    if (rc)
        return rc;
    x->trainer.optimizer.beta1 = c->train.beta1;
    x->trainer.optimizer.beta2 = c->train.beta2;
    x->trainer.optimizer.eps = c->train.eps;
    const struct hy_stage *stage = hy_config_stage(c, x->stage);
    x->spec.lora = stage->lora.rank ? &stage->lora : NULL;
    if ((rc = hy_shares_init(x, e)))
        return rc;
    return build_evaluators(x, c, plan->dry, e);
}

void hy_engine_release(struct hy_engine *x)
{
    free_evaluators(x);
    hy_shares_release(x);
    hy_trainer_release(&x->trainer);
    for (int r = 0; x->sources && r < x->replicas; r++)
        hy_data_close(x->sources[r]);
    free(x->sources);
    free(x->full);
    if (x->folder)
        hy_config_release(x->folder);
    free(x->folder);
    memset(x, 0, sizeof *x);
}

struct hy_evaluator *hy_engine_evaluator(struct hy_engine *x, int source)
{
    for (int i = 0; i < x->evaluator_count; i++)
        if (x->evaluators[i].graph->shape.tokens == hy_data_eval_seq_len(x->data, source))
            return &x->evaluators[i];
    return NULL;
}

int hy_engine_look_at(struct hy_engine *x, enum hy_component component, struct hy_err *e)
{
    if (x->component == component)
        return HY_OK;
    free_evaluators(x);
    x->component = component;
    return build_evaluators(x, x->config, x->trainer.graph->dry, e);
}

double hy_engine_step_flops(const struct hy_engine *x, const struct hy_config *c)
{
    double flops = 0;
    if (c->stage_count == 1)
        return x->costs[0].flops;
    for (int i = 0; i < c->stage_count; i++)
        flops += x->costs[i].flops * (double)c->stages[i].steps;
    return flops / (double)c->train.steps;
}

int64_t hy_engine_bytes(const struct hy_engine *x)
{
    int64_t sum = x->trainer.bytes.all;
    if (x->replicas == 1 && x->alone.all > sum)
        sum = x->alone.all;
    for (int i = 0; i < x->evaluator_count; i++)
        sum += (int64_t)x->evaluators[i].graph->arena_bytes;
    return sum;
}

int hy_engine_measure_cache(struct hy_engine *x, int context, int64_t *bytes, double *tokens_per_s,
                            struct hy_err *e)
{
    struct hy_decoder d;
    struct hy_slab first = x->trainer.params; /* a cache takes as much, whatever the parameters */
    first.replicas = 1;
    const int rc = hy_decoder_init(&d, &x->spec, &first, 1, context, x->trainer.graph->dry, e);
    if (!rc)
        *bytes = d.cache_bytes;
    if (!rc && tokens_per_s)
        *tokens_per_s = hy_decoder_rate(&d, decoding_seconds);
    hy_decoder_release(&d);
    return rc;
}
