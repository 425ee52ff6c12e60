#include "runner/lead/halving.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/keys.h"
#include "runner/lead/rung.h"

enum { MAX_RUNGS = 32 }; /* of a run: the factor is 2 at least, steps are below 2^31 */

/* Runs that are compared with each other. */
struct group {
    int runs, rung_count, factor;
    struct hy_rung *rungs;
    int finished;      /* runs that came to their end */
    int rescues;       /* its best run may go on, whatever its rank */
    unsigned is_noted; /* bit k: rung k is in `changed` */
};

struct entry {
    int group; /* -1: no rule */
    int rung;  /* that it waits on, or comes to next */
    double score;
};

struct hy_halving {
    const struct hy_plan *plan;
    struct entry *entries; /* by run */
    struct group *groups;
    int group_count;
    /* Groups on whose rung k a run may have become free to go on. */
    struct {
        int *groups, count;
    } changed[MAX_RUNGS];
};

static const struct hy_config *config_of(const struct hy_halving *h, int run)
{
    return &h->plan->runs[run].config;
}

/* ---- Groups ---- */

/* What runs of a cell may differ in; follows: a source's, where it has these from its run; NULL: a
 * run's own. */
static void remove_own(struct hy_value *tree, const struct hy_value *follows)
{
    static const char *const own[] = {"lr", "seed"};
    struct hy_value *train = (struct hy_value *)hy_value_get(tree, "train");
    for (size_t i = 0; train && i < sizeof own / sizeof *own; i++)
        if (!follows || hy_value_get(follows, own[i]))
            hy_value_remove(train, own[i]);
}

/* What runs that are compared have in common: the rule, and within a cell all but lr and seed. */
static int group_key(const struct hy_config *c, char key[HY_HASH_TEXT], struct hy_err *e)
{
    struct hy_value *map = c->run.halving.among_cell ? hy_value_copy(c->tree) : hy_value_map();
    if (!map)
        return hy_fail_memory(e);
    hy_value_remove(map, "name");
    hy_value_remove(map, "eval");
    hy_value_remove(map, "run");
    remove_own(map, NULL);
    struct hy_value *source = (struct hy_value *)hy_value_at(map, "init.source");
    if (source)
        remove_own(source, hy_value_at(map, "init.follows"));
    const struct hy_value *rule = hy_value_at(c->tree, "run.halving");
    int rc = hy_value_set(map, "rule", hy_value_copy(rule), e);
    char *json = rc ? NULL : hy_value_to_json(map, 1);
    if (json)
        hy_hash_bytes(json, strlen(json), key);
    else if (!rc)
        rc = hy_fail_memory(e);
    free(json);
    hy_value_free(map);
    return rc;
}

static int find_groups(struct hy_halving *h, struct hy_err *e)
{
    struct hy_keys keys;
    int rc = hy_keys_init(&keys, (size_t)h->plan->count, e);
    for (int i = 0; !rc && i < h->plan->count; i++) {
        char key[HY_HASH_TEXT];
        h->entries[i].group = -1;
        if (!config_of(h, i)->run.halving.metric || (rc = group_key(config_of(h, i), key, e)))
            continue;
        const int known = hy_keys_put(&keys, key, h->group_count);
        h->entries[i].group = known >= 0 ? known : h->group_count++;
    }
    hy_keys_release(&keys);
    return rc;
}

/* Makes all rungs, so that nothing can fail later. */
static int make_rungs(struct hy_halving *h, struct hy_err *e)
{
    if (!(h->groups = calloc((size_t)h->group_count + 1, sizeof *h->groups)))
        return hy_fail_memory(e);
    for (int i = 0; i < h->plan->count; i++) {
        struct group *g = hy_halving_applies(h, i) ? &h->groups[h->entries[i].group] : NULL;
        if (!g)
            continue;
        g->runs++;
        g->factor = config_of(h, i)->run.halving.factor;
        while (hy_halving_step(h, i, g->rung_count))
            g->rung_count++;
    }
    for (int n = 0; n < h->group_count; n++) {
        struct group *g = &h->groups[n];
        if (!(g->rungs = calloc((size_t)g->rung_count, sizeof *g->rungs)))
            return hy_fail_memory(e);
        for (int k = 0; k < g->rung_count; k++)
            if (hy_rung_init(&g->rungs[k], g->runs, e))
                return e ? e->code : HY_E_ENV;
    }
    for (int k = 0; k < MAX_RUNGS; k++)
        if (!(h->changed[k].groups = calloc((size_t)h->group_count + 1, sizeof(int))))
            return hy_fail_memory(e);
    return HY_OK;
}

int hy_halving_new(const struct hy_plan *plan, struct hy_halving **out, struct hy_err *e)
{
    struct hy_halving *h = calloc(1, sizeof *h);
    if (!h)
        return hy_fail_memory(e);
    h->plan = plan;
    h->entries = calloc((size_t)plan->count, sizeof *h->entries);
    int rc = h->entries ? find_groups(h, e) : hy_fail_memory(e);
    if (!rc)
        rc = make_rungs(h, e);
    if (rc)
        hy_halving_free(h);
    else
        *out = h;
    return rc;
}

