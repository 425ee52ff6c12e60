/* twins.c - the linear branch of each layer learns to give what the full one gives, on the same
 * input: layer by layer, in a model whose layers are being selected. The stream is that of the full
 * branches, so every layer is taught on a model that is whole. */
#include "core/model/objective.h"
#include "core/ops/squared_error.h"
#include "core/ops/sum.h"

static const struct hy_option twins_options[] = {{0}};

static struct hy_tensor *twins_build(const struct hy_objective_ends *ends)
{
    const struct hy_gates *gates = &ends->student->gates;
    struct hy_tensor *errors[HY_MAX_LAYERS];
    for (int i = 0; i < ends->spec->layers; i++) {
        if (!gates->linear[i])
            return hy_graph_fail(ends->graph, "objective twins is for the branches that section "
                                              "select makes; the model has none");
        errors[i] = hy_squared_error(ends->graph, gates->linear[i], gates->full[i]);
    }
    return hy_mean(ends->graph, ends->spec->layers, errors);
}

const struct hy_objective hy_objective_twins = {
    .name = "twins",
    .summary = "squared error between the two branches of each layer, while layers are selected",
    .options = twins_options,
    .every_token = 1,
    .build = twins_build,
};
