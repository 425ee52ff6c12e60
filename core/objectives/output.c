/* output.c - hidden states: what each layer's mixer gives becomes what the teacher's gives, whose
 * layers are as many and as wide. Student and teacher each read their own stream. */
#include "core/model/objective.h"
#include "core/ops/squared_error.h"
#include "core/ops/sum.h"

static const struct hy_option output_options[] = {{0}};

static struct hy_tensor *output_build(const struct hy_objective_ends *ends)
{
    struct hy_tensor *errors[HY_MAX_LAYERS];
    int count = 0;
    for (int i = 0; i < ends->spec->layers; i++) {
        struct hy_tensor *own = ends->student->outputs[i], *wanted = ends->teacher->outputs[i];
        if (own && wanted)
            errors[count++] = hy_squared_error(ends->graph, own, wanted);
    }
    if (!count)
        return hy_graph_fail(ends->graph, "objective output: no layer of the model and of its "
                                          "teacher both have mixers");
    return hy_mean(ends->graph, count, errors);
}

const struct hy_objective hy_objective_output = {
    .name = "output",
    .summary = "squared error of the mixers' outputs, mean over layers",
    .options = output_options,
    .needs_teacher = 1,
    .every_token = 1,
    .build = output_build,
};
