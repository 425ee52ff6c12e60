#include "core/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

static void to_text(XXH128_hash_t hash, char text[HY_HASH_TEXT])
{
    snprintf(text, HY_HASH_TEXT, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

void hy_hash_bytes(const void *bytes, size_t size, char text[HY_HASH_TEXT])
{
    to_text(XXH3_128bits(bytes, size), text);
}

int hy_hash_file(const char *path, char text[HY_HASH_TEXT], struct hy_err *e)
{
    enum { PIECE = 1 << 20 };
    int rc = HY_OK;
    unsigned char *piece = NULL;
    XXH3_state_t *state = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return hy_fail_errno(e, HY_E_USAGE, "cannot read %s", path);
    struct stat info;
    if (fstat(fileno(file), &info) || !S_ISREG(info.st_mode)) { /* one without an end, maybe */
        rc = hy_fail(e, HY_E_USAGE, "cannot read %s: it is no regular file", path);
        goto out;
    }
    piece = malloc(PIECE);
    state = XXH3_createState();
    if (!piece || !state) {
        rc = hy_fail_memory(e);
        goto out;
    }
    XXH3_128bits_reset(state);
    size_t size;
    while ((size = fread(piece, 1, PIECE, file)) > 0)
        XXH3_128bits_update(state, piece, size);
    if (ferror(file)) {
        rc = hy_fail_errno(e, HY_E_ENV, "cannot read %s", path);
        goto out;
    }
    to_text(XXH3_128bits_digest(state), text);
out:
    XXH3_freeState(state);
    free(piece);
    fclose(file);
    return rc;
}
