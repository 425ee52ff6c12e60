/* trainer.h - a model in training: parameters, gradients, optimizer, and the graph of one step. */
#ifndef HY_MODEL_TRAINER_H
#define HY_MODEL_TRAINER_H

#include "core/model/model.h"
#include "core/model/optimizer.h"

struct hy_trainer {
    struct hy_slab params, grads;
    struct hy_adamw optimizer; /* beta1, beta2 and eps are the caller's to set */
    struct hy_graph *graph;
    struct hy_model_ends ends; /* to fill before each step: tokens, labels */
    struct hy_tensor *weights; /* [batch*tokens, 1] likewise: d loss / d nll of each position */
    struct hy_cost cost;       /* of one run of the graph */
    int64_t bytes;             /* parameters, gradients, moments, activations */
};

/* shape: batch and tokens of a step, in mode HY_TRAIN; max_labels: as for hy_model_build. dry:
 * plans without allocating, for estimates. Parameters start as zeros. Release also after a failure.
 */
int hy_trainer_init(struct hy_trainer *t, const struct hy_model_spec *spec,
                    const struct hy_shape *shape, int64_t max_labels, int dry, struct hy_err *e);
void hy_trainer_release(struct hy_trainer *t);

struct hy_update {
    double lr, weight_decay, clip; /* as for hy_adamw_step */
};
/* One optimizer step, counted from 1. *loss: sum of weight times nll; *norm: of the gradient. 0,
 * and nothing is updated, where either is not finite. */
int hy_trainer_step(struct hy_trainer *t, int64_t step, const struct hy_update *u, double *loss,
                    double *norm);

#endif
