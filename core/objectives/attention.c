/* attention.c - attention transfer: the weights of linearised attention become those of the
 * teacher's softmax attention (Hedgehog, arXiv 2402.04347; LoLCATs, arXiv 2410.10254). Their cross
 * entropy, mean over positions, heads and layers. Each layer reads what the teacher's layer reads,
 * so layers learn by themselves. */
#include "core/model/objective.h"
#include "core/ops/features/transfer.h"
#include "core/ops/sum.h"

static const struct hy_option attention_options[] = {{0}};

/* [rows, heads] of one layer; NULL where it has no map. */
static struct hy_tensor *compare(struct hy_graph *g, int layer, const struct hy_heads *own,
                                 const struct hy_heads *teacher)
{
    if (!own->f || !teacher->q)
        return NULL;
    if (own->heads != teacher->heads || own->kv_heads != teacher->kv_heads ||
        own->width != teacher->width)
        return hy_graph_fail(g,
                             "objective attention: layer %d has %d heads (%d of keys) of width "
                             "%d, its teacher's %d (%d) of %d",
                             layer, own->heads, own->kv_heads, own->width, teacher->heads,
                             teacher->kv_heads, teacher->width);
    const struct hy_transfer s = {
        .heads = own->heads,
        .kv_heads = own->kv_heads,
        .g_heads = own->feature_heads,
        .key_width = own->width,
        .features = own->features,
        .scale = own->scale,
        .window = own->window,
        .terraced = own->terraced,
        .affine = own->affine,
    };
    const struct hy_transfer_in in = {teacher->q, teacher->k, own->q,     own->k,
                                      own->f,     own->g,     own->factor};
    return hy_transfer(g, &in, &s);
}

/* [rows, 1] from [rows, heads]. */
static struct hy_tensor *mean_of_heads(struct hy_graph *g, struct hy_tensor *x)
{
    struct hy_tensor *columns[HY_MAX_HEADS];
    if (!x)
        return NULL;
    hy_graph_split(g, x, (int)x->cols, NULL, columns);
    return hy_mean(g, (int)x->cols, columns);
}

static struct hy_tensor *attention_build(const struct hy_objective_ends *ends)
{
    struct hy_graph *g = ends->graph;
    struct hy_tensor *losses[HY_MAX_LAYERS];
    int count = 0;
    if (ends->spec->component != HY_COMPONENT_FULL && ends->spec->component != HY_COMPONENT_DROPPED)
        return hy_graph_fail(g, "objective attention compares component full or dropped, not %s",
                             hy_component_name(ends->spec->component));
    for (int i = 0; i < ends->spec->layers && !g->err.code; i++) {
        struct hy_tensor *loss =
            compare(g, i, &ends->student->inside[i], &ends->teacher->inside[i]);
        if (loss)
            losses[count++] = mean_of_heads(g, loss);
    }
    if (!count)
        return hy_graph_fail(g, "objective attention: no layer has a feature map (hedgehog, "
                                "lolcats) where its teacher has attention");
    return hy_mean(g, count, losses);
}

const struct hy_objective hy_objective_attention = {
    .name = "attention",
    .summary = "cross entropy between the teacher's attention and that over feature maps",
    .options = attention_options,
    .needs_teacher = 1,
    .every_token = 1,
    .is_forced = 1,
    .build = attention_build,
};
