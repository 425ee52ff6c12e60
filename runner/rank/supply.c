#include "runner/rank/supply.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/option.h"
#include "runner/comm/parcel.h"

static const char *text_of(const struct hy_value *order, const char *key)
{
    const struct hy_value *v = hy_value_get(order, key);
    return v && v->type == HY_V_STRING ? v->string : NULL;
}

static struct hy_value *item(const struct hy_supply *s, int i)
{
    return s->orders->items[i];
}

static int count(const struct hy_supply *s)
{
    return s->orders ? (int)s->orders->count : 0;
}

static int run_of(const struct hy_supply *s, int i)
{
    return (int)hy_get_int(item(s, i), "run");
}

/* Is the folder of a path there? */
static int has_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];
    if (!slash)
        return 1;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    return !access(folder, F_OK);
}

/* A path in a folder of its own, which it makes. */
static int own_path(struct hy_supply *s, const char *what, int i, char *out, size_t size,
                    struct hy_err *e)
{
    const char *temporary = getenv("TMPDIR");
    if (!*s->folder) {
        snprintf(s->folder, sizeof s->folder, "%.200s/hylas-weights-XXXXXX",
                 temporary && *temporary ? temporary : "/tmp");
        if (!mkdtemp(s->folder)) {
            const int rc = hy_fail_errno(e, HY_E_ENV, "cannot make a folder %s", s->folder);
            *s->folder = 0;
            return rc;
        }
    }
    snprintf(out, size, "%s/%s-%d.safetensors", s->folder, what, i);
    return HY_OK;
}

int hy_supply_init(struct hy_supply *s, struct hy_comm *comm, struct hy_value *orders,
                   struct hy_err *e)
{
    int rc = HY_OK;
    *s = (struct hy_supply){.comm = comm, .orders = orders, .fetching = -1, .giving = -1};
    for (int i = 0; !rc && i < count(s); i++) {
        char path[512];
        if (!hy_value_get(item(s, i), "keep") || has_folder(text_of(item(s, i), "checkpoint")))
            continue;
        rc = own_path(s, "kept", i, path, sizeof path, e);
        if (!rc)
            rc = hy_value_set(item(s, i), "checkpoint", hy_value_string(path), e);
    }
    return rc;
}

void hy_supply_release(struct hy_supply *s)
{
    DIR *entries = *s->folder ? opendir(s->folder) : NULL;
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(entries), entry->d_name, 0);
    if (entries)
        closedir(entries);
    if (*s->folder)
        rmdir(s->folder);
    hy_value_free(s->orders);
    *s = (struct hy_supply){.fetching = -1, .giving = -1};
}

/* ---- Fetching ---- */

int hy_supply_fetch(struct hy_supply *s, struct hy_err *e)
{
    for (int i = 0; i < count(s); i++) {
        const char *source = text_of(item(s, i), "source");
        if (!source || !access(source, F_OK))
            continue;
        s->fetching = i;
        return hy_parcel_ask(s->comm, 0, "fetch", run_of(s, i), 0, e);
    }
    s->fetching = -1;
    return HY_OK;
}

/* All orders that name the file now name this host's copy. */
static int use_copy(struct hy_supply *s, const char *path, struct hy_err *e)
{
    char *source = strdup(text_of(item(s, s->fetching), "source"));
    int rc = source ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < count(s); i++) {
        const char *own = text_of(item(s, i), "source");
        if (own && !strcmp(own, source))
            rc = hy_value_set(item(s, i), "source", hy_value_string(path), e);
    }
    free(source);
    return rc;
}

int hy_supply_chunk(struct hy_supply *s, const struct hy_message *m, struct hy_err *e)
{
    char path[512];
    int64_t next;
    if (s->fetching < 0 || m->run != run_of(s, s->fetching))
        return HY_OK; /* of a run that was taken back */
    int rc = own_path(s, "source", s->fetching, path, sizeof path, e);
    if (!rc)
        rc = hy_parcel_take(m, path, &next, e);
    if (!rc && next >= 0)
        return hy_parcel_ask(s->comm, 0, "fetch", m->run, next, e);
    if (!rc)
        rc = use_copy(s, path, e);
    return rc ? rc : hy_supply_fetch(s, e);
}

/* ---- Giving ---- */

int hy_supply_owes(const struct hy_supply *s, int i)
{
    const char *path = i < count(s) ? text_of(item(s, i), "checkpoint") : NULL;
    return path && *s->folder && hy_value_get(item(s, i), "keep") &&
           !strncmp(path, s->folder, strlen(s->folder)) && !access(path, F_OK);
}

int hy_supply_give(struct hy_supply *s, int i, struct hy_err *e)
{
    s->giving = i;
    return hy_parcel_send(s->comm, 0, "give", run_of(s, i), text_of(item(s, i), "checkpoint"), 0,
                          &s->size, e);
}

int hy_supply_more(struct hy_supply *s, const struct hy_message *m, struct hy_err *e)
{
    const int64_t offset = hy_parcel_asked(m);
    if (s->giving < 0 || m->run != run_of(s, s->giving))
        return HY_OK;
    const char *path = text_of(item(s, s->giving), "checkpoint");
    if (offset >= 0)
        return hy_parcel_send(s->comm, 0, "give", m->run, path, offset, &s->size, e);
    unlink(path); /* rank 0 has it all */
    s->giving = -1;
    return HY_OK;
}
