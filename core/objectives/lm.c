/* lm.c - language modelling: cross entropy of the labels. */
#include "core/model/objective.h"
#include "core/ops/products/head_loss.h"

static const struct hy_option lm_options[] = {{0}};

static struct hy_tensor *lm_build(const struct hy_objective_ends *ends)
{
    struct hy_model_ends *s = ends->student;
    s->nll = hy_head_loss(ends->graph, s->hidden, s->head, ends->labels, ends->max_labels, &s->hit);
    hy_graph_keep(s->nll);
    hy_graph_keep(s->hit);
    return s->nll;
}

const struct hy_objective hy_objective_lm = {
    .name = "lm",
    .summary = "cross entropy of the labels",
    .options = lm_options,
    .build = lm_build,
};
