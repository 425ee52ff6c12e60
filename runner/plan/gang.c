#include "runner/plan/gang.h"

#include <stdlib.h>

#include "core/base/keys.h"
#include "runner/plan/schedule.h"

struct entry {
    int next;  /* of its kind, in a ring */
    int limit; /* members of its gang at most */
};

struct hy_gangs {
    int largest;
    struct entry entries[]; /* by index in the plan */
};

/* Members of a gang at most, where so many runs are of its kind. With auto no rank is left without
 * work, and ranks share what the devices hold. */
static int limit_of(const struct hy_plan_run *run, int kind, int ranks)
{
    const struct hy_config *c = &run->config;
    const int fit = run->estimate.replicas / ranks, share = (kind + ranks - 1) / ranks;
    int limit = c->run.gang;
    if (!limit)
        limit = fit < share ? fit : share;
    limit = limit < kind ? limit : kind;
    return limit > 1 && !c->data.train[0].task->trains_nothing ? limit : 1;
}

/* Joins the runs of one kind into a ring, in the order of the plan. kinds[i]: the last run of the
 * kind of run i; counts[kinds[i]]: how many there are. */
static int join(struct hy_gangs *g, const struct hy_plan *plan, int *kinds, int *counts,
                struct hy_err *e)
{
    struct hy_keys keys;
    int rc = hy_keys_init(&keys, (size_t)plan->count, e);
    for (int i = plan->count - 1; i >= 0 && !rc; i--) {
        char key[HY_HASH_TEXT];
        rc = hy_config_gang_key(&plan->runs[i].config, key, e);
        const int twin = rc ? -1 : hy_keys_put(&keys, key, i), last = twin < 0 ? i : twin;
        g->entries[i].next = twin < 0 ? i : g->entries[last].next;
        g->entries[last].next = i;
        kinds[i] = last;
        counts[last]++;
    }
    hy_keys_release(&keys);
    return rc;
}

int hy_gangs_new(const struct hy_plan *plan, int ranks, struct hy_gangs **out, struct hy_err *e)
{
    const size_t count = (size_t)plan->count;
    struct hy_gangs *g = calloc(1, sizeof *g + count * sizeof *g->entries);
    int *kinds = calloc(count, sizeof *kinds), *counts = calloc(count, sizeof *counts);
    int rc = g && kinds && counts ? join(g, plan, kinds, counts, e) : hy_fail_memory(e);
    for (int i = 0; i < plan->count && !rc; i++) {
        const int limit = limit_of(&plan->runs[i], counts[kinds[i]], ranks);
        g->entries[i].limit = limit;
        g->largest = limit > g->largest ? limit : g->largest;
    }
    free(counts);
    free(kinds);
    if (rc)
        hy_gangs_free(g);
    else
        *out = g;
    return rc;
}

void hy_gangs_free(struct hy_gangs *g)
{
    free(g);
}

int hy_gangs_largest(const struct hy_gangs *g)
{
    return g->largest;
}

int hy_gangs_take(const struct hy_gangs *g, int run, int (*is_free)(void *context, int run),
                  void *context, int *members)
{
    const int limit = g->entries[run].limit;
    int count = 0;
    members[count++] = run;
    for (int i = g->entries[run].next; i != run && count < limit; i = g->entries[i].next)
        if (is_free(context, i))
            members[count++] = i;
    return count;
}

struct forming {
    const unsigned char *open;
    const int *gangs;
};

static int is_open(void *context, int run)
{
    const struct forming *f = context;
    return f->open[run] && f->gangs[run] < 0;
}

int hy_gangs_form(const struct hy_plan *plan, int ranks, const unsigned char *open, int *gangs,
                  int *count, struct hy_err *e)
{
    const size_t runs = (size_t)plan->count;
    struct forming forming = {open, gangs};
    struct hy_gangs *g = NULL;
    double *seconds = calloc(runs, sizeof *seconds);
    int *order = calloc(runs, sizeof *order), *members = calloc(runs, sizeof *members), made = 0;
    int rc = seconds && order && members ? hy_gangs_new(plan, ranks, &g, e) : hy_fail_memory(e);
    for (int i = 0; !rc && i < plan->count; i++) {
        gangs[i] = -1;
        seconds[i] = plan->runs[i].seconds;
    }
    if (!rc)
        hy_schedule_order(seconds, plan->count, order);
    for (int i = 0; !rc && i < plan->count; i++) {
        if (!is_open(&forming, order[i]))
            continue;
        const int size = hy_gangs_take(g, order[i], is_open, &forming, members);
        for (int k = 0; k < size; k++)
            gangs[members[k]] = made;
        made++;
    }
    hy_gangs_free(g);
    free(members);
    free(order);
    free(seconds);
    if (!rc)
        *count = made;
    return rc;
}
