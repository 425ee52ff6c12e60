/* decoder.h - a model that continues sequences token by token from their caches. */
#ifndef HY_MODEL_DECODER_H
#define HY_MODEL_DECODER_H

#include "core/model/model.h"

struct hy_decoder {
    struct hy_slab cache;
    struct hy_graph *graph;    /* graph->position: tokens that the cache holds before a run */
    struct hy_model_ends ends; /* tokens to fill, logits to read */
    int64_t cache_bytes;       /* of one sequence */
};

/* One-token steps of `batch` sequences of at most `context` tokens. params: borrowed; where open,
 * they are made as the model wants them, zero. dry: plans without allocating. Fails when the cache
 * is not what the variants declare. Release also after a failure. */
int hy_decoder_init(struct hy_decoder *d, const struct hy_model_spec *spec, struct hy_slab *params,
                    int batch, int context, int dry, struct hy_err *e);
void hy_decoder_release(struct hy_decoder *d);

/* Steps per second at the full context: of the token that fills the cache, done over and over for
 * about `seconds`; NaN where the device fails. What the cache holds afterwards means nothing. */
double hy_decoder_rate(struct hy_decoder *d, double seconds);

#endif
