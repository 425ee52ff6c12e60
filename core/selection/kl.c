/* kl.c - from a model of linear layers aligned with the teacher's, each layer alone is made full
 * again and distilled for a while: the layers at whose end the divergence from the teacher is
 * smallest stay full (KL-guided selection, GA-S2, arXiv 2512.20569). One ranking, without
 * interactions between layers. */
#include "core/selection/selector.h"

static const struct hy_option kl_options[] = {
    {"kl_temperature", HY_OPT_REAL, .def = 1, .min = 0.01, .max = 1000,
     .help = "by which the logits of model and teacher are divided"},
    {0},
};

static int kl_choose(struct hy_choosing *c, struct hy_err *e)
{
    for (int i = 0; i < c->layers; i++)
        c->importance[i] = -c->probes[i];
    return hy_choose_by_importance(c, e);
}

const struct hy_selector hy_selector_kl = {
    .name = "kl",
    .summary = "makes one layer full at a time and ranks layers by the KL to the teacher after it",
    .options = kl_options,
    .needs_source = 1,
    .search = HY_STAGE_PROBES,
    .choose = kl_choose,
};
