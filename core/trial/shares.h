/* shares.h - how much of their attention mixers with a window give to what lies outside it: the
 * number that says whether their linear part is used. Seen by core/trial only. */
#ifndef HY_TRIAL_SHARES_H
#define HY_TRIAL_SHARES_H

#include "core/trial/engine.h"
#include "core/trial/member.h"

/* Of one head, summed over the queries of the test split. */
struct hy_share {
    double all, beyond; /* beyond: of queries whose answer lies outside the window */
    int64_t count, beyond_count;
};

/* Makes room for the shares of all replicas, layers and heads; x->shares stays NULL where no mixer
 * has a window and a linear part. */
int hy_shares_init(struct hy_engine *x, struct hy_err *e);
void hy_shares_release(struct hy_engine *x);
/* Forgets what was summed up. */
void hy_shares_clear(struct hy_engine *x);
/* Keeps, of a graph that is being built, what hy_shares_add reads. */
void hy_shares_keep(struct hy_model_ends *ends, int layers);
/* Adds a replica's run of `rows` sequences. where: [rows * tokens], as hy_task.evidence gives
 * it, -1 where there is none. */
int hy_shares_add(struct hy_engine *x, const struct hy_evaluator *v, int replica, int rows,
                  const int32_t *where, struct hy_err *e);
/* Reports, for each head and as a layer's mean, the window's factor (metric gamma) and the shares
 * (far_share, far_share_beyond). */
int hy_shares_tell(const struct hy_member *m, const struct hy_engine *x, struct hy_err *e);

/* Tokens back from which no window of the model reaches; 0: no mixer has a window and a linear
 * part. */
int hy_shares_reach(const struct hy_model_spec *spec);

#endif
