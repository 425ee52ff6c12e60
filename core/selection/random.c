/* random.c - a baseline: full layers drawn at random, by the run's seed. */
#include "core/selection/selector.h"

#include "core/base/rng.h"

static const struct hy_option random_options[] = {{0}};

static int random_choose(struct hy_choosing *c, struct hy_err *e)
{
    for (int i = 0; i < c->layers; i++) {
        struct hy_rng rng = hy_rng_start(c->seed, HY_RNG_LAYOUT, 0, (uint32_t)i);
        c->importance[i] = hy_rng_uniform(&rng);
    }
    return hy_choose_by_importance(c, e);
}

const struct hy_selector hy_selector_random = {
    .name = "random",
    .summary = "baseline: full layers drawn at random, by the run's seed",
    .options = random_options,
    .choose = random_choose,
};
