#include "core/trial/engine.h"

#include <string.h>

struct hy_model_spec hy_engine_spec(const struct hy_config *c, int vocab)
{
    return (struct hy_model_spec){
        .d_model = c->model.d_model,
        .layers = c->model.layers,
        .heads = c->model.heads,
        .mlp = c->model.mlp,
        .vocab = vocab,
        .norm_eps = c->model.norm_eps,
        .init_std = c->model.init_std,
        .linear = c->mixer.linear,
        .full = c->mixer.full,
        .linear_options = c->mixer.linear_options,
        .full_options = c->mixer.full_options,
        .layout = c->mixer.layout,
    };
}

/* Sequences of an evaluation batch: as many tokens as a training batch has, at most. */
static int eval_batch(const struct hy_config *c, int seq_len)
{
    const int64_t fit = (int64_t)c->train.batch * c->train.seq_len / seq_len;
    return fit < 1 ? 1 : fit < c->train.batch ? (int)fit : c->train.batch;
}

/* Records one evaluation graph for each length of evaluation sequences. */
static int record_evaluators(struct hy_engine *x, const struct hy_config *c, int dry,
                             struct hy_err *e)
{
    for (int s = 0; s < hy_data_eval_count(x->data); s++) {
        const int seq_len = hy_data_eval_seq_len(x->data, s);
        const struct hy_shape shape = {
            .replicas = 1, .batch = eval_batch(c, seq_len), .tokens = seq_len, .mode = HY_EVAL};
        if (hy_engine_evaluator(x, s))
            continue;
        struct hy_evaluator *v = &x->evaluators[x->evaluator_count];
        v->graph = hy_graph_new(&shape, &x->params, NULL, NULL);
        if (!v->graph)
            return hy_fail_memory(e);
        x->evaluator_count++;
        v->graph->dry = dry;
        hy_model_build(&x->spec, v->graph, hy_data_max_eval_labels(x->data, seq_len, shape.batch),
                       &v->ends);
    }
    return HY_OK;
}

static int plan_evaluators(struct hy_engine *x, struct hy_err *e)
{
    for (int i = 0; i < x->evaluator_count; i++) {
        struct hy_evaluator *v = &x->evaluators[i];
        const int rc = hy_graph_plan(v->graph, e);
        if (rc)
            return rc;
        v->cost = hy_graph_cost(v->graph);
    }
    return HY_OK;
}

static int build(struct hy_engine *x, const struct hy_config *c, int dry, struct hy_err *e)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = c->train.batch, .tokens = c->train.seq_len, .mode = HY_TRAIN};
    int rc;

    x->train = hy_graph_new(&shape, &x->params, &x->grads, NULL);
    if (!x->train)
        return hy_fail_memory(e);
    x->train->dry = dry;
    hy_model_build(&x->spec, x->train, hy_data_max_train_labels(x->data, shape.batch),
                   &x->train_ends);
    x->weights =
        hy_graph_input(x->train, "weights", HY_REAL, (int64_t)shape.batch * shape.tokens, 1);
    if ((rc = record_evaluators(x, c, dry, e)))
        return rc;
    if (x->train->err.code) {
        *e = x->train->err;
        return e->code;
    }
    if (!dry &&
        ((rc = hy_slab_allocate(&x->params, e)) || (rc = hy_slab_like(&x->grads, &x->params, e)) ||
         (rc = hy_adamw_init(&x->optimizer, &x->params, e))))
        return rc;
    if ((rc = hy_graph_backward(x->train, 1, &x->train_ends.nll, &x->weights, e)) ||
        (rc = hy_graph_plan(x->train, e)) || (rc = plan_evaluators(x, e)))
        return rc;
    x->train_cost = hy_graph_cost(x->train);
    x->train_bytes =
        4 * x->params.count * (int64_t)sizeof(hy_real) + (int64_t)x->train->arena_bytes;
    return HY_OK;
}

int hy_engine_init(struct hy_engine *x, const struct hy_config *c, int dry, struct hy_err *e)
{
    const struct hy_task_env env = {.seq_len = c->train.seq_len, .seed = (uint64_t)c->train.seed};
    memset(x, 0, sizeof *x);
    hy_slab_init(&x->params, 1);
    int rc = hy_data_open(c->data.train, c->data.train_count, c->data.eval, c->data.eval_count,
                          &env, &x->data, e);
    if (rc)
        return rc;
    const int needed = hy_data_vocab(x->data), vocab = c->model.vocab;
    if (vocab && vocab < needed)
        return hy_fail(e, HY_E_USAGE, "model.vocab is %d but the tasks use %d tokens", vocab,
                       needed);
    x->spec = hy_engine_spec(c, vocab ? vocab : needed);
    x->optimizer.beta1 = c->train.beta1;
    x->optimizer.beta2 = c->train.beta2;
    x->optimizer.eps = c->train.eps;
    return build(x, c, dry, e);
}

void hy_engine_release(struct hy_engine *x)
{
    hy_graph_free(x->train);
    for (int i = 0; i < x->evaluator_count; i++)
        hy_graph_free(x->evaluators[i].graph);
    hy_adamw_release(&x->optimizer);
    hy_slab_release(&x->grads);
    hy_slab_release(&x->params);
    hy_data_close(x->data);
    memset(x, 0, sizeof *x);
}

struct hy_evaluator *hy_engine_evaluator(struct hy_engine *x, int source)
{
    for (int i = 0; i < x->evaluator_count; i++)
        if (x->evaluators[i].graph->shape.tokens == hy_data_eval_seq_len(x->data, source))
            return &x->evaluators[i];
    return NULL;
}

int hy_engine_cache_bytes(const struct hy_engine *x, int context, int64_t *bytes, struct hy_err *e)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = 1, .tokens = 1, .context = context, .mode = HY_CACHED};
    struct hy_slab params = x->params, cache;
    struct hy_model_ends ends;
    hy_slab_init(&cache, 1);
    struct hy_graph *g = hy_graph_new(&shape, &params, NULL, &cache);
    int rc = HY_OK;
    if (!g) {
        rc = hy_fail_memory(e);
        goto out;
    }
    g->dry = x->train->dry;
    hy_model_build(&x->spec, g, 0, &ends);
    if (!g->dry && !g->err.code && (rc = hy_slab_allocate(&cache, e)))
        goto out;
    if ((rc = hy_graph_plan(g, e)))
        goto out;
    const int64_t declared = hy_model_state_elements(&x->spec, context);
    if (cache.count != declared) {
        rc = hy_fail(e, HY_E_RUN,
                     "the cache at %d tokens holds %lld elements, but the variants declare %lld",
                     context, (long long)cache.count, (long long)declared);
        goto out;
    }
    *bytes = cache.count * (int64_t)sizeof(hy_real);
out:
    hy_graph_free(g);
    hy_slab_release(&cache);
    return rc;
}
