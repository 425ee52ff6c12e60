#include "core/model/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/groups.h"
#include "core/model/update.h"
#include "core/ops/sum.h"

static int allocate(struct hy_trainer *t, struct hy_err *e)
{
    const size_t replicas = (size_t)t->params.replicas;
    int rc;
    t->frozen = calloc(replicas, sizeof *t->frozen);
    t->active = calloc(replicas, sizeof *t->active);
    t->ahead = calloc(replicas, sizeof *t->ahead);
    t->outcomes = calloc(HY_TRAINER_BACKLOG * replicas, sizeof *t->outcomes);
    if (!t->frozen || !t->active || !t->ahead || !t->outcomes)
        return hy_fail_memory(e);
    if ((rc = hy_slab_allocate(&t->params, e)) || (rc = hy_slab_allocate(&t->grads, e)))
        return rc;
    return hy_adamw_allocate(&t->optimizer, e);
}

static void count_bytes(struct hy_trainer *t)
{
    const int64_t each = t->params.replicas * (int64_t)sizeof(hy_real);
    t->bytes = (struct hy_trainer_bytes){
        .params = t->params.count * each,
        .gradients = t->grads.count * each,
        .optimizer = 2 * t->optimizer.m.count * each, /* two moments */
        .activations = (int64_t)t->graph->arena_bytes,
    };
    t->bytes.all = t->bytes.params + t->bytes.gradients + t->bytes.optimizer + t->bytes.activations;
}

static int is_trained(const void *stage, const struct hy_entry *entry)
{
    return hy_stage_trains(stage, entry->name);
}

/* weight times x. */
static struct hy_tensor *scaled(struct hy_graph *g, struct hy_tensor *x, double weight)
{
    return x && weight != 1 ? hy_sum(g, 1, &x, weight) : x;
}

/* Adds a loss to those of its sort. */
static void add_loss(struct hy_graph *g, struct hy_tensor **all, struct hy_tensor *loss)
{
    *all = *all ? hy_sum(g, 2, (struct hy_tensor *[]){*all, loss}, 1) : loss;
}

/* Records the stage's objectives between student and teacher. */
static void build_objectives(struct hy_trainer *t, const struct hy_trainer_plan *p,
                             const struct hy_model_spec *student, struct hy_model_ends *teacher)
{
    struct hy_graph *g = t->graph;
    const int64_t rows = (int64_t)p->shape->batch * p->shape->tokens;
    for (int i = 0; i < p->stage->objective_count && !g->err.code; i++) {
        const struct hy_objective *o = p->stage->objectives[i].objective;
        if (!o->every_token && !t->ends.labels)
            t->ends.labels = hy_graph_input(g, "labels", HY_INT32, rows, 1);
        const struct hy_objective_ends ends = {
            .graph = g,
            .spec = student,
            .student = &t->ends,
            .teacher = p->teacher ? teacher : NULL,
            .labels = t->ends.labels,
            .max_labels = p->max_labels,
            .options = p->stage->objectives[i].options,
        };
        if (o->needs_teacher && !p->teacher)
            hy_graph_fail(g, "objective %s needs a teacher", o->name);
        else
            add_loss(g, o->every_token ? &t->token_loss : &t->loss,
                     scaled(g, o->build(&ends), p->stage->objectives[i].weight));
    }
}

/* Layers are compared one by one, as they are. */
static int is_alike(struct hy_graph *g, const struct hy_model_spec *student,
                    const struct hy_model_spec *teacher)
{
    if (student->layers != teacher->layers)
        hy_graph_fail(g,
                      "the model has %d layers and its teacher %d: their layers cannot be "
                      "compared one by one",
                      student->layers, teacher->layers);
    else if (student->d_model != teacher->d_model)
        hy_graph_fail(g,
                      "the model's d_model is %d and its teacher's %d: their layers cannot be "
                      "compared",
                      student->d_model, teacher->d_model);
    return !g->err.code;
}

/* Records the student, then its teacher; or, where the student's mixers read what the teacher's do,
 * the teacher first. */
