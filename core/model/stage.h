/* stage.h - a stage of training: towards what, which parameters, for how long. */
#ifndef HY_MODEL_STAGE_H
#define HY_MODEL_STAGE_H

#include "core/mixers/lora.h"
#include "core/model/objective.h"

enum { HY_MAX_STAGES = 16, HY_MAX_OBJECTIVES = 8, HY_STAGE_NAME_SIZE = 32 };
enum { HY_MAX_DROPOUTS = 16 };

/* What a stage is in a run that selects its layers (core/selection/selector.h). */
enum hy_stage_role {
    HY_STAGE_PLAIN, /* the layout is known: all stages of other runs */
    HY_STAGE_ALIGN, /* linear branches learn to give what the full ones beside them give */
    HY_STAGE_GATES, /* gates are trained, alone or with the weights */
    HY_STAGE_PROBES /* in equal parts, each from the same weights: one layer after the other full */
};

struct hy_stage {
    char name[HY_STAGE_NAME_SIZE];
    int objective_count;
    struct {
        const struct hy_objective *objective;
        const struct hy_value *options; /* borrowed */
        double weight;                  /* of its loss in the sum */
    } objectives[HY_MAX_OBJECTIVES];
    const struct hy_value *trains; /* names of groups, and patterns of names; NULL: everything */
    struct hy_lora lora;           /* rank 0: none */
    int64_t steps;
    double lr, lr_end, warmup, weight_decay, clip; /* warmup: below 1 a fraction of steps */
    int cosine;
    enum hy_stage_role role;
    /* What the mixers that have components use in it (core/mixers/component.h). */
    enum hy_component component;
    /* Rates at which windows are dropped: one for each of as many equal parts of its steps. */
    double window_dropout[HY_MAX_DROPOUTS];
    int dropout_count; /* 0: windows stay */
    int parts; /* with a schedule and an optimizer of their own; 0 and 1: the whole is one */
};

/* Whether one of its objectives needs a teacher. */
int hy_stage_needs_teacher(const struct hy_stage *s);
/* Whether its objectives compare mixers on what the teacher's read. All of them do, or none. */
int hy_stage_is_forced(const struct hy_stage *s);
/* The rate at which windows are dropped in its step-th step, from 0. */
double hy_stage_dropout(const struct hy_stage *s, int64_t step);
/* Whether it is trained as ever: all of the model, on the labels alone. */
int hy_stage_is_plain(const struct hy_stage *s);
/* Whether it trains the parameter of that name; never a teacher's. */
int hy_stage_trains(const struct hy_stage *s, const char *parameter);

#endif