void hy_halving_free(struct hy_halving *h)
{
    if (!h)
        return;
    for (int n = 0; h->groups && n < h->group_count; n++) {
        for (int k = 0; h->groups[n].rungs && k < h->groups[n].rung_count; k++)
            hy_rung_release(&h->groups[n].rungs[k]);
        free(h->groups[n].rungs);
    }
    for (int k = 0; k < MAX_RUNGS; k++)
        free(h->changed[k].groups);
    free(h->groups);
    free(h->entries);
    free(h);
}

/* ---- Rungs ---- */

int hy_halving_is_used(const struct hy_halving *h)
{
    return h->group_count > 0;
}

int hy_halving_applies(const struct hy_halving *h, int run)
{
    return h->entries[run].group >= 0;
}

enum hy_metric hy_halving_metric(const struct hy_halving *h, int run)
{
    return config_of(h, run)->run.halving.metric;
}

int64_t hy_halving_step(const struct hy_halving *h, int run, int k)
{
    const struct hy_config *c = config_of(h, run);
    return hy_rung_step(&c->run.halving, k, c->train.steps);
}

int64_t hy_halving_until(const struct hy_halving *h, int run)
{
    return hy_halving_step(h, run, h->entries[run].rung);
}

static struct group *group_of(const struct hy_halving *h, int run)
{
    return &h->groups[h->entries[run].group];
}

/* Has rung k of a group looked at when a run is next asked for. */
static void note_change(struct hy_halving *h, int group, int k)
{
    struct group *g = &h->groups[group];
    if (!(g->is_noted >> k & 1))
        h->changed[k].groups[h->changed[k].count++] = group;
    g->is_noted |= 1u << k;
}

static struct hy_scored scored(struct hy_halving *h, int run, double score)
{
    const int larger = hy_metric_is_better(hy_halving_metric(h, run), 1, 0);
    h->entries[run].score = score;
    return (struct hy_scored){!isfinite(score) ? -INFINITY : larger ? score : -score, run};
}

int hy_halving_looks_at(const struct hy_halving *h, int run, const struct hy_row *row)
{
    return hy_halving_applies(h, run) && row->type == HY_ROW_HISTORY &&
           !strncmp(row->name, "valid.", 6) &&
           !strcmp(row->name + 6, hy_metric_name(hy_halving_metric(h, run)));
}

void hy_halving_reach(struct hy_halving *h, int run, double score)
{
    const struct entry *entry = &h->entries[run];
    hy_rung_wait(&group_of(h, run)->rungs[entry->rung], scored(h, run, score));
    note_change(h, entry->group, entry->rung);
}

void hy_halving_pass(struct hy_halving *h, int run, double score)
{
    hy_rung_pass(&group_of(h, run)->rungs[h->entries[run].rung++], scored(h, run, score));
}

void hy_halving_end(struct hy_halving *h, int run, const char *status)
{
    const struct entry *entry = &h->entries[run];
    if (!hy_halving_applies(h, run))
        return;
    group_of(h, run)->finished += !strcmp(status, "done");
    if (strcmp(status, "diverged") != 0 || !hy_halving_until(h, run))
        return;
    group_of(h, run)->rungs[entry->rung].count++;
    note_change(h, entry->group, entry->rung);
}

/* ---- Decisions ---- */

int hy_halving_next(struct hy_halving *h)
{
    for (int k = MAX_RUNGS - 1; k >= 0; k--)
        while (h->changed[k].count) {
            struct group *g = &h->groups[h->changed[k].groups[h->changed[k].count - 1]];
            struct hy_rung *rung = &g->rungs[k];
            if (hy_rung_is_ready(rung, g->factor) || (g->rescues && rung->waiting_count)) {
                const int run = hy_rung_take(rung);
                g->rescues = 0;
                h->entries[run].rung++;
                return run;
            }
            h->changed[k].count--;
            g->is_noted &= ~(1u << k);
        }
    return -1;
}

void hy_halving_rescue(struct hy_halving *h)
{
    for (int n = 0; n < h->group_count; n++) {
        struct group *g = &h->groups[n];
        int k = g->rung_count - 1;
        while (k >= 0 && !g->rungs[k].waiting_count)
            k--;
        if (g->finished || k < 0)
            continue;
        g->rescues = 1;
        note_change(h, n, k);
    }
}

void hy_halving_reason(const struct hy_halving *h, int run, int goes_on, char *text, size_t size)
{
    const struct entry *entry = &h->entries[run];
    const int k = entry->rung - goes_on;
    const struct hy_rung *rung = &group_of(h, run)->rungs[k];
    snprintf(text, size, "%s %.4g after %lld steps: %s the best %d of %d so far",
             hy_metric_name(hy_halving_metric(h, run)), entry->score,
             (long long)hy_halving_step(h, run, k), goes_on ? "among" : "not among",
             rung->count / group_of(h, run)->factor, rung->count);
}
