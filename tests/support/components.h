/* components.h - scores of made-up runs and of their components. */
#ifndef HY_TESTS_COMPONENTS_H
#define HY_TESTS_COMPONENTS_H

#include "tests/support/results.h"

/* A score of the test split. component NULL: of the whole model. */
static inline void components_score(struct hy_store *s, int64_t run, const char *component,
                                    const char *task, const char *slice, const char *metric,
                                    double value)
{
    const struct hy_row row = {.type = HY_ROW_SLICE,
                               .task = task,
                               .split = "test",
                               .slice = slice,
                               .component = component,
                               .name = metric,
                               .value = value};
    RESULTS_CHECK(hy_store_row(s, run, &row, &e_));
}

/* The scores of whole, window and none in one quantity. */
static inline void components_three(struct hy_store *s, int64_t run, const char *task,
                                    const char *slice, const char *metric, double full,
                                    double window, double none)
{
    components_score(s, run, NULL, task, slice, metric, full);
    components_score(s, run, "window", task, slice, metric, window);
    components_score(s, run, "none", task, slice, metric, none);
}

#endif
