/* hash.h - 128-bit content hashes (XXH3, by libxxhash): run keys, corpora, checkpoints. */
#ifndef HY_BASE_HASH_H
#define HY_BASE_HASH_H

#include <stddef.h>

#include "core/base/err.h"

#define HY_HASH_TEXT 33 /* 32 hex digits and the end */

void hy_hash_bytes(const void *bytes, size_t size, char text[HY_HASH_TEXT]);
/* Hashes a file's content, read in pieces. */
int hy_hash_file(const char *path, char text[HY_HASH_TEXT], struct hy_err *e);

#endif