static void build_models(struct hy_trainer *t, const struct hy_trainer_plan *p,
                         struct hy_model_spec *student, struct hy_model_ends *teacher)
{
    struct hy_graph *g = t->graph;
    const int forced = p->teacher && hy_stage_is_forced(p->stage);
    if (forced) {
        if (!is_alike(g, student, p->teacher))
            return;
        hy_model_body(p->teacher, g, teacher);
        t->ends.tokens = teacher->tokens;
        student->forced = teacher;
    }
    hy_model_body(student, g, &t->ends);
    if (p->teacher && !forced) {
        teacher->tokens = t->ends.tokens;
        hy_model_body(p->teacher, g, teacher);
    }
}

/* Records the models and the losses. */
static void build(struct hy_trainer *t, const struct hy_trainer_plan *p)
{
    struct hy_graph *g = t->graph;
    const int64_t rows = (int64_t)p->shape->batch * p->shape->tokens;
    struct hy_model_spec student = *p->spec;
    struct hy_model_ends teacher = {0};
    student.lora = p->stage->lora.rank ? &p->stage->lora : NULL;
    student.component = p->stage->component;
    student.drops = p->stage->dropout_count > 0;
    build_models(t, p, &student, &teacher);
    build_objectives(t, p, &student, &teacher);
    if (t->loss) {
        hy_graph_keep(t->loss);
        t->weights = hy_graph_input(g, "weights", HY_REAL, rows, 1);
    }
    if (t->token_loss) {
        hy_graph_keep(t->token_loss);
        t->token_weights = hy_graph_input(g, "token_weights", HY_REAL, rows, 1);
    }
}

/* A stage must change something, and what it says of low-rank additions must find its weights. */
static int check_stage(const struct hy_trainer *t, const struct hy_stage *stage, struct hy_err *e)
{
    int additions = 0;
    for (int i = 0; i < t->params.entry_count; i++)
        additions += hy_group_has("lora", t->params.entries[i].name);
    if (stage->lora.rank && !additions)
        return hy_fail(e, HY_E_USAGE,
                       "the model has no projection of the names that lora.on gives");
    for (size_t k = 0; stage->trains && k < stage->trains->count; k++) {
        const struct hy_value *name = stage->trains->items[k];
        int found = 0;
        for (int i = 0; i < t->params.entry_count && !found; i++)
            found = hy_group_has(name->string, t->params.entries[i].name);
        if (!found)
            return hy_fail(e, HY_E_USAGE, "the model has no parameter of '%.80s'", name->string);
    }
    if (!t->optimizer.m.count)
        return hy_fail(e, HY_E_USAGE,
                       "the stage trains nothing: its objectives depend on none of the model's "
                       "parameters that `train` names");
    return HY_OK;
}

static void fill_token_weights(struct hy_trainer *t)
{
    for (int r = 0; t->token_weights && r < t->params.replicas; r++) {
        hy_real *weights = hy_input(t->token_weights, r);
        for (int64_t i = 0; i < t->token_weights->rows; i++)
            weights[i] = 1 / (hy_real)t->token_weights->rows;
    }
}

/* Backward ops of the losses that there are. */
static int append_backward(struct hy_trainer *t, struct hy_err *e)
{
    struct hy_tensor *y[2], *dy[2];
    int count = 0;
    if (t->loss) {
        y[count] = t->loss;
        dy[count++] = t->weights;
    }
    if (t->token_loss) {
        y[count] = t->token_loss;
        dy[count++] = t->token_weights;
    }
    return hy_graph_backward(t->graph, count, y, dy, e);
}

static int init(struct hy_trainer *t, const struct hy_trainer_plan *p, struct hy_err *e)
{
    int rc;
    t->graph = hy_graph_new(p->shape, &t->params, &t->grads, NULL);
    if (!t->graph)
        return hy_fail_memory(e);
    t->graph->device = p->device;
    t->graph->dry = p->dry;
    build(t, p);
    if (t->graph->err.code) {
        *e = t->graph->err;
        return e->code;
    }
    if ((rc = append_backward(t, e)) ||
        (rc = hy_adamw_plan(&t->optimizer, &t->params, &t->grads, e)) ||
        (rc = check_stage(t, p->stage, e)) || (!p->dry && (rc = allocate(t, e))))
        return rc;
    t->cost = hy_graph_cost(t->graph);
    if (p->device)
        hy_update_append(t);
    if ((rc = hy_graph_plan(t->graph, e)))
        return rc;
    count_bytes(t);
    if (!p->dry)
        fill_token_weights(t);
    return HY_OK;
}

