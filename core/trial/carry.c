#include "core/trial/carry.h"

#include <stdlib.h>
#include <string.h>

#include "core/model/model.h"

int hy_carry_init(struct hy_carry *c, const struct hy_slab *from, int count, struct hy_err *e)
{
    *c = (struct hy_carry){.count = count};
    c->weights = calloc((size_t)count, sizeof *c->weights);
    if (!c->weights)
        return hy_fail_memory(e);
    for (int i = 0; i < from->entry_count; i++)
        if (hy_slab_add(&c->layout, &from->entries[i], e) < 0)
            return e->code;
    return HY_OK;
}

void hy_carry_release(struct hy_carry *c)
{
    for (int r = 0; c->weights && r < c->count; r++)
        free(c->weights[r]);
    free(c->weights);
    hy_slab_release(&c->layout);
}

int hy_carry_take(struct hy_carry *c, const struct hy_slab *from, int replica, struct hy_err *e)
{
    c->weights[replica] = malloc((size_t)from->count * sizeof **c->weights);
    return c->weights[replica] ? hy_slab_read(from, replica, c->weights[replica], e)
                               : hy_fail_memory(e);
}

int hy_carry_give(const struct hy_carry *c, struct hy_slab *to, int replica, uint64_t seed,
                  struct hy_err *e)
{
    hy_real *all = malloc((size_t)to->count * sizeof *all);
    int rc = all ? hy_slab_draw(to, replica, seed, e) : hy_fail_memory(e);
    if (!rc)
        rc = hy_slab_read(to, replica, all, e);
    for (int i = 0; i < to->entry_count && !rc; i++) {
        const struct hy_entry *entry = &to->entries[i];
        const int at = hy_model_owns(entry->name) ? hy_slab_find(&c->layout, entry->name) : -1;
        if (at >= 0)
            memcpy(all + entry->offset, c->weights[replica] + c->layout.entries[at].offset,
                   (size_t)entry->count * sizeof *all);
    }
    if (!rc)
        rc = hy_slab_write(to, replica, all, e);
    free(all);
    return rc;
}
