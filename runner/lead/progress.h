/* progress.h - how a sweep tells people how far it is: a live line on a terminal, else one line per
 * finished run. */
#ifndef HY_RUNNER_LEAD_PROGRESS_H
#define HY_RUNNER_LEAD_PROGRESS_H

#include <stddef.h>

struct hy_progress {
    int total, waiting, held, running;  /* held: their source is not done */
    int done, pruned, diverged, failed; /* done, diverged: by earlier sweeps too */
    double eta;                         /* seconds, below 0: unknown */
};

/* "45 s", "12 min", "3.2 h", "2.1 d" */
const char *hy_progress_duration(double seconds, char *text, size_t size);
/* "12/96 done, 5 pruned, 2 diverged, 1 failed, 4 running, 12 min left" */
const char *hy_progress_line(const struct hy_progress *p, char *text, size_t size);

/* Shows the line where stderr is a terminal and nobody asked for quiet. */
void hy_progress_show(const struct hy_progress *p);

#endif
