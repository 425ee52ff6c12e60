#include "core/model/count.h"

int hy_model_count(const struct hy_model_spec *spec, const struct hy_shape *shape,
                   int64_t max_labels, struct hy_model_count *out, struct hy_err *e)
{
    struct hy_trainer t;
    const struct hy_trainer_plan plan = {
        .spec = spec, .shape = shape, .max_labels = max_labels, .dry = 1};
    const int rc = hy_trainer_init(&t, &plan, e);
    if (!rc)
        *out = (struct hy_model_count){t.params.count, t.cost.flops, t.bytes};
    hy_trainer_release(&t);
    return rc;
}
