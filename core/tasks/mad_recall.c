/* mad_recall.c - MAD's in-context recall: pairs of key and value, and the value again whenever a
 * key returns. core/tasks/support/mad_recall.h has the rule. */
#include "core/tasks/support/mad_recall.h"

static const struct hy_option mad_recall_options[] = {
    {"vocab", HY_OPT_INT, .def = 16, .min = 2, .max = 1 << 24,
     .help = "tokens: the lower half are keys, the upper half values"},
    HY_MAD_PREDICT,
    HY_MAD_OPTIONS,
};

static int mad_recall_open(const struct hy_value *options, const struct hy_task_env *env,
                           void **state, struct hy_err *e)
{
    return hy_mad_recall_open(options, env, "mad_recall", 0, 0, state, e);
}

const struct hy_task hy_task_mad_recall = {
    .name = "mad_recall",
    .summary = "MAD in-context recall: the value of each key that occurred before",
    .options = mad_recall_options,
    .measures_recall = 1,
    .open = mad_recall_open,
    .evidence = hy_mad_recall_evidence,
    HY_MAD_FUNCTIONS,
};
