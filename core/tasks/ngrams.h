/* ngrams.h - counts of short byte strings: a hash table from up to 7 bytes, packed, to a number. */
#ifndef HY_TASKS_NGRAMS_H
#define HY_TASKS_NGRAMS_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

enum { HY_MAX_NGRAM = 7 };

struct hy_ngram {
    uint64_t bytes;
    uint32_t count;
};

struct hy_ngrams {
    struct hy_ngram *slots; /* at most half of them used; NULL while there is no room */
    size_t used, room;      /* room: 0 or a power of two */
};

/* The n-gram that follows another by one byte. */
static inline uint64_t hy_ngram_next(uint64_t before, unsigned byte, int n)
{
    return (before << 8 | byte) & (((uint64_t)1 << 8 * n) - 1);
}

void hy_ngrams_release(struct hy_ngrams *t);
/* Empties the table, keeping its memory. */
void hy_ngrams_clear(struct hy_ngrams *t);
/* Makes room for so many n-grams in all. */
int hy_ngrams_reserve(struct hy_ngrams *t, size_t count, struct hy_err *e);
/* Finds or adds (count 0); there must be room. */
uint32_t *hy_ngrams_add(struct hy_ngrams *t, uint64_t bytes);
uint32_t *hy_ngrams_find(const struct hy_ngrams *t, uint64_t bytes); /* NULL where absent */

#endif
