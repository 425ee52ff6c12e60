/* mad_noisy_recall.c - MAD's noisy in-context recall: mad_recall with tokens of a vocabulary of
 * their own between the pairs. core/tasks/support/mad_recall.h has the rule. */
#include "core/tasks/support/mad_recall.h"

static const struct hy_option mad_noisy_recall_options[] = {
    {"vocab", HY_OPT_INT, .def = 32, .min = 3, .max = 1 << 24,
     .help = "tokens: keys, as many values, then noise"},
    {"noise_vocab", HY_OPT_INT, .def = 16, .min = 1, .max = 1 << 24,
     .help = "how many of the tokens are noise"},
    {"noise", HY_OPT_REAL, .def = 0.2, .min = 0, .max = 0.999,
     .help = "share of the pairs that are noise"},
    HY_MAD_PREDICT,
    HY_MAD_OPTIONS,
};

static int mad_noisy_recall_open(const struct hy_value *options, const struct hy_task_env *env,
                                 void **state, struct hy_err *e)
{
    return hy_mad_recall_open(options, env, "mad_noisy_recall",
                              (int)hy_get_int(options, "noise_vocab"),
                              hy_get_real(options, "noise"), state, e);
}

const struct hy_task hy_task_mad_noisy_recall = {
    .name = "mad_noisy_recall",
    .summary = "MAD noisy recall: in-context recall among tokens to be ignored",
    .options = mad_noisy_recall_options,
    .measures_recall = 1,
    .open = mad_noisy_recall_open,
    .evidence = hy_mad_recall_evidence,
    HY_MAD_FUNCTIONS,
};
