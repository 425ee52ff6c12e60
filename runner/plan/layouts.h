/* layouts.h - an axis of all layouts of a depth, for exhaustive studies:
 *
 *   layers.list: {all: [linear, full], full: [1, 2]}
 *
 * stands for every list of those kinds with one to two full layers. Each kind may be bounded, by
 * [least, most] or by the one number that is both. */
#ifndef HY_RUNNER_PLAN_LAYOUTS_H
#define HY_RUNNER_PLAN_LAYOUTS_H

#include "core/base/value.h"

/* axis: the map, borrowed. *out: a new list of lists of names, the first kind's layouts first. An
 * error where the bounds leave none, and where there are more than `most`. */
int hy_layouts_enumerate(const struct hy_value *axis, int depth, size_t most, struct hy_value **out,
                         struct hy_err *e);

#endif
