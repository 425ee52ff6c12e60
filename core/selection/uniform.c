/* uniform.c - a baseline: full layers at equal distances. */
#include "core/selection/selector.h"

#include <string.h>

static const struct hy_option uniform_options[] = {{0}};

/* The k-th of n full layers stands in the middle of the k-th of n equal parts. */
static void place(struct hy_choosing *c, int count)
{
    memset(c->full, 0, sizeof c->full);
    for (int k = 0; k < count; k++)
        c->full[(2 * k + 1) * c->layers / (2 * count)] = 1;
}

/* The layer farthest from all full ones is the first that is given back. */
static void rank(struct hy_choosing *c)
{
    for (int i = 0; i < c->layers; i++) {
        int nearest = c->layers;
        for (int k = 0; k < c->layers; k++)
            if (c->full[k] && (k < i ? i - k : k - i) < nearest)
                nearest = k < i ? i - k : k - i;
        c->importance[i] = c->full[i] ? c->layers + 1 : nearest;
    }
}

static int uniform_choose(struct hy_choosing *c, struct hy_err *e)
{
    int within = 0, rc = HY_OK;
    place(c, c->budget >= 0 ? c->budget : 0);
    for (int count = 0; c->budget < 0 && !rc && !within && count <= c->layers; count++) {
        place(c, count);
        rc = hy_choose_is_within(c, &within, e);
    }
    rank(c);
    return rc;
}

const struct hy_selector hy_selector_uniform = {
    .name = "uniform",
    .summary = "baseline: full layers at equal distances",
    .options = uniform_options,
    .choose = uniform_choose,
};
