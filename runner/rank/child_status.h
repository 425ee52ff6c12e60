/* child_status.h - what became of a run, judged from what its child said and how it ended. */
#ifndef HY_RUNNER_RANK_CHILD_STATUS_H
#define HY_RUNNER_RANK_CHILD_STATUS_H

#include <stddef.h>

#include "core/base/buf.h"

/* Why its rank asked or forced a child to end. */
enum hy_cause { HY_CAUSE_NONE, HY_CAUSE_STOP, HY_CAUSE_TIMEOUT, HY_CAUSE_SILENCE };

struct hy_ending {
    int status;                 /* of wait4 */
    const char *row, *text;     /* name and text of its end row, "" where it sent none */
    const struct hy_buf *words; /* what it printed */
    enum hy_cause cause;
    double limit; /* seconds, of HY_CAUSE_TIMEOUT and HY_CAUSE_SILENCE */
};

/* Whether an end row of that name is what became of the run, however its child ends. */
int hy_is_result(const char *row);
/* The run's status (done, paused, diverged, failed, timeout or interrupted), and the reason. */
const char *hy_child_status(const struct hy_ending *ending, char *reason, size_t size);

/* The last lines of what a child printed, as one line. */
void hy_last_words(const struct hy_buf *words, char *text, size_t size);

#endif
