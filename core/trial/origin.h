/* origin.h - where the weights of section init come from: the checkpoint of the source run, or a
 * folder of another program. Seen by core/trial only. */
#ifndef HY_TRIAL_ORIGIN_H
#define HY_TRIAL_ORIGIN_H

#include "core/interchange/interchange.h"

struct hy_origin {
    struct hy_weights weights;
    struct hy_weights_order order; /* names; the caller may add to it */
    struct hy_foreign foreign;     /* of a folder */
};

/* source: the checkpoint of the run that c starts from, where it is no folder; NULL: nobody has
 * given it, an error. Close *out. */
int hy_origin_open(const struct hy_config *c, const char *source, struct hy_origin *out,
                   struct hy_err *e);
void hy_origin_close(struct hy_origin *o);

#endif
