/* XXH32 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), which initial weights are keyed by:
 * spelled out here, so that the engine needs no library for it. */
#include <string.h>

#include "core/base/hash.h"

static const uint32_t prime1 = 2654435761u, prime2 = 2246822519u, prime3 = 3266489917u,
                      prime4 = 668265263u, prime5 = 374761393u;

static uint32_t rotate(uint32_t x, int bits)
{
    return x << bits | x >> (32 - bits);
}

static uint32_t word_at(const unsigned char *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

uint32_t hy_hash32(const void *bytes, size_t size)
{
    const unsigned char *p = bytes, *const end = p + size;
    uint32_t h = prime5;
    if (size >= 16) {
        uint32_t lanes[4] = {prime1 + prime2, prime2, 0, -prime1};
        for (; end - p >= 16; p += 16)
            for (int i = 0; i < 4; i++)
                lanes[i] = rotate(lanes[i] + word_at(p + 4 * i) * prime2, 13) * prime1;
        h = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
    }
    h += (uint32_t)size;
    for (; end - p >= 4; p += 4)
        h = rotate(h + word_at(p) * prime3, 17) * prime4;
    for (; p < end; p++)
        h = rotate(h + *p * prime5, 11) * prime1;
    h = (h ^ h >> 15) * prime2;
    h = (h ^ h >> 13) * prime3;
    return h ^ h >> 16;
}
