/* mixer.c - what a variant's build function asks for: parameters, projections and states, each
 * under the name that the public state dict gives it. */
#include <stdio.h>
#include <string.h>

#include "core/ops/conv_silu.h"
#include "core/ops/gated_norm.h"
#include "core/mixers/mixer.h"

const struct hy_variant *hy_variant_find(const char *name)
{
    for (int i = 0; hy_variants[i]; i++)
        if (!strcmp(hy_variants[i]->name, name))
            return hy_variants[i];
    return NULL;
}

/* The projections that branches of a layer may share. */
static const char *const projections[] = {"q_proj.weight", "k_proj.weight", "v_proj.weight",
                                          "o_proj.weight"};
enum { PROJECTIONS = sizeof projections / sizeof *projections };

int hy_mixer_shares_all(const struct hy_mixer *m)
{
    return *m->shared == (1u << PROJECTIONS) - 1;
}

/* Its bit where the layer's branches have that parameter in common, else 0. */
static unsigned sharing(const struct hy_mixer *m, const char *name)
{
    for (int i = 0; m->shared && i < PROJECTIONS; i++)
        if (!strcmp(name, projections[i]))
            return 1u << i;
    return 0;
}

static struct hy_entry parameter(const struct hy_mixer *m, const char *name)
{
    const unsigned shared = sharing(m, name);
    const char *branch = shared || !m->branch ? "" : m->branch;
    struct hy_entry entry = {0};
    if (shared)
        *m->shared |= shared;
    snprintf(entry.name, sizeof entry.name, "%smodel.layers.%d.attn.%s%s%s",
             m->prefix ? m->prefix : "", m->layer, branch, *branch ? "." : "", name);
    return entry;
}

static struct hy_tensor *shaped(struct hy_mixer *m, struct hy_entry entry, int rank,
                                const int64_t *dims, struct hy_init init, int decays)
{
    entry.rank = rank;
    memcpy(entry.dims, dims, (size_t)rank * sizeof *dims);
    entry.init = init;
    entry.decays = decays;
    return hy_graph_param(m->graph, &entry);
}

struct hy_tensor *hy_mixer_param(struct hy_mixer *m, const char *name, int rank,
                                 const int64_t *dims, struct hy_init init, int decays)
{
    return shaped(m, parameter(m, name), rank, dims, init, decays);
}

struct hy_tensor *hy_mixer_shared_param(struct hy_mixer *m, const char *name, int rank,
                                        const int64_t *dims, struct hy_init init, int decays)
{
    struct hy_entry entry = {0};
    snprintf(entry.name, sizeof entry.name, "%smodel.%s", m->prefix ? m->prefix : "", name);
    return shaped(m, entry, rank, dims, init, decays);
}

/* The product of x and the specs' weights, one below the other. */
static struct hy_tensor *product(struct hy_mixer *m, struct hy_tensor *x, int count,
                                 const struct hy_projection *specs, struct hy_tensor *bias)
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
    return hy_lora_linear(m->graph, m->lora, x, count, entries, bias);
}

/* How many of the specs, from the first, are shared, and how many parts they make up. They lie in
 * parameters of their own, so that no part may hold both sorts. */
static int count_shared(struct hy_mixer *m, int count, const struct hy_projection *specs,
                        int part_count, const int64_t *parts, int *shared_parts)
{
    int64_t width = 0;
    int shared = 0;
    *shared_parts = 0;
    for (; shared < count; shared++) {
        char name[HY_NAME_SIZE];
        snprintf(name, sizeof name, "%s.weight", specs[shared].name);
        if (!sharing(m, name))
            break;
        width += specs[shared].width;
    }
    for (; *shared_parts < part_count && width > 0; ++*shared_parts)
        width -= parts[*shared_parts];
    if (width)
        hy_graph_fail(m->graph, "%s cannot be shared: it is projected together with %s",
                      specs[shared - 1].name, specs[shared].name);
    return shared;
}

