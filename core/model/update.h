/* update.h - the optimizer's update as the last operator of a training graph on a device, so that
 * it is captured and replayed with the step. Its kernels are in core/model/adamw.cu. */
#ifndef HY_MODEL_UPDATE_H
#define HY_MODEL_UPDATE_H

#include "core/model/trainer.h"

/* The operator's inputs. */
enum {
    HY_UPDATE_LOSS, /* as the trainer has them; NULL where there are none */
    HY_UPDATE_WEIGHTS,
    HY_UPDATE_TOKEN_LOSS,
    HY_UPDATE_TOKEN_WEIGHTS,
    HY_UPDATE_CONTROL,  /* [1, HY_CONTROLS]: one step of one replica */
    HY_UPDATE_SEGMENTS, /* [n, HY_SEGMENT_COLUMNS] int32: a row for each trained parameter */
    HY_UPDATE_INPUTS
};

/* Of element i of a replica's moments, in the first row whose end is above i. */
enum {
    HY_SEGMENT_END,
    HY_SEGMENT_DECAYS, /* not 0: by weight decay */
    HY_SEGMENT_PARAM,  /* i plus this: where its parameter is in the replica's */
    HY_SEGMENT_GRAD,   /* likewise its gradient */
    HY_SEGMENT_COLUMNS
};

enum {
    HY_CONTROL_RATE, /* lr / (1 - beta1^step) */
    HY_CONTROL_ROOT, /* 1 / sqrt(1 - beta2^step) */
    HY_CONTROL_KEEP, /* 1 - lr * weight decay */
    HY_CONTROL_CLIP,
    HY_CONTROL_SLOT,   /* row of the log */
    HY_CONTROL_FROZEN, /* not 0: no update */
    HY_CONTROLS
};

/* Its one output, the log [HY_TRAINER_BACKLOG + 1, 2]: loss and norm of each step; the last row's
 * first element is 1 once the replica has diverged, and then it is never updated again. */

struct hy_update_attr {
    const struct hy_slab *params, *grads;
    const struct hy_adamw *optimizer;
};

/* Appends the operator to t->graph, whose backward ops are there already. */
void hy_update_append(struct hy_trainer *t);
/* Fills the operator's inputs for a step. */
void hy_update_fill(struct hy_trainer *t, int64_t step, const struct hy_update *u);
/* Reads the log of the pending steps into t->outcomes. */
int hy_update_read(struct hy_trainer *t, struct hy_err *e);

#endif
