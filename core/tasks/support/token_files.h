/* token_files.h - files of token ids, several of which are read as one. Seen by core/tasks only.
 *
 * What a file is follows from how it begins:
 *   .npy       an array of one dimension of uint16, uint32, int32 or int64
 *   llm.c      256 int32, of which the first is 20240520, the second version 1, the third the
 *              number of ids, then uint16; or 20240801, version 7, then uint32
 *   otherwise  ids and nothing else, uint16 or uint32 as option dtype says
 * All numbers are little-endian. Files are mapped and not copied. */
#ifndef HY_TASKS_SUPPORT_TOKEN_FILES_H
#define HY_TASKS_SUPPORT_TOKEN_FILES_H

#include "core/tasks/support/corpus.h"

enum hy_token_type { HY_TOKEN_U16, HY_TOKEN_U32, HY_TOKEN_I32, HY_TOKEN_I64 };

struct hy_token_file {
    struct hy_corpus map;
    const char *path; /* borrowed of the options until hy_token_files_check */
    struct hy_mark mark;
    enum hy_token_type type;
    int64_t begin, count; /* the byte where ids begin; how many there are */
};

struct hy_token_files {
    struct hy_token_file *files;
    int file_count;
    int64_t size; /* ids of all files */
};

/* Opens the files that option key lists, none where it is null. raw: of files without a header. */
int hy_token_files_open(const struct hy_value *options, const char *key, enum hy_token_type raw,
                        struct hy_token_files *out, struct hy_err *e);
void hy_token_files_close(struct hy_token_files *t);
/* Reads every id. Fails with file and position at the first that is negative or not below limit.
 * *largest: raised to the largest id. */
int hy_token_files_check(const struct hy_token_files *t, int64_t limit, int64_t *largest,
                         struct hy_err *e);
/* The ids from position `at` on, over the ends of files; there must be count. */
void hy_token_files_read(const struct hy_token_files *t, int64_t at, int64_t count, int32_t *out);

#endif
