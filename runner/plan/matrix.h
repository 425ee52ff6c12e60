/* matrix.h - from a document with a `matrix` to one document per run. Knows values, no YAML. */
#ifndef HY_RUNNER_PLAN_MATRIX_H
#define HY_RUNNER_PLAN_MATRIX_H

#include "runner/plan/sweep.h"

enum { HY_MAX_CELLS = 1000000 };
/* Values in all cells together, 150 bytes each. */
#ifndef HY_MAX_VALUES
#define HY_MAX_VALUES 50000000
#endif

/* document: borrowed. sets: a map from dotted paths to the values that win over all others. Fills
 * out->axes and out->cells. */
int hy_matrix_expand(const struct hy_value *document, const struct hy_value *sets,
                     struct hy_sweep *out, struct hy_err *e);

/* Sets a dotted path of tree to a copy of value; mark: where the path was written. */
int hy_matrix_set(struct hy_value *tree, const char *path, const struct hy_value *value,
                  struct hy_mark mark, struct hy_err *e);

#endif
