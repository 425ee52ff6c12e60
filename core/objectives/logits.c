/* logits.c - distillation: the student's predictions at the labelled positions become the teacher's
 * (arXiv 1503.02531). */
#include "core/model/objective.h"
#include "core/ops/kl.h"
#include "core/ops/products/linear.h"

static const struct hy_option logits_options[] = {
    {"temperature", HY_OPT_REAL, .def = 1, .min = 0.01, .max = 1000,
     .help = "by which the logits of both are divided"},
    {0},
};

static struct hy_tensor *logits_build(const struct hy_objective_ends *ends)
{
    const struct hy_model_ends *s = ends->student, *t = ends->teacher;
    return hy_kl(ends->graph, hy_linear(ends->graph, s->hidden, s->head),
                 hy_linear(ends->graph, t->hidden, t->head), ends->labels,
                 hy_get_real(ends->options, "temperature"));
}

const struct hy_objective hy_objective_logits = {
    .name = "logits",
    .summary = "divergence from the teacher's predictions (KL)",
    .options = logits_options,
    .needs_teacher = 1,
    .build = logits_build,
};
