#include "runner/lead/rungs.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of each rung the first score at its step or later. */
struct scores {
    struct hy_halving *halving; /* has all but the last */
    int run;
    int count;    /* rungs with a score, from the first on without a gap */
    double score; /* of the last */
};

static int take_score(void *context, int columns, const char *const *names,
                      const char *const *values)
{
    struct scores *s = context;
    (void)columns, (void)names;
    const int64_t step = strtoll(values[0], NULL, 10);
    const int64_t next = hy_halving_step(s->halving, s->run, s->count);
    if (!next || step < next)
        return 0;
    if (s->count++)
        hy_halving_pass(s->halving, s->run, s->score);
    s->score = values[1] ? strtod(values[1], NULL) : NAN;
    return 0;
}

int hy_rungs_restore(struct hy_halving *h, int run, struct hy_store *store, int64_t id,
                     const char *status, int *waits, struct hy_err *e)
{
    static const char query[] =
        "SELECT step, value FROM history WHERE run = ?1 AND name = ?2 ORDER BY step";
    char number[32], name[32];
    struct scores s = {.run = run, .halving = h};
    *waits = 0;
    if (!hy_halving_applies(h, run) || !strcmp(status, "pending"))
        return HY_OK;
    snprintf(number, sizeof number, "%" PRId64, id);
    snprintf(name, sizeof name, "valid.%s", hy_metric_name(hy_halving_metric(h, run)));
    const char *const params[] = {number, name};
    const int rc = hy_store_query(store, query, 2, params, take_score, &s, e);
    if (rc)
        return rc;
    *waits = s.count && !strcmp(status, "pruned");
    if (*waits)
        hy_halving_reach(h, run, s.score);
    else if (s.count)
        hy_halving_pass(h, run, s.score);
    hy_halving_end(h, run, status);
    return HY_OK;
}
