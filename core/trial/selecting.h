/* selecting.h - what a run that selects its layers (section select) does beside training: gates,
 * probes, the choice of a layout, weights that change their model, and whether the loss is
 * tolerated. Nothing here is for other runs but hy_selecting_is_on. Seen by core/trial only. */
#ifndef HY_TRIAL_SELECTING_H
#define HY_TRIAL_SELECTING_H

#include "core/trial/member.h"

int hy_selecting_is_on(const struct hy_member *m);
/* It is in a stage in front of its choice. */
int hy_selecting_is_open(const struct hy_member *m);

/* A validation score as a loss: nats of text, or the recall that is missing to 1. */
double hy_selecting_loss(const struct hy_config *c, const struct hy_scores *scores);

/* ---- In front of the choice ---- */

/* Fills the gates of a step, counted over all stages, where the graph has any. */
void hy_selecting_fill(const struct hy_member *m, struct hy_trainer *t, int64_t step);
/* Says which layout evaluation looks at: the gates' as they stand, the probe's, else the full
 * model's; tells the logits, where gates are trained. */
int hy_selecting_watch(struct hy_member *m, struct hy_engine *x, struct hy_err *e);
/* Takes note of a step's loss. */
void hy_selecting_see(struct hy_member *m, double loss);
/* Where a probe is to begin: from the weights that all probes begin with. */
int hy_selecting_turn(struct hy_member *m, struct hy_trainer *t, struct hy_err *e);
/* Reads what the tolerance is against from the source's checkpoint, unless it is known. */
int hy_selecting_read_reference(struct hy_member *m, struct hy_err *e);

/* ---- The choice ---- */

/* Chooses, at the end of the stages in front of it. evaluate, context: as in struct hy_choosing. x
 * NULL: there were none. */
int hy_selecting_choose(struct hy_member *m, const struct hy_engine *x,
                        int (*evaluate)(void *, const unsigned char *, double *, struct hy_err *),
                        void *context, struct hy_err *e);
/* The layout that was found. */
struct hy_layout hy_selecting_layout(const struct hy_member *m);
/* The loss after training: within the tolerance, or a layer is to be given back, and another round
 * of stages follows; 0: none does. */
int hy_selecting_verify(struct hy_member *m, double loss);
/* That layer is full from now on. */
void hy_selecting_give_back(struct hy_member *m);

/* Fills its replica for a stage behind the choice: from what it carries, and what that lacks as at
 * the beginning. */
int hy_selecting_hand_over(const struct hy_member *m, const struct hy_engine *x,
                           struct hy_slab *params, struct hy_err *e);

/* Tells what was found: facts, and rows of its layers. */
void hy_selecting_tell(const struct hy_member *m, const struct hy_engine *x);
/* "layers 0 and 3 are full" ... : why its end is what it is. */
void hy_selecting_outcome(const struct hy_member *m, char *text, size_t size);

#endif
