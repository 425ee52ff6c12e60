/* mixer.c - what a variant's build function asks for: parameters, projections and states, each
 * under the name that the public state dict gives it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/gated_norm.h"
#include "core/ops/linear.h"
#include "variants/variant.h"

const struct hy_variant *hy_variant_find(const char *name)
{
    for (int i = 0; hy_variants[i]; i++)
        if (!strcmp(hy_variants[i]->name, name))
            return hy_variants[i];
    return NULL;
}

static struct hy_entry parameter(const struct hy_mixer *m, const char *name)
{
    struct hy_entry entry = {0};
    snprintf(entry.name, sizeof entry.name, "model.layers.%d.attn.%s", m->layer, name);
    return entry;
}

struct hy_tensor *hy_mixer_param(struct hy_mixer *m, const char *name, int rank,
                                 const int64_t *dims, struct hy_init init, int decays)
{
    struct hy_entry entry = parameter(m, name);
    entry.rank = rank;
    memcpy(entry.dims, dims, (size_t)rank * sizeof *dims);
    entry.init = init;
    entry.decays = decays;
    return hy_graph_param(m->graph, &entry);
}

/* x times the specs' weights, which lie one below the other. */
static struct hy_tensor *project(struct hy_mixer *m, struct hy_tensor *x, int count,
                                 const struct hy_projection *specs)
{
    struct hy_entry entries[HY_MAX_PROJECTIONS];
    for (int i = 0; i < count; i++) {
        char name[HY_NAME_SIZE];
        snprintf(name, sizeof name, "%s.weight", specs[i].name);
        entries[i] = parameter(m, name);
        entries[i].rank = 2;
        entries[i].dims[0] = specs[i].width;
        entries[i].dims[1] = x ? x->cols : 1;
        entries[i].init = (struct hy_init){.law = HY_INIT_NORMAL, .b = m->init_std};
        entries[i].decays = 1;
    }
    return hy_linear(m->graph, x, hy_graph_params(m->graph, count, entries));
}

void hy_mixer_project_parts(struct hy_mixer *m, struct hy_tensor *x, int count,
                            const struct hy_projection *specs, int part_count, const int64_t *parts,
                            struct hy_tensor **outs)
{
    hy_graph_split(m->graph, project(m, x, count, specs), part_count, parts, outs);
}

void hy_mixer_project(struct hy_mixer *m, struct hy_tensor *x, int count,
                      const struct hy_projection *specs, struct hy_tensor **outs)
{
    int64_t widths[HY_MAX_PROJECTIONS];
    for (int i = 0; i < count; i++)
        widths[i] = specs[i].width;
    hy_mixer_project_parts(m, x, count, specs, count, widths, outs);
}

struct hy_tensor *hy_mixer_linear(struct hy_mixer *m, struct hy_tensor *x, const char *name,
                                  int64_t width)
{
    return project(m, x, 1, &(struct hy_projection){name, width});
}

struct hy_tensor *hy_mixer_output(struct hy_mixer *m, struct hy_tensor *o, struct hy_tensor *gate,
                                  const char *norm_name)
{
    const struct hy_init one = {.law = HY_INIT_CONSTANT, .a = 1};
    struct hy_tensor *w = NULL;
    if (o)
        w = hy_mixer_param(m, norm_name, 1, (int64_t[]){o->cols / m->heads}, one, 0);
    o = hy_gated_norm(m->graph, o, gate, w, m->norm_eps, HY_GATE_SILU);
    return hy_mixer_linear(m, o, "o_proj", m->d_model);
}

static double full_width(const struct hy_mixer *m, const char *key)
{
    return hy_get_real(m->options, key) * m->d_model;
}

int64_t hy_mixer_width(const struct hy_mixer *m, const char *key)
{
    return (int64_t)full_width(m, key) / m->heads;
}

int hy_mixer_check_width(const struct hy_mixer *m, const char *variant, const char *key,
                         struct hy_err *e)
{
    const double width = full_width(m, key);
    if (width < m->heads || fmod(width, m->heads) != 0)
        return hy_fail(e, HY_E_USAGE,
                       "%s: %s %g times d_model %d is %g, not a multiple of heads %d", variant, key,
                       hy_get_real(m->options, key), m->d_model, width, m->heads);
    return HY_OK;
}

struct hy_tensor *hy_mixer_state(struct hy_mixer *m, const char *name, int64_t rows_per_sequence,
                                 int64_t cols)
{
    if (m->graph->shape.mode != HY_CACHED)
        return NULL;
    struct hy_entry entry = {.rank = 2, .dims = {rows_per_sequence * m->graph->shape.batch, cols}};
    snprintf(entry.name, sizeof entry.name, "layers.%d.%s", m->layer, name);
    return hy_graph_state(m->graph, &entry);
}
