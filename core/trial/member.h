/* member.h - one run of a gang: the rows that it reports, its checkpoint, and how far it is. A run
 * that trains alone is a gang of one. Seen by core/trial only. */
#ifndef HY_TRIAL_MEMBER_H
#define HY_TRIAL_MEMBER_H

#include "core/model/checkpoint.h"
#include "core/trial/engine.h"
#include "core/trial/found.h"
#include "core/trial/trial.h"

struct hy_member {
    struct hy_trial_order order;
    const struct hy_trial_io *io;
    int replica; /* its number in the gang */
    char key[HY_HASH_TEXT];
    const struct hy_stage *stage; /* of training, that it is in */
    int64_t stage_start;          /* steps before that */
    struct hy_schedule schedule;  /* of the stage's own steps, or of one of its parts */
    struct hy_trained trained;
    int is_inside;              /* its replica of the engine holds its weights */
    int goes_on;                /* it comes from an engine before, and reads no checkpoint */
    struct hy_snapshot carried; /* its weights between two engines; none: those of the beginning */
    struct hy_found found;      /* where it selects its layers */
    int64_t first_step;         /* this attempt's */
    /* This attempt's share of the gang's time: of training, and of everything. */
    double train_seconds, seconds;
    double reported;  /* when the last progress row went out */
    char reason[128]; /* why it stopped before the last of train.steps, else "" */
    int ended;        /* its end row is sent */
};

/* order, io: borrowed. */
int hy_member_init(struct hy_member *m, const struct hy_trial_order *order,
                   const struct hy_trial_io *io, int replica, struct hy_err *e);
void hy_member_release(struct hy_member *m);

void hy_member_emit(const struct hy_member *m, struct hy_row row);
void hy_member_fact(const struct hy_member *m, const char *name, double value);
void hy_member_text(const struct hy_member *m, const char *name, const char *text);
/* A number of a layer, which is of that kind, for view layers. */
void hy_member_layer(const struct hy_member *m, const struct hy_kind *kind, int layer,
                     const char *metric, double value);
/* The curve goes into checkpoints too: what was on its way when a run was cut off is told again. */
void hy_member_history(struct hy_member *m, int64_t step, const char *name, double value);
/* Once a second at most, unless forced. */
void hy_member_progress(struct hy_member *m, int force);
/* The facts that are known before the first step, and those that are after the last. */
void hy_member_introduce(const struct hy_member *m, const struct hy_engine *x);
void hy_member_sum_up(const struct hy_member *m, const struct hy_engine *x,
                      const struct hy_scores *valid, const struct hy_scores *test);
/* The last row, and what stands before it in any case. reason: NULL for none. */
void hy_member_end(struct hy_member *m, const char *status, const char *reason);

/* It is in that stage of its training from now on. */
void hy_member_enter(struct hy_member *m, int stage);
/* The last stage that it takes, as far as is known, and the steps until its end. */
int hy_member_last_stage(const struct hy_member *m);
int64_t hy_member_steps(const struct hy_member *m);
/* Whether it has taken the last step of its stage. */
int hy_member_is_at_end(const struct hy_member *m);
/* Steps before the part of its stage that a step is in, counted over all stages. */
int64_t hy_member_origin(const struct hy_member *m, int64_t step);
/* The learning rate of a step, counted over all stages. */
double hy_member_lr(const struct hy_member *m, int64_t step);
/* Fills its replica of the stage's teacher, if there is one. */
int hy_member_teach(const struct hy_member *m, const struct hy_engine *x, struct hy_slab *params,
                    struct hy_err *e);

/* Writes its checkpoint, if it has a path for it; reads it, if there is one, and tells its history
 * again. */
int hy_member_save(struct hy_member *m, const struct hy_trainer *t, struct hy_err *e);
int hy_member_resume(struct hy_member *m, struct hy_trainer *t, struct hy_err *e);

/* Fills its replica: drawn, then taken from where the configuration says; tells what was. */
int hy_member_begin(const struct hy_member *m, struct hy_slab *params, struct hy_err *e);
/* Takes them from there; tells: tells what was. */
int hy_member_take_weights(const struct hy_member *m, struct hy_slab *params, int tells,
                           struct hy_err *e);

/* Notes what became of the step that follows trained.step. 0: it diverged, and the run has ended.
 */
int hy_member_settle(struct hy_member *m, struct hy_outcome out);

#endif
