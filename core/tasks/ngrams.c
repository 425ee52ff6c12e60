#include "core/tasks/ngrams.h"

#include <stdlib.h>

#define NOTHING UINT64_MAX /* no n-gram: they have 7 bytes at most */

void hy_ngrams_release(struct hy_ngrams *t)
{
    free(t->slots);
    *t = (struct hy_ngrams){0};
}

void hy_ngrams_clear(struct hy_ngrams *t)
{
    for (size_t i = 0; i < t->room; i++)
        t->slots[i].bytes = NOTHING;
    t->used = 0;
}

static struct hy_ngram *probe(const struct hy_ngrams *t, uint64_t bytes)
{
    size_t i = (size_t)(bytes * 0x9E3779B97F4A7C15u >> 32) & (t->room - 1);
    while (t->slots[i].bytes != bytes && t->slots[i].bytes != NOTHING)
        i = (i + 1) & (t->room - 1);
    return &t->slots[i];
}

int hy_ngrams_reserve(struct hy_ngrams *t, size_t count, struct hy_err *e)
{
    if (2 * count <= t->room)
        return HY_OK;
    struct hy_ngrams larger = {.used = t->used, .room = 1024};
    while (larger.room < 2 * count)
        larger.room *= 2;
    larger.slots = malloc(larger.room * sizeof *larger.slots);
    if (!larger.slots)
        return hy_fail_memory(e);
    for (size_t i = 0; i < larger.room; i++)
        larger.slots[i].bytes = NOTHING;
    for (size_t i = 0; i < t->room; i++)
        if (t->slots[i].bytes != NOTHING)
            *probe(&larger, t->slots[i].bytes) = t->slots[i];
    free(t->slots);
    *t = larger;
    return HY_OK;
}

uint32_t *hy_ngrams_add(struct hy_ngrams *t, uint64_t bytes)
{
    struct hy_ngram *slot = probe(t, bytes);
    if (slot->bytes == NOTHING) {
        *slot = (struct hy_ngram){bytes, 0};
        t->used++;
    }
    return &slot->count;
}

uint32_t *hy_ngrams_find(const struct hy_ngrams *t, uint64_t bytes)
{
    if (!t->room)
        return NULL;
    struct hy_ngram *slot = probe(t, bytes);
    return slot->bytes == bytes ? &slot->count : NULL;
}
