/* gang.h - the runs that train in one graph, and how they come through it together: steps, and the
 * stages between which they change graphs. A run alone is a gang of one. Seen by core/trial only.
 */
#ifndef HY_TRIAL_GANG_H
#define HY_TRIAL_GANG_H

#include "core/trial/member.h"

struct hy_gang {
    const struct hy_config *config; /* the first's: what members have in common */
    const struct hy_trial_io *io;
    struct hy_member *members;
    const struct hy_config **configs; /* [count]: theirs */
    int count;
    struct hy_device *device; /* NULL: the CPU */
    struct hy_engine engine;
    struct hy_update *updates; /* [count] */
    struct hy_scores *valid, *test;
    unsigned char *chosen; /* [count]: who is evaluated */
    int32_t *tokens, *labels;
    float *weights;
    double accounted; /* when the members' times were last brought up to date */
};

/* ---- Who is where (gang.c) ---- */

/* Members that have not ended; of these, those that take the next step in the engine. */
int hy_gang_running(const struct hy_gang *g);
int hy_gang_training(const struct hy_gang *g);
/* Its next step is one of another stage, or of another model, than the engine is for. */
int hy_gang_is_held(const struct hy_member *m);
int hy_gang_is_stopped(const struct hy_gang *g); /* by a signal */

/* The last row of a member. On a device its replica is computed on with the others, in vain. */
void hy_gang_end(struct hy_gang *g, int r, const char *status, const char *reason);
/* Everybody shows signs of life. */
void hy_gang_tell_progress(struct hy_gang *g);
/* Saves what is not saved yet, and ends all. */
int hy_gang_interrupt(struct hy_gang *g, struct hy_err *e);

/* ---- Steps (gang.c) ---- */

int hy_gang_is_regular(const struct hy_config *c, int64_t step); /* eval.every says so */
/* Everybody's next step, on a device all steps until an outcome is needed. */
int hy_gang_advance(struct hy_gang *g, struct hy_err *e);

/* ---- Stages (stages.c) ---- */

/* Those who are at the end of their stage leave the engine, and whoever has the earliest stage
 * before him goes into another one for it, with all whose model is the same then. */
int hy_gang_change(struct hy_gang *g, struct hy_err *e);
/* Low-rank additions of the chosen become part of their weights. */
int hy_gang_merge(struct hy_gang *g, struct hy_err *e);
/* The validation loss of a member's model as a layout; context: struct hy_gang_place. */
struct hy_gang_place {
    struct hy_gang *gang;
    int replica;
};
int hy_gang_evaluate_layout(void *place, const unsigned char *full, double *loss, struct hy_err *e);

#endif
