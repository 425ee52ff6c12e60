/* full_layers.c - what full layers cost while gates are trained: a price for each
 * (OpenReview 4cP69sGjiG: price/L times their number), or a pull towards a number of them. */
#include "core/model/objective.h"
#include "core/ops/constant.h"
#include "core/ops/sigmoid.h"
#include "core/ops/skip.h"
#include "core/ops/squared_error.h"
#include "core/ops/sum.h"

static const struct hy_option full_layers_options[] = {
    {"price", HY_OPT_REAL, .def = 0, .min = 0, .max = 1e6,
     .help = "nats that a model of full layers alone costs"},
    {"count", HY_OPT_INT, .def = -1, .min = -1, .max = HY_MAX_LAYERS,
     .help = "full layers that are wanted; -1: as few as pay their price"},
    {"pull", HY_OPT_REAL, .def = 1, .min = 0, .max = 1e6,
     .help = "nats that a model costs whose share of full layers is wrong by 1"},
    {0},
};

static double value(int64_t k, double x)
{
    (void)k;
    return x;
}

/* [1, 1]: the linear layers, as drawn (what a price is of), or as expected of the logits (whose
 * square must not count the noise of the draw). */
static struct hy_tensor *count_linear(const struct hy_objective_ends *ends, int expected)
{
    struct hy_graph *g = ends->graph;
    const struct hy_gates *gates = &ends->student->gates;
    struct hy_tensor *each[HY_MAX_LAYERS];
    for (int i = 0; i < ends->spec->layers; i++) {
        if (!gates->logit[i])
            return hy_graph_fail(g, "objective full_layers is for the gates that section select "
                                    "trains; the model has none");
        each[i] = expected ? hy_sigmoid_of(g, hy_sum(g, 1, &gates->logit[i], gates->gain), 1)
                           : gates->open[i];
    }
    return hy_mean(g, ends->spec->layers, each);
}

static struct hy_tensor *full_layers_build(const struct hy_objective_ends *ends)
{
    struct hy_graph *g = ends->graph;
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t count = hy_get_int(ends->options, "count");
    const double price = hy_get_real(ends->options, "price");
    const double pull = hy_get_real(ends->options, "pull");
    struct hy_tensor *share = count_linear(ends, count >= 0); /* of linear layers */
    struct hy_tensor *scale = hy_constant(g, rows, 1, value, count >= 0 ? pull : -price);
    struct hy_tensor *start = hy_constant(g, rows, 1, value, count >= 0 ? 0 : price);
    if (count >= 0)
        share = hy_squared_error(
            g, share, hy_constant(g, 1, 1, value, 1 - (double)count / ends->spec->layers));
    return hy_skip(g, start, scale, share);
}

const struct hy_objective hy_objective_full_layers = {
    .name = "full_layers",
    .summary = "the price of full layers, or the distance from a number of them, while gates train",
    .options = full_layers_options,
    .every_token = 1,
    .build = full_layers_build,
};
