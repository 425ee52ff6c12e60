#include "core/tasks/support/corpus.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/hash.h"

int hy_corpus_open(const struct hy_value *options, const char *key, const char *task,
                   struct hy_corpus *out, struct hy_err *e)
{
    const char *path = hy_get_string(options, key);
    if (!path)
        return HY_OK;
    char place[512];
    hy_mark_text(hy_value_get(options, key)->mark, place, sizeof place);
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* nor wait at a pipe */
    if (fd < 0 || fstat(fd, &info)) {
        const int rc = hy_fail_errno(e, HY_E_USAGE, "%stask %s: cannot read %s", place, task, path);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    int rc = HY_OK;
    void *at = MAP_FAILED;
    if (!S_ISREG(info.st_mode) || info.st_size == 0)
        rc = hy_fail(e, HY_E_USAGE, "%stask %s: %s is %s; a text file is needed", place, task, path,
                     S_ISREG(info.st_mode) ? "empty" : "no regular file");
    else if ((at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = hy_fail_errno(e, HY_E_ENV, "%stask %s: cannot map %s", place, task, path);
    else
        *out = (struct hy_corpus){at, info.st_size};
    close(fd);
    return rc;
}

void hy_corpus_close(struct hy_corpus *c)
{
    if (c->at)
        munmap((void *)c->at, (size_t)c->size);
    *c = (struct hy_corpus){0};
}

int hy_corpus_content(const struct hy_value *options, const char *const *keys, int count,
                      const char *task, char *text, struct hy_err *e)
{
    struct hy_buf hashes = {0};
    int rc = HY_OK;
    for (int i = 0; !rc && i < count; i++) {
        char hash[HY_HASH_TEXT] = {0};
        const char *path = hy_get_string(options, keys[i]);
        rc = path ? hy_hash_file(path, hash, e) : HY_OK;
        hy_buf_add(&hashes, hash, sizeof hash);
        if (rc) {
            char place[512];
            const struct hy_mark mark = hy_value_get(options, keys[i])->mark;
            hy_err_wrap(e, "%stask %s", hy_mark_text(mark, place, sizeof place), task);
        }
    }
    if (!rc && hy_buf_failed(&hashes))
        rc = hy_fail_memory(e);
    if (!rc)
        hy_hash_bytes(hashes.data, hashes.size, text);
    hy_buf_release(&hashes);
    return rc;
}
