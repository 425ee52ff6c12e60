#include "core/interchange/imported.h"

#include <string.h>

/* Records the model for one sequence of so many tokens. */
static struct hy_graph *record(struct hy_imported *m, int tokens, struct hy_model_ends *ends,
                               struct hy_err *e)
{
    const struct hy_shape shape = {.replicas = 1, .batch = 1, .tokens = tokens, .mode = HY_EVAL};
    struct hy_graph *g = hy_graph_new(&shape, &m->params, NULL, NULL);
    if (!g)
        hy_fail_memory(e);
    else
        hy_model_build(&m->spec, g, 0, ends);
    return g;
}

static int read_weights(const char *folder, struct hy_imported *m, struct hy_err *e)
{
    struct hy_weights weights;
    struct hy_model_ends ends;
    const struct hy_weights_order order = hy_foreign_order(&m->foreign);
    int rc = hy_weights_open(folder, &weights, e);
    if (rc)
        return rc;
    struct hy_graph *g = record(m, 1, &ends, e);
    rc = g ? g->err.code : e->code;
    if (g && rc)
        *e = g->err;
    hy_graph_free(g);
    if (!rc)
        rc = hy_slab_allocate(&m->params, e);
    if (!rc)
        rc = hy_weights_take(&weights, &order, &m->params, 0, &m->report, e);
    hy_weights_close(&weights);
    return rc;
}

int hy_imported_open(const char *folder, struct hy_imported *out, struct hy_err *e)
{
    memset(out, 0, sizeof *out);
    hy_slab_init(&out->params, 1);
    int rc = hy_foreign_open(folder, &out->foreign, e);
    if (rc)
        return rc;
    if (!out->foreign.json)
        return hy_fail(e, HY_E_USAGE, "%s is no folder", folder);
    rc = hy_foreign_config(&out->foreign, &out->config, e);
    if (rc)
        return hy_err_wrap(e, "%s", folder);
    if (out->config.model.vocab < 1)
        return hy_fail(e, HY_E_USAGE, "%s: config.json has no vocab_size", folder);
    out->spec = hy_config_model(&out->config, out->config.model.vocab);
    return read_weights(folder, out, e);
}

void hy_imported_release(struct hy_imported *m)
{
    hy_slab_release(&m->params);
    hy_weights_report_release(&m->report);
    hy_config_release(&m->config);
    hy_foreign_close(&m->foreign);
}

int hy_imported_logits(struct hy_imported *m, const int32_t *tokens, int count, float *logits,
                       struct hy_err *e)
{
    struct hy_model_ends ends;
    for (int i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= m->spec.vocab)
            return hy_fail(e, HY_E_USAGE, "token %d is %d, but the vocabulary has %d", i + 1,
                           tokens[i], m->spec.vocab);
    struct hy_graph *g = record(m, count, &ends, e);
    if (!g)
        return e->code;
    int rc = hy_graph_plan(g, e);
    if (!rc) {
        memcpy(hy_input(ends.tokens, 0), tokens, (size_t)count * sizeof *tokens);
        hy_graph_run(g, NULL);
        rc = hy_graph_read(ends.logits, 0, logits, e);
    }
    hy_graph_free(g);
    return rc;
}
