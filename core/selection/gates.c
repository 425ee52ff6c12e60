/* gates.c - selection while training: a gate per layer between its two mixers, trained with a price
 * for every full layer (OpenReview 4cP69sGjiG), or with frozen weights behind the alignment
 * (FlashMorph, DASH). A gate that pays goes linear: its logit is positive.
 *
 * With a budget the price becomes a pull towards that number (as ConSA, arXiv 2606.18056, whose
 * multipliers it leaves out), and the layers with the lowest logits are taken. */
#include "core/selection/selector.h"

static const struct hy_option gates_options[] = {
    {"form", HY_OPT_CHOICE, .text = "hard", .choices = "hard|soft",
     .help = "a layer follows one mixer in each step, or a weighted mean of both"},
    {"weights", HY_OPT_CHOICE, .text = "trained", .choices = "trained|frozen",
     .help = "whether the model is trained along with the gates"},
    {"temperature", HY_OPT_REAL, .def = 1, .min = 1e-4, .max = 1e4,
     .help = "of the gates, at first"},
    {"temperature_end", HY_OPT_REAL, .def = 0.1, .min = 1e-4, .max = 1e4,
     .help = "at the end of the stage; between, it falls by equal factors"},
    {"gain", HY_OPT_REAL, .def = 10, .min = 1e-3, .max = 1e6,
     .help = "logits move this many times faster than weights"},
    {"ramp", HY_OPT_REAL, .quiet = 1, .min = 0, .max = 1,
     .help =
         "share of the steps over which gates go from nearly all full to what their logits say"},
    {"price", HY_OPT_REAL, .def = 0, .min = 0, .max = 1e6,
     .help = "nats that a model of full layers alone costs; 0: the tolerance"},
    {"pull", HY_OPT_REAL, .def = 1, .min = 0, .max = 1e6,
     .help = "with a budget: nats that a model costs whose share of full layers is wrong by 1"},
    {0},
};

static int gates_choose(struct hy_choosing *c, struct hy_err *e)
{
    int positive = 0;
    for (int i = 0; i < c->layers; i++) {
        c->importance[i] = -c->logits[i];
        positive += c->logits[i] > 0;
    }
    (void)e;
    hy_choose_top(c, c->budget >= 0 ? c->budget : c->layers - positive);
    return HY_OK;
}

const struct hy_selector hy_selector_gates = {
    .name = "gates",
    .summary = "gates between both mixers of each layer, trained under a price for full layers",
    .options = gates_options,
    .search = HY_STAGE_GATES,
    .choose = gates_choose,
};