void hy_mixer_project_parts(struct hy_mixer *m, struct hy_tensor *x, int count,
                            const struct hy_projection *specs, int part_count, const int64_t *parts,
                            struct hy_tensor **outs)
{
    int first, shared = count_shared(m, count, specs, part_count, parts, &first);
    if (shared)
        hy_graph_split(m->graph, product(m, x, shared, specs, NULL), first, parts, outs);
    if (shared < count)
        hy_graph_split(m->graph, product(m, x, count - shared, specs + shared, NULL),
                       part_count - first, parts + first, outs + first);
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
    return product(m, x, 1, &(struct hy_projection){name, width}, NULL);
}

struct hy_tensor *hy_mixer_linear_biased(struct hy_mixer *m, struct hy_tensor *x, const char *name,
                                         int64_t width)
{
    char bias[HY_NAME_SIZE];
    snprintf(bias, sizeof bias, "%s.bias", name);
    struct hy_tensor *b =
        hy_mixer_param(m, bias, 1, &width, (struct hy_init){.law = HY_INIT_CONSTANT}, 0);
    return product(m, x, 1, &(struct hy_projection){name, width}, b);
}

struct hy_tensor *hy_mixer_norm(struct hy_mixer *m, struct hy_tensor *x, const char *name,
                                int64_t width, struct hy_tensor *gate, enum hy_gate activation)
{
    struct hy_tensor *w =
        hy_mixer_param(m, name, 1, &width, (struct hy_init){.law = HY_INIT_CONSTANT, .a = 1}, 0);
    return hy_gated_norm(m->graph, x, gate, w, m->norm_eps, activation);
}

struct hy_tensor *hy_mixer_conv(struct hy_mixer *m, struct hy_tensor *x, int count,
                                const struct hy_projection *specs, int64_t taps,
                                struct hy_tensor *bias)
{
    struct hy_entry entries[HY_MAX_PROJECTIONS];
    int64_t channels = 0;
    for (int i = 0; i < count; i++) {
        char name[HY_NAME_SIZE];
        snprintf(name, sizeof name, "%s.weight", specs[i].name);
        entries[i] = parameter(m, name);
        entries[i].rank = 3;
        entries[i].dims[0] = specs[i].width;
        entries[i].dims[1] = 1;
        entries[i].dims[2] = taps;
        entries[i].init = (struct hy_init){.law = HY_INIT_NORMAL, .b = m->init_std};
        entries[i].decays = 1;
        channels += specs[i].width;
    }
    struct hy_tensor *state = taps > 1 ? hy_mixer_state(m, "conv", taps - 1, channels) : NULL;
    return hy_conv_silu(m->graph, x, hy_graph_params(m->graph, count, entries), bias, state);
}

struct hy_tensor *hy_mixer_conv_qkv(struct hy_mixer *m, struct hy_tensor *qkv, int64_t queries,
                                    int64_t keys, int64_t values)
{
    const int64_t taps = hy_get_int(m->options, "conv");
    if (!taps)
        return qkv;
    return hy_mixer_conv(
        m, qkv, 3,
        (struct hy_projection[]){{"q_conv1d", queries}, {"k_conv1d", keys}, {"v_conv1d", values}},
        taps, NULL);
}

int64_t hy_mixer_conv_state(const struct hy_mixer *m, int64_t channels)
{
    const int64_t taps = hy_get_int(m->options, "conv");
    return taps > 1 ? (taps - 1) * channels : 0;
}

int64_t hy_mixer_divisor(int64_t width, int64_t most)
{
    int64_t d = width < most ? width : most;
    while (width % d)
        d--;
    return d;
}

struct hy_tensor *hy_mixer_state(struct hy_mixer *m, const char *name, int64_t rows_per_sequence,
                                 int64_t cols)
{
    if (m->graph->shape.mode != HY_CACHED)
        return NULL;
    struct hy_entry entry = {.rank = 2, .dims = {rows_per_sequence * m->graph->shape.batch, cols}};
    snprintf(entry.name, sizeof entry.name, "layers.%d.%s%s%s", m->layer,
             m->branch ? m->branch : "", m->branch ? "." : "", name);
    return hy_graph_state(m->graph, &entry);
}
