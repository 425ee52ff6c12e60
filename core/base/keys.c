#include "core/base/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hy_keys_init(struct hy_keys *k, size_t count, struct hy_err *e)
{
    k->size = 2 * count + 1;
    k->slots = calloc(k->size, sizeof *k->slots);
    return k->slots ? HY_OK : hy_fail_memory(e);
}

void hy_keys_release(struct hy_keys *k)
{
    free(k->slots);
    *k = (struct hy_keys){0};
}

/* Where key lies, or the free slot that it would take: at most half of them are taken. */
static struct hy_keys_slot *slot_of(const struct hy_keys *k, const char *key)
{
    char head[16];
    snprintf(head, sizeof head, "%.15s", key); /* it is a hash already */
    size_t at = strtoull(head, NULL, 16) % k->size;
    while (*k->slots[at].key && strcmp(k->slots[at].key, key) != 0)
        at = (at + 1) % k->size;
    return &k->slots[at];
}

int hy_keys_put(struct hy_keys *k, const char *key, int number)
{
    struct hy_keys_slot *slot = slot_of(k, key);
    if (*slot->key)
        return slot->number;
    snprintf(slot->key, sizeof slot->key, "%s", key);
    slot->number = number;
    return -1;
}

int hy_keys_find(const struct hy_keys *k, const char *key)
{
    const struct hy_keys_slot *slot = slot_of(k, key);
    return *slot->key ? slot->number : -1;
}
