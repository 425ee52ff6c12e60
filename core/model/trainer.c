#include "core/model/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/update.h"

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

int hy_trainer_init(struct hy_trainer *t, const struct hy_model_spec *spec,
                    const struct hy_shape *shape, struct hy_device *device, int64_t max_labels,
                    int dry, struct hy_err *e)
{
    int rc;
    memset(t, 0, sizeof *t);
    hy_slab_init(&t->params, shape->replicas);
    hy_slab_init(&t->grads, shape->replicas);
    t->params.device = t->grads.device = device;
    t->graph = hy_graph_new(shape, &t->params, &t->grads, NULL);
    if (!t->graph)
        return hy_fail_memory(e);
    t->graph->device = device;
    t->graph->dry = dry;
    hy_model_build(spec, t->graph, max_labels, &t->ends);
    t->weights =
        hy_graph_input(t->graph, "weights", HY_REAL, (int64_t)shape->batch * shape->tokens, 1);
    if (t->graph->err.code) {
        *e = t->graph->err;
        return e->code;
    }
    if ((rc = hy_graph_backward(t->graph, 1, &t->ends.nll, &t->weights, e)) ||
        (rc = hy_adamw_plan(&t->optimizer, &t->params, &t->grads, e)) ||
        (!dry && (rc = allocate(t, e))))
        return rc;
    t->cost = hy_graph_cost(t->graph);
    if (device)
        hy_update_append(t);
    if ((rc = hy_graph_plan(t->graph, e)))
        return rc;
    count_bytes(t);
    return HY_OK;
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

static double loss_of(const struct hy_trainer *t, int replica)
{
    const hy_real *nll = hy_real_data(t->ends.nll, replica);
    const hy_real *weights = hy_real_data(t->weights, replica);
    double loss = 0;
    for (int64_t i = 0; i < t->weights->rows; i++)
        loss += (double)weights[i] * (double)nll[i];
    return loss;
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