int hy_trainer_init(struct hy_trainer *t, const struct hy_trainer_plan *p, struct hy_err *e)
{
    static const struct hy_stage plain = {.objective_count = 1,
                                          .objectives = {{&hy_objective_lm, NULL, 1}}};
    struct hy_trainer_plan plan = *p;
    memset(t, 0, sizeof *t);
    hy_slab_init(&t->params, p->shape->replicas);
    hy_slab_init(&t->grads, p->shape->replicas);
    t->params.device = t->grads.device = p->device;
    if (!plan.stage)
        plan.stage = &plain;
    if (!hy_stage_is_plain(plan.stage)) {
        t->params.trains = is_trained;
        t->params.context = plan.stage;
    }
    const int rc = init(t, &plan, e);
    t->params.trains = NULL; /* the stage may be gone from now on */
    return rc;
}

void hy_trainer_release(struct hy_trainer *t)
{
    hy_graph_free(t->graph);
    hy_adamw_release(&t->optimizer);
    hy_slab_release(&t->grads);
    hy_slab_release(&t->params);
    free(t->frozen);
    free(t->active);
    free(t->ahead);
    free(t->outcomes);
    memset(t, 0, sizeof *t);
}

static double sum_of(const struct hy_tensor *loss, const struct hy_tensor *weights, int replica)
{
    const hy_real *x = hy_real_data(loss, replica), *w = hy_real_data(weights, replica);
    double sum = 0;
    for (int64_t i = 0; x && i < weights->rows; i++)
        sum += (double)w[i] * (double)x[i];
    return sum;
}

static double loss_of(const struct hy_trainer *t, int replica)
{
    return sum_of(t->loss, t->weights, replica) + sum_of(t->token_loss, t->token_weights, replica);
}

/* On the CPU a replica's update follows its run, while its gradients are in the caches. */
static void step_replica(struct hy_trainer *t, int replica, int64_t step, const struct hy_update *u,
                         struct hy_outcome *out)
{
    *out = (struct hy_outcome){NAN, NAN};
    if (t->frozen[replica])
        return;
    *out =
        (struct hy_outcome){loss_of(t, replica), hy_adamw_norm(&t->optimizer, &t->grads, replica)};
    if (isfinite(out->loss) && isfinite(out->norm))
        hy_adamw_step(&t->optimizer, &t->params, &t->grads, replica, step, u->lr, u->weight_decay,
                      u->clip, out->norm);
    else
        t->frozen[replica] = 1;
}

void hy_trainer_step(struct hy_trainer *t, int64_t step, const struct hy_update *u)
{
    const int replicas = t->params.replicas;
    if (t->pending == HY_TRAINER_BACKLOG)
        abort();
    if (t->graph->device) {
        hy_update_fill(t, step, u);
        hy_graph_run(t->graph, NULL);
    } else {
        for (int r = 0; r < replicas; r++)
            t->active[r] = !t->frozen[r];
        hy_graph_run(t->graph, t->active);
        for (int r = 0; r < replicas; r++)
            step_replica(t, r, step + t->ahead[r], &u[r], &t->outcomes[t->pending * replicas + r]);
    }
    t->pending++;
}

int hy_trainer_due(const struct hy_trainer *t)
{
    return t->pending == (t->graph->device ? HY_TRAINER_BACKLOG : 1);
}

int hy_trainer_collect(struct hy_trainer *t, int *steps, struct hy_err *e)
{
    const int rc = t->graph->device && t->pending ? hy_update_read(t, e) : HY_OK;
    if (rc)
        return rc;
    *steps = t->pending;
    t->pending = 0;
    return HY_OK;
}
