/* found.h - what a run that selects its layers has found so far: it goes into its checkpoints, as
 * text. Seen by core/trial only. */
#ifndef HY_TRIAL_FOUND_H
#define HY_TRIAL_FOUND_H

#include <stdint.h>

#include "core/base/buf.h"
#include "core/model/layout.h"

struct hy_found {
    int layers;
    int decided;                       /* the rest of the next group holds */
    unsigned char full[HY_MAX_LAYERS]; /* the layout now */
    double importance[HY_MAX_LAYERS];  /* as in struct hy_choosing, as all of these */
    double added[HY_MAX_LAYERS];
    double logits[HY_MAX_LAYERS]; /* of the gates, at the decision; NaN: it had none */
    int64_t evaluations;          /* layouts that were evaluated */

    double reference; /* loss of the model that the tolerance is against; NaN: not known */
    double loss;      /* its own, when it was last verified; NaN: it was not */
    int given_back;   /* layers, each followed by a round of stages */
    int returned;     /* the last of them; -1: none was */
    int met;          /* the loss was within the tolerance then */

    double probes[HY_MAX_LAYERS]; /* losses at the ends of probes; NaN: still to come */
    int part;                     /* the probe that it is in; -1: none has begun */
    double sum;                   /* of losses, of the last steps of that */
    int64_t summed;
};

void hy_found_init(struct hy_found *f, int layers);
/* Replaces the text. */
int hy_found_encode(const struct hy_found *f, struct hy_buf *out, struct hy_err *e);
int hy_found_decode(const char *text, struct hy_found *out, struct hy_err *e);

#endif
