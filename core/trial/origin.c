#include "core/trial/origin.h"

int hy_origin_open(const struct hy_config *c, const char *source, struct hy_origin *out,
                   struct hy_err *e)
{
    const char *path = c->init.folder ? c->init.folder : source;
    *out = (struct hy_origin){0};
    if (!path)
        return hy_fail(e, HY_E_USAGE,
                       "the run starts from another one's weights, which nobody has given: train "
                       "it with hylas run");
    int rc = hy_weights_open(path, &out->weights, e);
    if (!rc && c->init.folder)
        rc = hy_foreign_open(path, &out->foreign, e);
    if (rc)
        hy_origin_close(out);
    else
        out->order = hy_foreign_order(&out->foreign);
    return rc;
}

void hy_origin_close(struct hy_origin *o)
{
    hy_weights_close(&o->weights);
    hy_foreign_close(&o->foreign);
}
