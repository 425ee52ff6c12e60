/* hash.h - 128-bit content hashes (XXH3, by libxxhash): run keys, corpora, checkpoints; and a
 * 32-bit one for names. */
#ifndef HY_BASE_HASH_H
#define HY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

#define HY_HASH_TEXT 33 /* 32 hex digits and the end */

void hy_hash_bytes(const void *bytes, size_t size, char text[HY_HASH_TEXT]);
/* Hashes a file's content, read in pieces. */
int hy_hash_file(const char *path, char text[HY_HASH_TEXT], struct hy_err *e);

/* XXH32 with seed 0. */
uint32_t hy_hash32(const void *bytes, size_t size);

#endif
