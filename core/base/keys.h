/* keys.h - a table from hash texts (core/base/hash.h) to numbers, as large as it is told at first.
 */
#ifndef HY_BASE_KEYS_H
#define HY_BASE_KEYS_H

#include <stddef.h>

#include "core/base/err.h"
#include "core/base/hash.h"

struct hy_keys {
    struct hy_keys_slot {
        char key[HY_HASH_TEXT]; /* "": free */
        int number;
    } * slots;
    size_t size;
};

/* For at most `count` keys. */
int hy_keys_init(struct hy_keys *k, size_t count, struct hy_err *e);
void hy_keys_release(struct hy_keys *k);
/* The number under key; -1 where it is new, and now has `number`. */
int hy_keys_put(struct hy_keys *k, const char *key, int number);
int hy_keys_find(const struct hy_keys *k, const char *key); /* -1 where absent */

#endif
