#include "core/trial/shares.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t place(const struct hy_engine *x, int replica, int layer, int head)
{
    return ((size_t)replica * (size_t)x->spec.layers + (size_t)layer) * (size_t)x->spec.heads +
           (size_t)head;
}

int hy_shares_reach(const struct hy_model_spec *spec)
{
    int64_t reach = 0;
    for (int i = 0; i < spec->layers; i++) {
        const struct hy_kind *k = hy_model_kind(spec, i);
        for (int b = 0; b < k->branch_count; b++) {
            const struct hy_value *options = k->branches[b].options;
            if (!k->branches[b].variant->components || !hy_value_get(options, "window"))
                continue;
            const int terraced = !strcmp(hy_get_string(options, "window_kind"), "terraced");
            const int64_t own = hy_get_int(options, "window") * (terraced ? 2 : 1);
            reach = own > reach ? own : reach;
        }
    }
    return (int)reach;
}

int hy_shares_init(struct hy_engine *x, struct hy_err *e)
{
    if (!hy_shares_reach(&x->spec))
        return HY_OK;
    x->shares = calloc(place(x, x->replicas, 0, 0), sizeof *x->shares);
    return x->shares ? HY_OK : hy_fail_memory(e);
}

void hy_shares_release(struct hy_engine *x)
{
    free(x->shares);
    x->shares = NULL;
}

void hy_shares_clear(struct hy_engine *x)
{
    if (x->shares)
        memset(x->shares, 0, place(x, x->replicas, 0, 0) * sizeof *x->shares);
}

void hy_shares_keep(struct hy_model_ends *ends, int layers)
{
    for (int i = 0; i < layers; i++)
        if (ends->inside[i].far)
            hy_graph_keep(ends->inside[i].far);
}

/* far: [rows * tokens, heads] of one layer. */
static void add_layer(struct hy_engine *x, int replica, int layer, int reach, int rows, int tokens,
                      const int32_t *where, const hy_real *far)
{
    for (int h = 0; h < x->spec.heads; h++) {
        struct hy_share *s = &x->shares[place(x, replica, layer, h)];
        for (int i = 0; i < rows * tokens; i++) {
            const double share = (double)far[(size_t)i * (size_t)x->spec.heads + (size_t)h];
            const int is_beyond = where[i] >= 0 && i % tokens - where[i] >= reach;
            s->all += share;
            s->count++;
            s->beyond += is_beyond ? share : 0;
            s->beyond_count += is_beyond;
        }
    }
}

int hy_shares_add(struct hy_engine *x, const struct hy_evaluator *v, int replica, int rows,
                  const int32_t *where, struct hy_err *e)
{
    const int tokens = v->graph->shape.tokens, reach = hy_shares_reach(&x->spec);
    const size_t size = (size_t)v->graph->shape.batch * (size_t)tokens * (size_t)x->spec.heads;
    hy_real *far = malloc(size * sizeof *far);
    int rc = far ? HY_OK : hy_fail_memory(e);
    for (int i = 0; i < x->spec.layers && !rc; i++) {
        if (!v->ends.inside[i].far)
            continue;
        rc = hy_graph_read(v->ends.inside[i].far, replica, far, e);
        if (!rc)
            add_layer(x, replica, i, reach, rows, tokens, where, far);
    }
    free(far);
    return rc;
}

/* A number of each head, and their mean. */
static void tell_heads(const struct hy_member *m, const struct hy_model_spec *spec, int layer,
                       const char *metric, const double *values)
{
    const struct hy_kind *kind = hy_model_kind(spec, layer);
    double sum = 0;
    for (int h = 0; h < spec->heads; h++) {
        char name[64];
        snprintf(name, sizeof name, "%s.%d", metric, h);
        hy_member_layer(m, kind, layer, name, values[h]);
        sum += values[h];
    }
    hy_member_layer(m, kind, layer, metric, sum / spec->heads);
}

/* factor: of each head's window, in front of the sigmoid, as evaluation has it. */
static int tell_gamma(const struct hy_member *m, const struct hy_engine *x, int layer,
                      const struct hy_tensor *factor, double *values, struct hy_err *e)
{
    hy_real raw[HY_MAX_HEADS];
    const int rc = hy_graph_read(factor, m->replica, raw, e);
    if (rc)
        return rc;
    for (int h = 0; h < x->spec.heads; h++)
        values[h] = 1 / (1 + exp(-(double)raw[h]));
    tell_heads(m, &x->spec, layer, "gamma", values);
    return HY_OK;
}

static void tell_shares(const struct hy_member *m, const struct hy_engine *x, int layer,
                        double *values)
{
    const struct hy_share *s = &x->shares[place(x, m->replica, layer, 0)];
    for (int h = 0; h < x->spec.heads && s->count; h++)
        values[h] = s[h].all / (double)s->count;
    if (s->count)
        tell_heads(m, &x->spec, layer, "far_share", values);
    for (int h = 0; h < x->spec.heads && s->beyond_count; h++)
        values[h] = s[h].beyond / (double)s->beyond_count;
    if (s->beyond_count)
        tell_heads(m, &x->spec, layer, "far_share_beyond", values);
}

int hy_shares_tell(const struct hy_member *m, const struct hy_engine *x, struct hy_err *e)
{
    if (!x->shares)
        return HY_OK;
    double *values = calloc((size_t)x->spec.heads, sizeof *values);
    int rc = values ? HY_OK : hy_fail_memory(e);
    for (int i = 0; i < x->spec.layers && !rc; i++) {
        const struct hy_tensor *factor = x->evaluators[0].ends.inside[i].factor;
        if (factor)
            rc = tell_gamma(m, x, i, factor, values, e);
        tell_shares(m, x, i, values);
    }
    free(values);
    return rc;
}
