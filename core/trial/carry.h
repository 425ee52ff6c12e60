/* carry.h - weights on the way from one stage's slab to the next one's: the models are the same,
 * what a stage adds to them is not. Seen by core/trial only. */
#ifndef HY_TRIAL_CARRY_H
#define HY_TRIAL_CARRY_H

#include "core/graph/slab.h"

struct hy_carry {
    struct hy_slab layout; /* entries alone */
    hy_real **weights;     /* [count], in the host's memory; NULL of a replica that takes none */
    int count;
};

/* Nothing yet, of `count` replicas of a slab. Release also after a failure. */
int hy_carry_init(struct hy_carry *c, const struct hy_slab *from, int count, struct hy_err *e);
void hy_carry_release(struct hy_carry *c);

/* Takes all of a replica's. */
int hy_carry_take(struct hy_carry *c, const struct hy_slab *from, int replica, struct hy_err *e);
/* Puts the model's own weights, by name, where `to` has them; what that has beside is drawn. */
int hy_carry_give(const struct hy_carry *c, struct hy_slab *to, int replica, uint64_t seed,
                  struct hy_err *e);

#endif
