#include "core/model/trainer.h"

#include <math.h>
#include <string.h>

int hy_trainer_init(struct hy_trainer *t, const struct hy_model_spec *spec,
                    const struct hy_shape *shape, int64_t max_labels, int dry, struct hy_err *e)
{
    int rc;
    memset(t, 0, sizeof *t);
    hy_slab_init(&t->params, shape->replicas);
    t->graph = hy_graph_new(shape, &t->params, &t->grads, NULL);
    if (!t->graph)
        return hy_fail_memory(e);
    t->graph->dry = dry;
    hy_model_build(spec, t->graph, max_labels, &t->ends);
    t->weights =
        hy_graph_input(t->graph, "weights", HY_REAL, (int64_t)shape->batch * shape->tokens, 1);
    if (t->graph->err.code) {
        *e = t->graph->err;
        return e->code;
    }
    if (!dry &&
        ((rc = hy_slab_allocate(&t->params, e)) || (rc = hy_slab_like(&t->grads, &t->params, e)) ||
         (rc = hy_adamw_init(&t->optimizer, &t->params, e))))
        return rc;
    if ((rc = hy_graph_backward(t->graph, 1, &t->ends.nll, &t->weights, e)) ||
        (rc = hy_graph_plan(t->graph, e)))
        return rc;
    t->cost = hy_graph_cost(t->graph);
    t->bytes = 4 * t->params.count * (int64_t)sizeof(hy_real) + (int64_t)t->graph->arena_bytes;
    return HY_OK;
}

void hy_trainer_release(struct hy_trainer *t)
{
    hy_graph_free(t->graph);
    hy_adamw_release(&t->optimizer);
    hy_slab_release(&t->grads);
    hy_slab_release(&t->params);
    memset(t, 0, sizeof *t);
}

int hy_trainer_step(struct hy_trainer *t, int64_t step, const struct hy_update *u, double *loss,
                    double *norm)
{
    hy_graph_run(t->graph, NULL);
    const hy_real *nll = hy_real_data(t->ends.nll, 0), *weights = hy_real_data(t->weights, 0);
    *loss = 0;
    for (int64_t i = 0; i < t->weights->rows; i++)
        *loss += (double)weights[i] * (double)nll[i];
    *norm = hy_adamw_norm(&t->grads, 0);
    if (!isfinite(*loss) || !isfinite(*norm))
        return 0;
    hy_adamw_step(&t->optimizer, &t->params, &t->grads, 0, step, u->lr, u->weight_decay, u->clip,
                  *norm);
    return 1;
}
