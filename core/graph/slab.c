#include "core/graph/slab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

enum { HUGE_PAGE = 2 << 20 };

void hy_slab_init(struct hy_slab *s, int replicas)
{
    *s = (struct hy_slab){.replicas = replicas};
}

void hy_slab_release(struct hy_slab *s)
{
    free(s->entries);
    free(s->data);
    *s = (struct hy_slab){0};
}

int hy_slab_find(const struct hy_slab *s, const char *name)
{
    for (int i = 0; i < s->entry_count; i++)
        if (!strcmp(s->entries[i].name, name))
            return i;
    return -1;
}

int hy_slab_add(struct hy_slab *s, const struct hy_entry *entry, struct hy_err *e)
{
    const int found = hy_slab_find(s, entry->name);
    if (found >= 0) {
        const struct hy_entry *old = &s->entries[found];
        if (old->rank == entry->rank &&
            !memcmp(old->dims, entry->dims, (size_t)entry->rank * sizeof *entry->dims))
            return found;
        hy_fail(e, HY_E_USAGE, "%s is asked for with two shapes", entry->name);
        return -1;
    }
    if (s->data) {
        hy_fail(e, HY_E_USAGE, "%s is not among the model's tensors", entry->name);
        return -1;
    }
    if (s->entry_count == s->entry_room) {
        const int room = s->entry_room ? 2 * s->entry_room : 64;
        struct hy_entry *entries = realloc(s->entries, (size_t)room * sizeof *entries);
        if (!entries) {
            hy_fail_memory(e);
            return -1;
        }
        s->entries = entries;
        s->entry_room = room;
    }
    struct hy_entry *added = &s->entries[s->entry_count];
    *added = *entry;
    added->offset = s->count;
    added->count = 1;
    for (int i = 0; i < entry->rank; i++)
        added->count *= entry->dims[i];
    s->count += added->count;
    return s->entry_count++;
}

int hy_slab_allocate(struct hy_slab *s, struct hy_err *e)
{
    const size_t bytes = (size_t)s->count * (size_t)s->replicas * sizeof *s->data;
    const size_t room = (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    s->data = aligned_alloc(bytes < HUGE_PAGE ? 64 : HUGE_PAGE, room);
    if (!s->data)
        return hy_fail(e, HY_E_ENV, "out of memory: parameters need %zu bytes", bytes);
    if (bytes >= HUGE_PAGE)
        madvise(s->data, room, MADV_HUGEPAGE);
    memset(s->data, 0, bytes);
    return HY_OK;
}

int hy_slab_like(struct hy_slab *s, const struct hy_slab *model, struct hy_err *e)
{
    hy_slab_init(s, model->replicas);
    s->entries = malloc((size_t)(model->entry_count + 1) * sizeof *s->entries);
    if (!s->entries)
        return hy_fail_memory(e);
    if (model->entry_count)
        memcpy(s->entries, model->entries, (size_t)model->entry_count * sizeof *s->entries);
    s->entry_count = s->entry_room = model->entry_count;
    s->count = model->count;
    return hy_slab_allocate(s, e);
}

void hy_slab_draw(struct hy_slab *s, int replica, uint64_t seed)
{
    hy_real *data = s->data + (int64_t)replica * s->count;
    for (int i = 0; i < s->entry_count; i++) {
        const struct hy_entry *entry = &s->entries[i];
        /* Keyed by name: a parameter starts alike whatever else the model holds. */
        const uint32_t name = XXH32(entry->name, strlen(entry->name), 0);
        struct hy_rng rng = hy_rng_start(seed, HY_RNG_INIT, name, 0);
        for (int64_t k = 0; k < entry->count; k++) {
            double value = entry->init.a;
            if (entry->init.law == HY_INIT_NORMAL)
                value += entry->init.b * hy_rng_normal(&rng);
            else if (entry->init.law == HY_INIT_DRAW)
                value = entry->init.draw(&rng, entry->init.a, entry->init.b);
            data[entry->offset + k] = (hy_real)value;
        }
    }
}
