/* count.h - what a model costs, from its graph alone: nothing is allocated or run. */
#ifndef HY_MODEL_COUNT_H
#define HY_MODEL_COUNT_H

#include "core/model/trainer.h"

struct hy_model_count {
    int64_t params;
    double step_flops;              /* of a training step, forward and backward */
    struct hy_trainer_bytes memory; /* of training */
};

/* shape, max_labels: as in struct hy_trainer_plan. */
int hy_model_count(const struct hy_model_spec *spec, const struct hy_shape *shape,
                   int64_t max_labels, struct hy_model_count *out, struct hy_err *e);

#endif
