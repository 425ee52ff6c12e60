/* edges.c - a baseline: the first and the last layers are full. */
#include "core/selection/selector.h"

static const struct hy_option edges_options[] = {{0}};

/* 0, L-1, 1, L-2, ... */
static int edges_choose(struct hy_choosing *c, struct hy_err *e)
{
    for (int i = 0; i < c->layers; i++) {
        const int below = i, above = c->layers - 1 - i;
        c->importance[i] = -(below <= above ? 2 * below : 2 * above + 1);
    }
    return hy_choose_by_importance(c, e);
}

const struct hy_selector hy_selector_edges = {
    .name = "edges",
    .summary = "baseline: the first and the last layers are full",
    .options = edges_options,
    .choose = edges_choose,
};
