#include "core/trial/origin.h"

#include <stdio.h>
#include <string.h>

#include "core/selection/names.h"

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
        out->names = hy_foreign_order(&out->foreign);
    return rc;
}

/* context: the names that the origin's have beside that. */
static int without_branch(void *context, const char *name, char out[HY_NAME_SIZE])
{
    const struct hy_weights_order *names = context;
    char plain[HY_NAME_SIZE];
    hy_plain_name(name, plain);
    if (names->rename)
        return names->rename(names->context, plain, out);
    snprintf(out, HY_NAME_SIZE, "%s", plain);
    return 1;
}

struct hy_weights_order hy_origin_order(const struct hy_origin *o, const struct hy_config *c)
{
    struct hy_weights_order order = o->names;
    order.map = c->init.map;
    order.strict = c->init.strict;
    if (c->select.method) {
        order.rename = without_branch;
        order.context = (void *)&o->names;
        order.may_differ = "*.attn.*";
        order.strict = 0;
    }
    return order;
}

void hy_origin_close(struct hy_origin *o)
{
    hy_weights_close(&o->weights);
    hy_foreign_close(&o->foreign);
}
