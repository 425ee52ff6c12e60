#include "core/model/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/model.h"

void hy_snapshot_release(struct hy_snapshot *s)
{
    hy_slab_release(&s->layout);
    free(s->data);
    *s = (struct hy_snapshot){0};
}

int hy_snapshot_take(struct hy_snapshot *s, const struct hy_slab *from, int replica,
                     struct hy_err *e)
{
    struct hy_snapshot taken = {0};
    hy_real *all = malloc((size_t)(from->count + 1) * sizeof *all);
    int rc = all ? hy_slab_read(from, replica, all, e) : hy_fail_memory(e);
    hy_slab_init(&taken.layout, 1);
    for (int i = 0; i < from->entry_count && !rc; i++)
        if (hy_model_owns(from->entries[i].name) &&
            hy_slab_add(&taken.layout, &from->entries[i], e) < 0)
            rc = e->code;
    if (!rc && !(taken.data = malloc((size_t)(taken.layout.count + 1) * sizeof *taken.data)))
        rc = hy_fail_memory(e);
    for (int i = 0, k = 0; i < from->entry_count && !rc; i++) {
        const struct hy_entry *entry = &from->entries[i];
        if (hy_model_owns(entry->name))
            memcpy(taken.data + taken.layout.entries[k++].offset, all + entry->offset,
                   (size_t)entry->count * sizeof *all);
    }
    free(all);
    hy_snapshot_release(rc ? &taken : s);
    if (!rc)
        *s = taken;
    return rc;
}

int hy_snapshot_copy(struct hy_snapshot *s, const struct hy_snapshot *from, struct hy_err *e)
{
    struct hy_slab held = from->layout; /* as a slab that lies where the snapshot's data are */
    held.data = from->data;
    held.device = NULL;
    return hy_snapshot_take(s, &held, 0, e);
}

/* The snapshot's entry for a parameter; NULL: none of that name and shape. */
static const struct hy_entry *find(const struct hy_snapshot *s, hy_snapshot_name *name,
                                   void *context, const struct hy_entry *wanted)
{
    char there[HY_NAME_SIZE];
    snprintf(there, sizeof there, "%s", wanted->name);
    if (!hy_model_owns(wanted->name) || (name && !name(context, wanted->name, there)))
        return NULL;
    const int at = hy_slab_find(&s->layout, there);
    const struct hy_entry *found = at < 0 ? NULL : &s->layout.entries[at];
    return found && found->rank == wanted->rank &&
                   !memcmp(found->dims, wanted->dims, (size_t)found->rank * sizeof *found->dims)
               ? found
               : NULL;
}

int hy_snapshot_give(const struct hy_snapshot *s, hy_snapshot_name *name, void *context,
                     struct hy_slab *to, int replica, struct hy_err *e)
{
    hy_real *all = malloc((size_t)(to->count + 1) * sizeof *all);
    int rc = all ? hy_slab_read(to, replica, all, e) : hy_fail_memory(e);
    for (int i = 0; i < to->entry_count && !rc; i++) {
        const struct hy_entry *entry = &to->entries[i], *from = find(s, name, context, entry);
        if (from)
            memcpy(all + entry->offset, s->data + from->offset, (size_t)entry->count * sizeof *all);
    }
    if (!rc)
        rc = hy_slab_write(to, replica, all, e);
    free(all);
    return rc;
}
