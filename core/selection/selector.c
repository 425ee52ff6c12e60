#include "core/selection/selector.h"

#include <string.h>

const struct hy_selector *hy_selector_find(const char *name)
{
    for (int i = 0; hy_selectors[i]; i++)
        if (!strcmp(hy_selectors[i]->name, name))
            return hy_selectors[i];
    return NULL;
}

int hy_choose_next(const double *importance, const unsigned char *full, int layers)
{
    int next = -1;
    for (int i = 0; i < layers; i++)
        if (!full[i] && (next < 0 || importance[i] > importance[next]))
            next = i;
    return next;
}

void hy_choose_top(struct hy_choosing *c, int count)
{
    memset(c->full, 0, sizeof c->full);
    for (int i = 0; i < count; i++)
        c->full[hy_choose_next(c->importance, c->full, c->layers)] = 1;
}

int hy_choose_is_within(struct hy_choosing *c, int *within, struct hy_err *e)
{
    double loss;
    *within = 1;
    if (!c->evaluate)
        return HY_OK;
    const int rc = c->evaluate(c->context, c->full, &loss, e);
    if (!rc)
        *within = loss <= c->limit;
    return rc;
}

int hy_choose_by_importance(struct hy_choosing *c, struct hy_err *e)
{
    int within = 0, rc = HY_OK;
    if (c->budget >= 0) {
        hy_choose_top(c, c->budget);
        return HY_OK;
    }
    for (int count = 0; !rc && !within && count <= c->layers; count++) {
        hy_choose_top(c, count);
        rc = hy_choose_is_within(c, &within, e);
    }
    return rc;
}
