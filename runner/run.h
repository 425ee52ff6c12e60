/* run.h - a whole sweep, on all ranks. */
#ifndef HY_RUNNER_RUN_H
#define HY_RUNNER_RUN_H

#include <stddef.h>

#include "core/base/err.h"

struct hy_run_request {
    const char *sweep;       /* path of the sweep file */
    const char *const *sets; /* "path=value", live as long as the program */
    size_t set_count;
    const char *database; /* NULL: <name of the sweep>.db */
    const char *version;  /* of the program, for the store */
    double patience;      /* seconds of silence after which a rank counts as lost */
};

/* The database of a request for the sweep of that name; the caller frees. NULL: no memory. */
char *hy_run_database(const struct hy_run_request *request, const char *name);

/* Collective: every rank calls it with the same request; rank 0 alone reads the sweep and writes
 * the store. Returns HY_E_RUN where runs failed or diverged, HY_E_INTERRUPTED after a signal; other
 * ranks than 0 return HY_OK. */
int hy_run_sweep(const struct hy_run_request *request, struct hy_err *e);

#endif
