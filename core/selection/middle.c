/* middle.c - a baseline: the layers in the middle are full. */
#include "core/selection/selector.h"

static const struct hy_option middle_options[] = {{0}};

/* From the centre outwards; of two layers at equal distance the lower one first. */
static int middle_choose(struct hy_choosing *c, struct hy_err *e)
{
    for (int i = 0; i < c->layers; i++) {
        const int twice = 2 * i - (c->layers - 1);
        c->importance[i] = -(twice < 0 ? -twice : twice);
    }
    return hy_choose_by_importance(c, e);
}

const struct hy_selector hy_selector_middle = {
    .name = "middle",
    .summary = "baseline: the layers in the middle are full",
    .options = middle_options,
    .choose = middle_choose,
};
