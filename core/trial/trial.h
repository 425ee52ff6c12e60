/* trial.h - trains and evaluates the model of one run, or of a gang of runs, and emits rows. Knows
 * no rank, no database.
 */
#ifndef HY_TRIAL_TRIAL_H
#define HY_TRIAL_TRIAL_H

#include "core/base/row.h"
#include "core/config/config.h"

struct hy_trial_io {
    /* Every row, in the order of its run; row->member: the run's index in the gang. */
    void (*emit)(void *context, const struct hy_row *row);
    void *context;
    /* Set by a signal handler: checkpoint, emit end "interrupted" and return at the next step. */
    const volatile int *stop;
    /* The number of this process among those on its machine: deals out the machine's devices. */
    int local_rank;
    /* What run.device "auto" means; NULL: a GPU where there is one. */
    const char *auto_device;
};

/* One run. */
struct hy_trial_order {
    const struct hy_config *config;
    /* The key by which the run was planned; NULL: any. A run that has another one here, where its
     * files may hold something else, is HY_E_USAGE. */
    const char *key;
    /* Where the checkpoint lies or is to lie; NULL: no checkpoints. An existing one is resumed. At
     * the run's end the caller removes it, unless run.keep_checkpoint, once it holds the result. */
    const char *checkpoint;
    /* Below train.steps: after so many steps checkpoint and end as "paused". 0: never. */
    int64_t until;
    /* The checkpoint of the run whose final weights it starts from, where the configuration has a
     * source; borrowed. */
    const char *source;
    int keep; /* its final weights are wanted: the checkpoint holds them before it ends as done */
};

/* Whether a file is the checkpoint of a run at its end: what other runs may start from. */
int hy_trial_is_final(const char *checkpoint);

/* Runs `count` runs that have one hy_config_gang_key() to their ends, in one graph. What each
 * reports does not depend on the others: on the CPU to the bit, times apart, which are its share of
 * the gang's. Each one's last row is HY_ROW_END with name done (with a reason where run.stop ended
 * it), paused, diverged or interrupted; it is missing of those that are cut off when the function
 * fails (the caller reports them as failed with e's text). */
int hy_trial_run(const struct hy_trial_order *orders, int count, const struct hy_trial_io *io,
                 struct hy_err *e);

/* What a run will need, from its graphs alone; trains nothing. */
struct hy_estimate {
    int64_t params;
    int replicas; /* most that the machine's devices hold at once; 1 on CPUs, where a gang is no
                     faster */
    int64_t train_bytes; /* parameters, gradients, optimizer, activations */
    int64_t state_bytes; /* of a sequence's cache without its context-dependent part: context 1 */
    int64_t cache_bytes; /* of a sequence's cache at the largest of eval.contexts */
    double flops_per_token; /* forward and backward, in training */
    double total_flops;     /* of the whole run, evaluation included */
};
int hy_trial_estimate(const struct hy_config *config, struct hy_estimate *out, struct hy_err *e);

#endif
