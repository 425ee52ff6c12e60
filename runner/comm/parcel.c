#include "runner/comm/parcel.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART = 4 << 20 };

int hy_parcel_ask(struct hy_comm *comm, int to, const char *verb, int run, int64_t offset,
                  struct hy_err *e)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, offset);
    return hy_message_send(comm, to, verb, run, text, strlen(text), e);
}

int64_t hy_parcel_asked(const struct hy_message *m)
{
    return strtoll(m->payload, NULL, 10);
}

/* Appends a part of the file; *size: the file's, -1 where it cannot be read. */
static void read_part(const char *path, int64_t offset, struct hy_buf *out, int64_t *size)
{
    struct stat found;
    char *bytes = malloc(PART);
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    *size = -1;
    if (bytes && file >= 0 && !fstat(file, &found)) {
        const ssize_t got = pread(file, bytes, PART, offset);
        if (got > 0 || offset == found.st_size) {
            *size = found.st_size;
            hy_buf_add(out, bytes, got > 0 ? (size_t)got : 0);
        }
    }
    if (file >= 0)
        close(file);
    free(bytes);
}

int hy_parcel_send(struct hy_comm *comm, int to, const char *verb, int run, const char *path,
                   int64_t offset, int64_t *size, struct hy_err *e)
{
    struct hy_buf bytes = {0}, all = {0};
    read_part(path, offset, &bytes, size);
    hy_buf_printf(&all, "%" PRId64 " %" PRId64 "\n", offset, *size);
    if (bytes.size)
        hy_buf_add(&all, bytes.data, bytes.size);
    const int rc = hy_buf_failed(&all) || hy_buf_failed(&bytes)
                       ? hy_fail_memory(e)
                       : hy_message_send(comm, to, verb, run, all.data, all.size, e);
    hy_buf_release(&bytes);
    hy_buf_release(&all);
    return rc;
}

static int write_part(const char *path, int64_t offset, const char *bytes, size_t size,
                      struct hy_err *e)
{
    const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (offset ? 0 : O_TRUNC), 0666);
    if (file < 0)
        return hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
    const ssize_t put = pwrite(file, bytes, size, offset);
    const int bad = put != (ssize_t)size || fsync(file);
    if (close(file) || bad)
        return hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
    return HY_OK;
}

int hy_parcel_take(const struct hy_message *m, const char *path, int64_t *next, struct hy_err *e)
{
    char unfinished[PATH_MAX];
    int64_t offset, total;
    const char *bytes = memchr(m->payload, '\n', m->size);
    if (!bytes || sscanf(m->payload, "%" SCNd64 " %" SCNd64, &offset, &total) != 2)
        return hy_fail(e, HY_E_ENV, "what came is no part of a file");
    if (total < 0)
        return hy_fail(e, HY_E_ENV, "the weights that the run starts from are not there any more");
    const size_t size = m->size - (size_t)(++bytes - m->payload);
    snprintf(unfinished, sizeof unfinished, "%s.tmp", path);
    const int rc = write_part(unfinished, offset, bytes, size, e);
    if (rc)
        return rc;
    *next = offset + (int64_t)size;
    if (*next < total)
        return HY_OK;
    *next = -1;
    return rename(unfinished, path) ? hy_fail_errno(e, HY_E_ENV, "cannot write %s", path) : HY_OK;
}
