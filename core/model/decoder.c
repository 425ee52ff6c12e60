#include "core/model/decoder.h"

#include <math.h>
#include <string.h>

#include "core/base/rate.h"

int hy_decoder_init(struct hy_decoder *d, const struct hy_model_spec *spec, struct hy_slab *params,
                    int batch, int context, int dry, struct hy_err *e)
{
    const struct hy_shape shape = {.replicas = params->replicas,
                                   .batch = batch,
                                   .tokens = 1,
                                   .context = context,
                                   .mode = HY_CACHED};
    int rc;
    memset(d, 0, sizeof *d);
    hy_slab_init(&d->cache, params->replicas);
    d->graph = hy_graph_new(&shape, params, NULL, &d->cache);
    if (!d->graph)
        return hy_fail_memory(e);
    d->graph->device = d->cache.device = params->device;
    d->graph->dry = dry;
    hy_model_build(spec, d->graph, 0, &d->ends);
    if (!dry && !d->graph->err.code &&
        ((!params->data && (rc = hy_slab_allocate(params, e))) ||
         (rc = hy_slab_allocate(&d->cache, e))))
        return rc;
    if ((rc = hy_graph_plan(d->graph, e)))
        return rc;
    const int64_t declared = hy_model_state_elements(spec, context);
    if (d->cache.count != declared * batch)
        return hy_fail(e, HY_E_RUN,
                       "the cache at %d tokens holds %lld elements, but the variants declare %lld",
                       context, (long long)(d->cache.count / batch), (long long)declared);
    d->cache_bytes = declared * (int64_t)sizeof(hy_real);
    return HY_OK;
}

void hy_decoder_release(struct hy_decoder *d)
{
    hy_graph_free(d->graph);
    hy_slab_release(&d->cache);
    memset(d, 0, sizeof *d);
}

/* The next token depends on this one's logits: there is no running ahead of a device. */
static void decode(void *graph)
{
    struct hy_err ignored; /* stays in the graph */
    hy_graph_run(graph, NULL);
    hy_graph_wait(graph, &ignored);
}

double hy_decoder_rate(struct hy_decoder *d, double seconds)
{
    for (int r = 0; r < d->graph->shape.replicas; r++)
        memset(hy_input(d->ends.tokens, r), 0, (size_t)d->ends.tokens->rows * sizeof(int32_t));
    d->graph->position = d->graph->shape.context - 1;
    const double rate = hy_rate(decode, d->graph, seconds);
    return d->graph->err.code ? NAN : rate;
}
