#include "runner/launch/launch_progress.h"

#include <stdlib.h>
#include <string.h>

#include "db/store.h"

struct entry {
    const char *key;
    int halves;      /* successive halving may end it */
    char status[16]; /* "": unknown to the database */
    int64_t attempts, before;
};

struct hy_launch_progress {
    const char *database;
    int count;
    struct entry entries[]; /* sorted by key */
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static int note_run(void *context, int columns, const char *const *names, const char *const *values)
{
    struct hy_launch_progress *s = context;
    const struct entry wanted = {.key = values[0]};
    struct entry *entry =
        bsearch(&wanted, s->entries, (size_t)s->count, sizeof *s->entries, compare);
    (void)columns, (void)names;
    if (!entry)
        return 0;
    strncpy(entry->status, values[1], sizeof entry->status - 1);
    entry->attempts = strtoll(values[2], NULL, 10);
    return 0;
}

static int read_database(struct hy_launch_progress *s, struct hy_err *e)
{
    static const char sql[] =
        "SELECT key, results.status, attempts FROM results JOIN progress USING (run)";
    struct hy_store *store;
    int rc = hy_store_open(s->database, HY_STORE_LOOK, &store, e);
    if (rc)
        return rc;
    rc = hy_store_query(store, sql, 0, NULL, note_run, s, e);
    hy_store_close(store);
    return rc;
}

int hy_launch_progress_new(const struct hy_plan *plan, const char *database,
                           struct hy_launch_progress **out, struct hy_err *e)
{
    struct hy_launch_progress *s = calloc(1, sizeof *s + (size_t)plan->count * sizeof *s->entries);
    if (!s)
        return hy_fail_memory(e);
    s->database = database;
    s->count = plan->count;
    for (int i = 0; i < s->count; i++)
        s->entries[i] =
            (struct entry){.key = plan->runs[i].key,
                           .halves = plan->runs[i].config.run.halving.metric != HY_METRIC_NONE};
    qsort(s->entries, (size_t)s->count, sizeof *s->entries, compare);
    const int rc = read_database(s, e);
    for (int i = 0; i < s->count; i++)
        s->entries[i].before = s->entries[i].attempts;
    if (rc)
        hy_launch_progress_free(s);
    else
        *out = s;
    return rc;
}

void hy_launch_progress_free(struct hy_launch_progress *s)
{
    free(s);
}

int hy_launch_progress_take(struct hy_launch_progress *s, struct hy_count *out, struct hy_err *e)
{
    struct hy_count count = {0};
    const int rc = read_database(s, e);
    if (rc)
        return rc;
    for (int i = 0; i < s->count; i++) {
        const struct entry *entry = &s->entries[i];
        const int failed = !strcmp(entry->status, "failed") || !strcmp(entry->status, "timeout");
        if (!strcmp(entry->status, "done"))
            count.done++;
        else if (!strcmp(entry->status, "diverged"))
            count.diverged++;
        else if (entry->halves && !strcmp(entry->status, "pruned"))
            count.pruned++;
        else if (failed && entry->attempts > entry->before)
            count.failed++;
        else
            count.left++;
        count.attempts += entry->attempts;
    }
    *out = count;
    return HY_OK;
}
