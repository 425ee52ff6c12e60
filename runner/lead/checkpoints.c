#include "runner/lead/checkpoints.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct hy_checkpoints {
    char *folder;
};

int hy_checkpoints_new(const char *database, struct hy_checkpoints **out, struct hy_err *e)
{
    struct hy_checkpoints *c = calloc(1, sizeof *c);
    if (!c || asprintf(&c->folder, "%s.ckpt", database) < 0) {
        free(c);
        return hy_fail_memory(e);
    }
    *out = c;
    return HY_OK;
}

static void remove_unfinished(const char *folder)
{
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        const char *end = strrchr(entry->d_name, '.');
        if (end && !strcmp(end, ".tmp"))
            unlinkat(dirfd(entries), entry->d_name, 0);
    }
    if (entries)
        closedir(entries);
}

void hy_checkpoints_free(struct hy_checkpoints *c)
{
    if (!c)
        return;
    remove_unfinished(c->folder);
    rmdir(c->folder); /* stays where it holds something */
    free(c->folder);
    free(c);
}

int hy_checkpoints_make_folder(const struct hy_checkpoints *c, struct hy_err *e)
{
    if (mkdir(c->folder, 0777) && errno != EEXIST)
        return hy_fail_errno(e, HY_E_ENV, "cannot make the folder of checkpoints %s", c->folder);
    return HY_OK;
}

char *hy_checkpoints_path(const struct hy_checkpoints *c, const char *key)
{
    char *path;
    return asprintf(&path, "%s/%s.safetensors", c->folder, key) < 0 ? NULL : path;
}

void hy_checkpoints_drop(const struct hy_checkpoints *c, const char *key)
{
    char *path = hy_checkpoints_path(c, key);
    if (path)
        unlink(path);
    free(path);
}
