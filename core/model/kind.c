#include "core/model/kind.h"

#include <stdio.h>
#include <string.h>

#include "core/mixers/mixer.h"
#include "core/ops/constant.h"
#include "core/ops/rmsnorm.h"
#include "core/ops/sigmoid.h"
#include "core/ops/skip.h"
#include "core/ops/sum.h"

const char hy_combine_choices[] = "sum|mean|gate";

struct hy_kind hy_kind_of(int index, const struct hy_variant *variant,
                          const struct hy_value *options)
{
    struct hy_kind k = {.has_mlp = !variant->no_mlp, .letter = index == HY_FULL ? 'F' : 'L'};
    snprintf(k.name, sizeof k.name, "%s", index == HY_FULL ? "full" : "linear");
    hy_kind_add_branch(&k, variant, options);
    return k;
}

void hy_kind_add_branch(struct hy_kind *k, const struct hy_variant *variant,
                        const struct hy_value *options)
{
    struct hy_branch *branch = &k->branches[k->branch_count++];
    int number = 0;
    *branch = (struct hy_branch){.variant = variant, .options = options};
    for (int i = 0; i < k->branch_count; i++)
        number += k->branches[i].variant == variant;
    if (number == 1)
        snprintf(branch->name, sizeof branch->name, "%s", variant->name);
    else
        snprintf(branch->name, sizeof branch->name, "%.28s_%d", variant->name, number);
}

void hy_kind_title(const struct hy_kind *k, char *text, size_t size)
{
    size_t used = 0;
    snprintf(text, size, "mlp");
    for (int i = 0; i < k->branch_count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "+" : "",
                                 k->branches[i].variant->name);
}

int hy_kind_is_full(const struct hy_kind *k)
{
    int full = 0;
    for (int i = 0; i < k->branch_count; i++)
        full |= k->branches[i].variant->full;
    return full;
}

int hy_kind_has_components(const struct hy_kind *k)
{
    int has = 0;
    for (int i = 0; i < k->branch_count; i++)
        has |= k->branches[i].variant->components;
    return has;
}

/* The context of branch i. shared: where it tells what it asked for of what branches share. */
static struct hy_mixer context_of(const struct hy_kind *k, const struct hy_mixer *layer, int i,
                                  unsigned *shared)
{
    struct hy_mixer m = *layer;
    m.options = k->branches[i].options;
    m.branch = k->branch_count > 1 ? k->branches[i].name : NULL;
    m.shared = k->shares ? shared : NULL;
    m.inside = k->branch_count > 1 ? NULL : layer->inside;
    return m;
}

int64_t hy_kind_state_elements(const struct hy_kind *k, const struct hy_mixer *layer,
                               int64_t context)
{
    int64_t sum = 0;
    for (int i = 0; i < k->branch_count; i++) {
        const struct hy_mixer m = context_of(k, layer, i, NULL);
        sum += k->branches[i].variant->state_elements(&m, context);
    }
    return sum;
}

/* Builds the kind on a graph of its own, which is never run: shapes that cannot be shared show. */
static int check_sharing(const struct hy_kind *k, const struct hy_mixer *layer, struct hy_err *e)
{
    const struct hy_shape shape = {.replicas = 1, .batch = 1, .tokens = 1, .mode = HY_EVAL};
    struct hy_slab params;
    struct hy_mixer m = *layer;
    hy_slab_init(&params, 1);
    m.graph = hy_graph_new(&shape, &params, NULL, NULL);
    if (!m.graph)
        return hy_fail_memory(e);
    struct hy_tensor *outs[HY_MAX_BRANCHES];
    hy_kind_build_branches(k, &m, hy_graph_input(m.graph, "x", HY_REAL, 1, layer->d_model), outs);
    const struct hy_err found = m.graph->err;
    hy_graph_free(m.graph);
    hy_slab_release(&params);
    if (!found.code)
        return HY_OK;
    *e = found;
    return hy_err_wrap(e, "kind %s cannot share its projections", k->name);
}

int hy_kind_check(const struct hy_kind *k, const struct hy_mixer *layer, struct hy_err *e)
{
    for (int i = 0; i < k->branch_count; i++) {
        const struct hy_variant *variant = k->branches[i].variant;
        const struct hy_mixer m = context_of(k, layer, i, NULL);
        const int rc = variant->check ? variant->check(&m, e) : HY_OK;
        if (rc)
            return rc;
    }
    return k->shares ? check_sharing(k, layer, e) : HY_OK;
}

/* The layer's own parameter, beside those of its branches. */
static struct hy_tensor *own_param(const struct hy_mixer *layer, const char *branch,
                                   const char *name, int64_t size, double start)
{
    struct hy_mixer m = *layer;
    m.branch = branch;
    return hy_mixer_param(&m, name, 1, &size, (struct hy_init){.law = HY_INIT_CONSTANT, .a = start},
                          0);
}

static double minus_one(int64_t k, double unused)
{
    (void)k, (void)unused;
    return -1;
}

/* b + s (a - b). */
static struct hy_tensor *gate(const struct hy_mixer *layer, struct hy_tensor *a,
                              struct hy_tensor *b)
{
    struct hy_graph *g = layer->graph;
    struct hy_tensor *s = hy_sigmoid_of(g, own_param(layer, "gate", "logit", 1, 0), 1);
    return hy_skip(g, b, hy_skip(g, a, b, hy_constant(g, 1, 1, minus_one, 0)), s);
}

static struct hy_tensor *combine(const struct hy_kind *k, const struct hy_mixer *layer,
                                 struct hy_tensor **a)
{
    struct hy_graph *g = layer->graph;
    if (k->combine == HY_COMBINE_GATE)
        return gate(layer, a[0], a[1]);
    if (k->combine == HY_COMBINE_SUM)
        return hy_sum(g, k->branch_count, a, 1);
    for (int i = 0; i < k->branch_count; i++)
        a[i] = hy_rmsnorm(
            g, a[i], own_param(layer, k->branches[i].name, "out_norm.weight", layer->d_model, 1),
            layer->norm_eps);
    return hy_sum(g, k->branch_count, a, 1. / k->branch_count);
}

void hy_kind_build_branches(const struct hy_kind *k, const struct hy_mixer *layer,
                            struct hy_tensor *x, struct hy_tensor *outs[HY_MAX_BRANCHES])
{
    for (int i = 0; i < k->branch_count; i++) {
        unsigned shared = 0;
        struct hy_mixer m = context_of(k, layer, i, &shared);
        outs[i] = k->branches[i].variant->build(&m, x);
        if (k->shares && !hy_mixer_shares_all(&m))
            hy_graph_fail(layer->graph, "%s has no q_proj, k_proj, v_proj and o_proj to share",
                          k->branches[i].variant->name);
    }
}

struct hy_tensor *hy_kind_build(const struct hy_kind *k, const struct hy_mixer *layer,
                                struct hy_tensor *x)
{
    struct hy_tensor *outs[HY_MAX_BRANCHES];
    hy_kind_build_branches(k, layer, x, outs);
    return k->branch_count > 1 ? combine(k, layer, outs) : k->branch_count ? outs[0] : NULL;
}
