/* optimizer.h - AdamW with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), gradient
 * clipping by global norm, and the learning rate's schedule. */
#ifndef HY_MODEL_OPTIMIZER_H
#define HY_MODEL_OPTIMIZER_H

#include "core/graph/slab.h"

/* A parameter that is trained, and where it, its gradient and its moments begin in a replica of
 * their slabs. */
struct hy_trained_entry {
    int64_t param, grad, moment, count;
    int decays;
};

struct hy_adamw {
    double beta1, beta2, eps;
    struct hy_slab m, v; /* first and second moments of what is trained, in the parameters' order */
    struct hy_trained_entry *entries; /* [m.entry_count] */
};

/* Lays out the moments of those parameters that have a gradient and are not frozen. Release with
 * hy_adamw_release (also after a failure). */
int hy_adamw_plan(struct hy_adamw *o, const struct hy_slab *params, const struct hy_slab *grads,
                  struct hy_err *e);
int hy_adamw_allocate(struct hy_adamw *o, struct hy_err *e); /* once it is planned: zeros */
/* Both. */
int hy_adamw_init(struct hy_adamw *o, const struct hy_slab *params, const struct hy_slab *grads,
                  struct hy_err *e);
void hy_adamw_release(struct hy_adamw *o);

/* Forgets a replica's moments. */
int hy_adamw_reset(struct hy_adamw *o, int replica, struct hy_err *e);

/* The l2 norm of the gradients of a replica's trained parameters: not finite when any of them is
 * not. */
double hy_adamw_norm(const struct hy_adamw *o, const struct hy_slab *grads, int replica);

/* One update of what is trained of a replica. step counts from 1; norm: hy_adamw_norm; clip:
 * largest norm that is used as it is, 0: no clipping. Only entries with `decays` set shrink by lr *
 * weight_decay. */
void hy_adamw_step(struct hy_adamw *o, struct hy_slab *params, const struct hy_slab *grads,
                   int replica, int64_t step, double lr, double weight_decay, double clip,
                   double norm);

struct hy_schedule {
    double lr, end;        /* end: final rate as a fraction of lr */
    int64_t steps, warmup; /* warmup: steps of linear rise */
    int cosine;            /* else constant after the warm-up */
};
/* The rate of step 1..steps: linear from lr/warmup to lr, then a half cosine down to lr * end. */
double hy_schedule_lr(const struct hy_schedule *s, int64_t step);

#endif
