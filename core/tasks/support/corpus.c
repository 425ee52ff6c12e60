#include "core/tasks/support/corpus.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/hash.h"

int hy_corpus_map(const char *path, struct hy_mark mark, const char *task, struct hy_corpus *out,
                  struct hy_err *e)
{
    char place[512];
    hy_mark_text(mark, place, sizeof place);
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
        rc = hy_fail(e, HY_E_USAGE, "%stask %s: %s is %s; there is nothing to read", place, task,
                     path, S_ISREG(info.st_mode) ? "empty" : "no regular file");
    else if ((at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = hy_fail_errno(e, HY_E_ENV, "%stask %s: cannot map %s", place, task, path);
    else
        *out = (struct hy_corpus){at, info.st_size};
    close(fd);
    return rc;
}

int hy_corpus_open(const struct hy_value *options, const char *key, const char *task,
                   struct hy_corpus *out, struct hy_err *e)
{
    const struct hy_value *path = hy_value_get(options, key);
    return path->string ? hy_corpus_map(path->string, path->mark, task, out, e) : HY_OK;
}

void hy_corpus_close(struct hy_corpus *c)
{
    if (c->at)
        munmap((void *)c->at, (size_t)c->size);
    *c = (struct hy_corpus){0};
}

/* Appends the hashes of all files that an option names, or of none an empty one. */
static int add_hashes(const struct hy_value *named, const char *task, struct hy_buf *hashes,
                      struct hy_err *e)
{
    const int several = named->type == HY_V_LIST;
    int rc = HY_OK;
    for (size_t i = 0; !rc && i < (several ? named->count : 1); i++) {
        const struct hy_value *path = several ? named->items[i] : named;
        char hash[HY_HASH_TEXT] = {0}, place[512];
        rc = path->string ? hy_hash_file(path->string, hash, e) : HY_OK;
        hy_buf_add(hashes, hash, sizeof hash);
        if (rc)
            hy_err_wrap(e, "%stask %s", hy_mark_text(path->mark, place, sizeof place), task);
    }
    return rc;
}

int hy_corpus_content(const struct hy_value *options, const char *const *keys, int count,
                      const char *task, char *text, struct hy_err *e)
{
    struct hy_buf hashes = {0};
    int rc = HY_OK;
    for (int i = 0; !rc && i < count; i++) {
        const struct hy_value *named = hy_value_get(options, keys[i]);
        rc = add_hashes(named, task, &hashes, e);
        if (named->type == HY_V_LIST) /* so that a file cannot pass from one option to the next */
            hy_buf_add(&hashes, "", 1);
    }
    if (!rc && hy_buf_failed(&hashes))
        rc = hy_fail_memory(e);
    if (!rc)
        hy_hash_bytes(hashes.data, hashes.size, text);
    hy_buf_release(&hashes);
    return rc;
}
