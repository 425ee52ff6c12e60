/* tally.h - accuracies of a split: means over the whole and over slices of it. Seen by core/tasks
 * only. */
#ifndef HY_TASKS_SUPPORT_TALLY_H
#define HY_TASKS_SUPPORT_TALLY_H

#include "core/tasks/task.h"

enum { HY_WHOLE = -1 }; /* the slice that is the whole split */

struct hy_tally;

/* slices: beside the whole. */
int hy_tally_new(int slices, struct hy_tally **out, struct hy_err *e);
void hy_tally_add(struct hy_tally *t, int slice, double value);
/* Emits the means as "accuracy", slice i as "<key>=<values[i]>", and frees. */
void hy_tally_end(struct hy_tally *t, const char *key, const int *values, hy_score_fn *emit,
                  void *context);

#endif
