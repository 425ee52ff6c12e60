#include "core/trial/found.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void hy_found_init(struct hy_found *f, int layers)
{
    *f = (struct hy_found){
        .layers = layers, .reference = NAN, .loss = NAN, .returned = -1, .part = -1};
    for (int i = 0; i < layers; i++)
        f->importance[i] = f->added[i] = f->logits[i] = f->probes[i] = NAN;
}

/* The numbers in their order: 17 digits keep every bit. */
int hy_found_encode(const struct hy_found *f, struct hy_buf *out, struct hy_err *e)
{
    hy_buf_release(out);
    hy_buf_printf(out, "%d %d %" PRId64 " %d %d %d %d %" PRId64 " %.17g %.17g %.17g", f->layers,
                  f->decided, f->evaluations, f->given_back, f->returned, f->met, f->part,
                  f->summed, f->reference, f->loss, f->sum);
    for (int i = 0; i < f->layers; i++)
        hy_buf_printf(out, " %d %.17g %.17g %.17g %.17g", f->full[i], f->importance[i], f->added[i],
                      f->logits[i], f->probes[i]);
    return hy_buf_failed(out) ? hy_fail_memory(e) : HY_OK;
}

/* The next number of the text; the text becomes NULL where there is none. */
static double next(const char **text)
{
    char *end = NULL;
    const double x = *text ? strtod(*text, &end) : 0;
    *text = end == *text ? NULL : end;
    return x;
}

int hy_found_decode(const char *text, struct hy_found *out, struct hy_err *e)
{
    struct hy_found f;
    const double layers = text ? next(&text) : 0;
    if (!(layers >= 1 && layers <= HY_MAX_LAYERS))
        return hy_fail(e, HY_E_USAGE, "the checkpoint does not say what its run has selected");
    hy_found_init(&f, (int)layers);
    f.decided = next(&text) != 0;
    f.evaluations = (int64_t)next(&text);
    f.given_back = (int)next(&text);
    f.returned = (int)next(&text);
    f.met = next(&text) != 0;
    f.part = (int)next(&text);
    f.summed = (int64_t)next(&text);
    f.reference = next(&text);
    f.loss = next(&text);
    f.sum = next(&text);
    for (int i = 0; i < f.layers; i++) {
        f.full[i] = next(&text) != 0;
        f.importance[i] = next(&text);
        f.added[i] = next(&text);
        f.logits[i] = next(&text);
        f.probes[i] = next(&text);
    }
    if (!text || f.given_back < 0 || f.given_back > f.layers)
        return hy_fail(e, HY_E_USAGE, "what the checkpoint says of its run's selection is damaged");
    *out = f;
    return HY_OK;
}
