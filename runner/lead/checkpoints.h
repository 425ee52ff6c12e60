/* checkpoints.h - the files in which runs of a sweep wait to go on: <database>.ckpt/<key>. Local;
 * where they lie, not what is in them. */
#ifndef HY_RUNNER_LEAD_CHECKPOINTS_H
#define HY_RUNNER_LEAD_CHECKPOINTS_H

#include "core/base/err.h"

struct hy_checkpoints;

int hy_checkpoints_new(const char *database, struct hy_checkpoints **out, struct hy_err *e);
/* Accepts NULL. Removes what a trial was killed in the middle of writing, and the folder unless it
 * holds something. */
void hy_checkpoints_free(struct hy_checkpoints *c);

/* Makes the folder where it is not: it may vanish while the sweep runs. */
int hy_checkpoints_make_folder(const struct hy_checkpoints *c, struct hy_err *e);
/* Of the run with that key, whether it is there or not. The caller frees. NULL: no memory. */
char *hy_checkpoints_path(const struct hy_checkpoints *c, const char *key);
void hy_checkpoints_drop(const struct hy_checkpoints *c, const char *key);

#endif
