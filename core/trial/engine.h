/* engine.h - the graphs and parameters of one run, or of a gang of them: what trial.c trains,
 * evaluates and measures. */
#ifndef HY_TRIAL_ENGINE_H
#define HY_TRIAL_ENGINE_H

#include "core/base/row.h"
#include "core/model/trainer.h"
#include "core/config/config.h"

/* The evaluation graph for sequences of one length: graph->shape has it, and the batch. */
struct hy_evaluator {
    struct hy_graph *graph;
    struct hy_model_ends ends;
    struct hy_cost cost; /* of one run */
};

/* What a stage of training takes for one replica by itself. */
struct hy_stage_cost {
    struct hy_trainer_bytes bytes;
    int64_t trained; /* parameters */
    double flops;    /* of a step */
};

struct hy_share;

struct hy_engine {
    struct hy_model_spec spec, teacher; /* teacher: all zeros where the stage needs none */
    struct hy_config *folder; /* owned: what the teacher is where it comes from a folder, or NULL */
    int stage;                /* of the configurations' */
    /* Of the stage's graph, and of evaluation's, while layers are being selected. */
    struct hy_gating gating, given;
    unsigned char *full; /* [replicas][layers]: the layouts that evaluation looks at meanwhile */
    struct hy_stage_cost costs[HY_MAX_STAGES + 2];
    int replicas;
    struct hy_data **sources; /* [replicas]; evaluation data are those of the first, as of all */
    struct hy_data *data;     /* the first's */
    struct hy_device *device; /* borrowed; NULL: the CPU */
    size_t device_base;       /* bytes that it takes without a model; unless dry */
    struct hy_trainer trainer;
    struct hy_trainer_bytes alone; /* what one replica would take by itself, in the largest stage */
    struct hy_evaluator evaluators[HY_MAX_SOURCES]; /* one per length in data.eval */
    int evaluator_count;
    const struct hy_config *config; /* borrowed: the first member's */
    enum hy_component component;    /* that the evaluators are of */
    struct hy_share *shares; /* core/trial/shares.h; NULL: nothing has a window beside others */
};

/* What an engine is made for: configurations with one hy_config_gang_key(), of which the first
 * outlives the engine. */
struct hy_engine_plan {
    const struct hy_config *const *configs;
    int count;
    int stage; /* of training (hy_config_stage) */
    /* Of runs that have selected their layers: what they found; NULL: unknown, taken to be all
     * full, which takes most. */
    const struct hy_layout *layout;
    struct hy_device *device; /* NULL: the CPU */
    int dry;                  /* plans without allocating, for estimates */
};

/* Opens the data and builds everything for one stage of training. Release also after a failure. */
int hy_engine_init(struct hy_engine *x, const struct hy_engine_plan *plan, struct hy_err *e);
void hy_engine_release(struct hy_engine *x);

/* FLOPs of a training step, mean over all steps of all stages. */
double hy_engine_step_flops(const struct hy_engine *x, const struct hy_config *c);

/* Bytes that training and evaluation of all replicas take together: of a device, or of the CPU's
 * memory. */
int64_t hy_engine_bytes(const struct hy_engine *x);

/* Bytes of one sequence's cache at `context` tokens: measured by building the decoding graph, and
 * an error when they differ from what the variants declare. *tokens_per_s: how fast one sequence is
 * continued at that context, timed for a moment; NULL: not timed. */
int hy_engine_measure_cache(struct hy_engine *x, int context, int64_t *bytes, double *tokens_per_s,
                            struct hy_err *e);

/* Where an evaluation source's sequences are run. */
struct hy_evaluator *hy_engine_evaluator(struct hy_engine *x, int source);

/* From now on evaluations are of a part of the model alone: its evaluation graphs are built anew.
 */
int hy_engine_look_at(struct hy_engine *x, enum hy_component component, struct hy_err *e);

/* Evaluates the replicas with chosen[r] != 0 on one split of all evaluation sources: emits slice
 * rows, and gives the means that the results table shows, into out[r]. They are over sources whose
 * sequences are as long as training's. The slices of other sources begin with their length:
 * "length=128", "length=128,pairs=16". Rows name the task; its second entry of one length is
 * "mqar#2". Where mixers have a window beside linear terms, questions are also scored by where
 * their answer lies: slices "within=16", "beyond=16" (tokens). Rows of a part of the model have its
 * name as component. Values that no task measures are NaN. pulse is called after every batch; where
 * it returns other than 0 the evaluation ends with HY_E_INTERRUPTED. */
struct hy_scores {
    double ppl, bits_per_byte, recall;
};
struct hy_audience {
    void (*emit)(void *context, int replica, const struct hy_row *row);
    int (*pulse)(void *context);
    void *context;
};
int hy_engine_evaluate(struct hy_engine *x, enum hy_split split, const unsigned char *chosen,
                       const struct hy_audience *to, struct hy_scores *out, struct hy_err *e);

#endif
