#include "core/graph/slab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/hash.h"

enum { HUGE_PAGE = 2 << 20 };

static size_t bytes_of(const struct hy_slab *s)
{
    return (size_t)s->count * (size_t)s->replicas * sizeof *s->data;
}

void hy_slab_init(struct hy_slab *s, int replicas)
{
    *s = (struct hy_slab){.replicas = replicas};
}

void hy_slab_release(struct hy_slab *s)
{
    free(s->entries);
    if (s->device)
        hy_device_free(s->device, s->data, bytes_of(s));
    else
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
    added->frozen = s->trains && !s->trains(s->context, entry);
    s->count += added->count;
    return s->entry_count++;
}

int hy_slab_allocate(struct hy_slab *s, struct hy_err *e)
{
    const size_t bytes = bytes_of(s);
    if (s->device) {
        void *data;
        const int rc = hy_device_alloc(s->device, bytes, "parameters", &data, e);
        if (!rc)
            s->data = data;
        return rc;
    }
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
    s->device = model->device;
    s->entries = malloc((size_t)(model->entry_count + 1) * sizeof *s->entries);
    if (!s->entries)
        return hy_fail_memory(e);
    if (model->entry_count)
        memcpy(s->entries, model->entries, (size_t)model->entry_count * sizeof *s->entries);
    s->entry_count = s->entry_room = model->entry_count;
    s->count = model->count;
    return hy_slab_allocate(s, e);
}

static double identity(const struct hy_entry *entry, int64_t k)
{
    const int64_t cols = entry->dims[entry->rank - 1], rows = entry->dims[entry->rank - 2];
    return k % cols == k / cols % rows;
}

static void draw(const struct hy_slab *s, uint64_t seed, hy_real *data)
{
    for (int i = 0; i < s->entry_count; i++) {
        const struct hy_entry *entry = &s->entries[i];
        /* Keyed by name: a parameter starts alike whatever else the model holds. */
        const uint32_t name = hy_hash32(entry->name, strlen(entry->name));
        struct hy_rng rng = hy_rng_start(seed, HY_RNG_INIT, name, 0);
        for (int64_t k = 0; k < entry->count; k++) {
            double value = entry->init.a;
            if (entry->init.law == HY_INIT_NORMAL)
                value += entry->init.b * hy_rng_normal(&rng);
            else if (entry->init.law == HY_INIT_DRAW)
                value = entry->init.draw(&rng, entry->init.a, entry->init.b);
            else if (entry->init.law == HY_INIT_IDENTITY)
                value = identity(entry, k);
            data[entry->offset + k] = (hy_real)value;
        }
    }
}

int hy_slab_draw(struct hy_slab *s, int replica, uint64_t seed, struct hy_err *e)
{
    if (!s->device) {
        draw(s, seed, s->data + (int64_t)replica * s->count);
        return HY_OK;
    }
    hy_real *data = malloc((size_t)s->count * sizeof *data);
    if (!data)
        return hy_fail_memory(e);
    draw(s, seed, data);
    const int rc = hy_slab_write(s, replica, data, e);
    free(data);
    return rc;
}

int hy_slab_read(const struct hy_slab *s, int replica, hy_real *out, struct hy_err *e)
{
    const size_t bytes = (size_t)s->count * sizeof *s->data;
    const hy_real *from = s->data + (int64_t)replica * s->count;
    if (s->device)
        return hy_device_read(s->device, out, from, bytes, e);
    memcpy(out, from, bytes);
    return HY_OK;
}

int hy_slab_write(struct hy_slab *s, int replica, const hy_real *data, struct hy_err *e)
{
    const size_t bytes = (size_t)s->count * sizeof *s->data;
    hy_real *to = s->data + (int64_t)replica * s->count;
    if (s->device)
        return hy_device_write(s->device, to, data, bytes, e);
    memcpy(to, data, bytes);
    return HY_OK;
}
