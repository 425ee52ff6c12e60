/* trainer.h - models in training: parameters, gradients, optimizer, and the graph of one step.
 *
 * A trainer holds a gang of replicas, which share the graph and nothing else; one is the ordinary
 * case. A replica whose loss or gradient is not finite is frozen: its parameters stay as they are,
 * the others go on. */
#ifndef HY_MODEL_TRAINER_H
#define HY_MODEL_TRAINER_H

#include "core/model/optimizer.h"
#include "core/model/stage.h"

/* Steps whose outcomes a trainer holds at most. */
enum { HY_TRAINER_BACKLOG = 64 };

struct hy_update {
    double lr, weight_decay, clip; /* as for hy_adamw_step */
};

struct hy_outcome {
    double loss; /* of the stage's objectives: sum of weight times loss */
    double norm; /* of the gradient, before clipping */
};

struct hy_trainer {
    struct hy_slab params, grads;
    struct hy_adamw optimizer; /* beta1, beta2 and eps are the caller's to set */
    struct hy_graph *graph;
    /* To fill before each step: tokens, and labels, which are NULL where no objective looks at
     * them.
     */
    struct hy_model_ends ends;
    struct hy_tensor *loss; /* [batch*tokens, 1] of the objectives that look at labels, or NULL */
    struct hy_tensor *weights; /* [batch*tokens, 1] to fill likewise: what each position counts */
    struct hy_tensor *token_loss, *token_weights; /* of those for every token, which count alike */
    struct hy_cost cost;                          /* of one run of the graph */
    unsigned char *frozen;                        /* [replicas]; the caller may freeze more */
    unsigned char *active;                        /* [replicas]: not frozen, in the current step */
    int64_t *ahead; /* [replicas]: steps that it took before the others; the caller may set them */
    struct hy_outcome
        *outcomes; /* [HY_TRAINER_BACKLOG][replicas], of the steps not yet collected */
    int pending;   /* their number */
    /* On a device: core/model/update.h. */
    struct hy_tensor *control, *segments, *log;
    int described;            /* segments are filled */
    struct hy_trainer_bytes { /* of all replicas */
        int64_t params, gradients, optimizer;
        int64_t activations; /* as planned: all that a step works in */
        int64_t all;
    } bytes;
};

/* What a trainer is made for. All pointers are borrowed, and looked at by hy_trainer_init alone,
 * but for the device. */
struct hy_trainer_plan {
    const struct hy_model_spec *spec;
    const struct hy_shape *shape; /* replicas, batch and tokens of a step; mode HY_TRAIN */
    int64_t max_labels;           /* as for hy_model_build */
    const struct hy_stage *stage; /* what is trained, and towards what; NULL: all, the labels */
    /* What the stage's teacher is, whose parameters get HY_TEACHER_PREFIX; NULL: it needs none. */
    const struct hy_model_spec *teacher;
    struct hy_device *device; /* where all of it lives; NULL: the CPU */
    int dry;                  /* plan without allocating, for estimates */
};

/* Parameters start as zeros. An error where the stage would train nothing, or makes low-rank
 * additions to nothing. Release also after a failure. */
int hy_trainer_init(struct hy_trainer *t, const struct hy_trainer_plan *p, struct hy_err *e);
void hy_trainer_release(struct hy_trainer *t);

/* One optimizer step, counted from 1, of all replicas that are not frozen; u: one per replica,
 * whose own count is t->ahead of that. On a device it is only begun. At most HY_TRAINER_BACKLOG
 * steps are taken between two collections. */
void hy_trainer_step(struct hy_trainer *t, int64_t step, const struct hy_update *u);

/* Is it time to collect? On the CPU after each step, on a device when the backlog is full. */
int hy_trainer_due(const struct hy_trainer *t);

/* Waits for the steps taken since the last call. *steps: their number; replica r's outcome of the
 * i-th of them is t->outcomes[i * replicas + r], NaN once it is frozen. Replicas that diverged are
 * frozen from their step on. */
int hy_trainer_collect(struct hy_trainer *t, int *steps, struct hy_err *e);

#endif
