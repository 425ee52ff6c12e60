/* imported.h - a model from a folder with its weights, for looking at what it computes. */
#ifndef HY_INTERCHANGE_IMPORTED_H
#define HY_INTERCHANGE_IMPORTED_H

#include "core/interchange/interchange.h"

struct hy_imported {
    struct hy_foreign foreign;
    struct hy_config config; /* of the model alone */
    struct hy_model_spec spec;
    struct hy_slab params;
    struct hy_weights_report report; /* what was taken */
};

/* Reads all of a folder. Release also after a failure. */
int hy_imported_open(const char *folder, struct hy_imported *out, struct hy_err *e);
void hy_imported_release(struct hy_imported *m);

/* logits [count, vocab], the caller's, of one sequence of tokens. */
int hy_imported_logits(struct hy_imported *m, const int32_t *tokens, int count, float *logits,
                       struct hy_err *e);

#endif
