/* origin.h - where the weights of section init come from: the checkpoint of the source run, or a
 * folder of another program. Seen by core/trial only. */
#ifndef HY_TRIAL_ORIGIN_H
#define HY_TRIAL_ORIGIN_H

#include "core/interchange/interchange.h"

struct hy_origin {
    struct hy_weights weights;
    struct hy_weights_order names; /* how a folder's are looked for */
    struct hy_foreign foreign;     /* of a folder */
};

/* source: the checkpoint of the run that c starts from, where it is no folder; NULL: nobody has
 * given it, an error. Close *out. */
int hy_origin_open(const struct hy_config *c, const char *source, struct hy_origin *out,
                   struct hy_err *e);
void hy_origin_close(struct hy_origin *o);

/* How the model of c takes its weights from there; borrows both. A layer of both mixers, whose
 * parameters carry the mixers' names, takes those of the source's one mixer for either. */
struct hy_weights_order hy_origin_order(const struct hy_origin *o, const struct hy_config *c);

#endif
