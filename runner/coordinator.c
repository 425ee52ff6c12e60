#include "runner/coordinator.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "runner/crew.h"
#include "runner/gang.h"
#include "runner/halving.h"
#include "runner/progress.h"
#include "runner/roster.h"
#include "runner/rungs.h"

enum { MAX_LOSSES = 3 }; /* ranks that a run may take along before it counts as failed */
static const double beat_seconds = 1; /* between signs of life to the ranks */

struct run {
    int64_t id; /* in the store */
    int attempts, losses;
    int rank;        /* that trains it, -1: none */
    int next;        /* another one that its rank trains with it, -1: none */
    int gang;        /* members of the gang that it last began in */
    int alone;       /* it failed in a gang: not to take others along once more */
    char status[16]; /* last known to the store */
    double score;    /* the last one that its rule of halving looks at; NaN: none */
};

struct hy_coordinator {
    struct hy_comm *comm;
    struct hy_store *store;
    const struct hy_plan *plan;
    const char *version;
    double patience;
    char *checkpoints; /* folder */
    struct run *runs;  /* by index in the plan */
    struct hy_roster *roster;
    struct hy_crew *crew;
    struct hy_halving *halving;
    struct hy_gangs *gangs;
    int *members;   /* room for a gang */
    int ended_here; /* runs that this program brought to an end */
    int stopping, left;
    int broken;     /* a rank was lost */
    int must_flush; /* an end waits to be durable */
    double flushed, shown, beat;
};

/* Runs that may now go on from their rungs are next to be trained. Whether `awaited` is among them,
 * which is left to the caller. */
static int promote(struct hy_coordinator *c, int awaited)
{
    int seen = 0;
    for (int run; (run = hy_halving_next(c->halving)) >= 0;)
        if (run == awaited)
            seen = 1;
        else
            hy_roster_hurry(c->roster, run);
    return seen;
}

/* ---- Beginning ---- */

/* It may vanish while the sweep runs. */
static int make_folder(const struct hy_coordinator *c, struct hy_err *e)
{
    if (mkdir(c->checkpoints, 0777) && errno != EEXIST)
        return hy_fail_errno(e, HY_E_ENV, "cannot make the folder of checkpoints %s",
                             c->checkpoints);
    return HY_OK;
}

/* A diverged run is a result; everything else that is not done is tried again. */
static int is_final(const char *status)
{
    return !strcmp(status, "done") || !strcmp(status, "diverged");
}

static int register_run(struct hy_coordinator *c, int64_t sweep, int index, struct hy_err *e)
{
    const struct hy_plan_run *planned = &c->plan->runs[index];
    const struct hy_config *config = &planned->config;
    struct run *run = &c->runs[index];
    run->rank = run->next = -1;
    char ratio[32], *json = hy_value_to_json(config->tree, 0);
    if (!json)
        return hy_fail_memory(e);
    hy_config_ratio(config, ratio, sizeof ratio);
    const struct hy_run_facts facts = {
        .key = planned->key,
        .title = planned->title,
        .variant = hy_config_variant(config)->name,
        .ratio = ratio,
        .placement = hy_config_placement(config),
        .layout = config->mixer.layout.kinds,
        .linear_layers = config->mixer.layout.linear,
        .full_layers = config->mixer.layout.full,
        .d_model = config->model.d_model,
        .layers = config->model.layers,
        .heads = config->model.heads,
        .seed = config->train.seed,
        .lr = config->train.lr,
        .config = json,
    };
    int rc = hy_store_add_run(c->store, sweep, &facts, &run->id, run->status, e);
    free(json);
    int is_on_rung = 0;
    if (!rc)
        rc = hy_rungs_restore(c->halving, index, c->store, run->id, run->status, &is_on_rung, e);
    if (!rc && (is_final(run->status) || is_on_rung))
        hy_roster_end(c->roster, index, run->status);
    return rc;
}

int hy_coordinator_new(struct hy_comm *comm, const struct hy_assignment *a,
                       struct hy_coordinator **out, struct hy_err *e)
{
    struct hy_coordinator *c = calloc(1, sizeof *c);
    if (!c)
        return hy_fail_memory(e);
    c->comm = comm;
    c->store = a->store;
    c->plan = a->plan;
    c->version = a->version;
    c->patience = a->patience;
    c->runs = calloc((size_t)c->plan->count, sizeof *c->runs);
    if (asprintf(&c->checkpoints, "%s.ckpt", a->database) < 0)
        c->checkpoints = NULL;
    int rc = c->runs && c->checkpoints ? HY_OK : hy_fail_memory(e);
    if (!rc)
        rc = hy_roster_new(c->plan, &c->roster, e);
    if (!rc)
        rc = hy_halving_new(c->plan, &c->halving, e);
    if (!rc)
        rc = hy_crew_new(hy_comm_size(comm), a->patience, &c->crew, e);
    if (!rc)
        rc = hy_gangs_new(c->plan, hy_comm_size(comm), &c->gangs, e);
    if (!rc && !(c->members = calloc((size_t)hy_gangs_largest(c->gangs), sizeof *c->members)))
        rc = hy_fail_memory(e);
    for (int i = 0; !rc && i < c->plan->count; i++)
        rc = register_run(c, a->sweep, i, e);
    if (!rc)
        promote(c, -1);
    if (!rc)
        rc = hy_store_flush(c->store, e);
    if (!rc)
        rc = make_folder(c, e);
    if (rc)
        hy_coordinator_free(c);
    else
        *out = c;
    return rc;
}

/* Checkpoints that a trial was killed in the middle of. */
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

void hy_coordinator_free(struct hy_coordinator *c)
{
    if (!c)
        return;
    if (c->checkpoints) {
        remove_unfinished(c->checkpoints);
        rmdir(c->checkpoints); /* stays where it holds something */
    }
    free(c->checkpoints);
    free(c->members);
    hy_gangs_free(c->gangs);
    hy_crew_free(c->crew);
    hy_halving_free(c->halving);
    hy_roster_free(c->roster);
    free(c->runs);
    free(c);
}

/* ---- Progress ---- */

static struct hy_progress progress_of(const struct hy_coordinator *c)
{
    struct hy_progress p = hy_roster_progress(c->roster, hy_comm_size(c->comm));
    if (hy_halving_is_used(c->halving))
        p.eta = -1; /* who goes on is not known */
    return p;
}

static void report_end(const struct hy_coordinator *c, int index, const char *status,
                       const char *reason, double took)
{
    char line[200], duration[32];
    const struct hy_progress p = progress_of(c);
    hy_info("%s: %s%s%s (%s) [%s]", c->plan->runs[index].title, status, *reason ? ": " : "", reason,
            hy_progress_duration(took, duration, sizeof duration),
            hy_progress_line(&p, line, sizeof line));
}

/* ---- Work ---- */

static char *checkpoint_path(const struct hy_coordinator *c, int index)
{
    char *path;
    if (asprintf(&path, "%s/%s.safetensors", c->checkpoints, c->plan->runs[index].key) < 0)
        return NULL;
    return path;
}

/* What a rank is told of a run: runner/message.h. */
static int make_order(const struct hy_coordinator *c, int index, struct hy_value **out,
                      struct hy_err *e)
{
    const int64_t until = hy_halving_until(c->halving, index);
    struct hy_value *order = hy_value_map();
    char *path = checkpoint_path(c, index);
    int rc = order && path ? hy_value_set(order, "run", hy_value_int(index), e) : hy_fail_memory(e);
    if (!rc)
        rc = hy_value_set(order, "config", hy_value_copy(c->plan->runs[index].config.tree), e);
    if (!rc)
        rc = hy_value_set(order, "checkpoint", hy_value_string(path), e);
    if (!rc)
        rc = hy_value_set(order, "key", hy_value_string(c->plan->runs[index].key), e);
    if (!rc && until)
        rc = hy_value_set(order, "until", hy_value_int(until), e);
    free(path);
    if (rc)
        hy_value_free(order);
    else
        *out = order;
    return rc;
}

static int make_orders(const struct hy_coordinator *c, int count, struct hy_value **out,
                       struct hy_err *e)
{
    if (count == 1)
        return make_order(c, c->members[0], out, e);
    struct hy_value *list = hy_value_list(), *order;
    int rc = list ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < count; i++) {
        rc = make_order(c, c->members[i], &order, e);
        if (!rc)
            rc = hy_value_append(list, order, e);
    }
    if (rc)
        hy_value_free(list);
    else
        *out = list;
    return rc;
}

static int may_join(void *context, int index)
{
    const struct hy_coordinator *c = context;
    return !c->runs[index].alone && hy_roster_waits(c->roster, index);
}

/* Gives a rank a run, and with it the others of its gang. */
static int assign(struct hy_coordinator *c, int rank, int index, struct hy_err *e)
{
    struct hy_value *orders = NULL;
    char *json = NULL;
    int count = 1;
    c->members[0] = index;
    if (!c->runs[index].alone)
        count = hy_gangs_take(c->gangs, index, may_join, c, c->members);
    int rc = make_folder(c, e);
    if (!rc)
        rc = make_orders(c, count, &orders, e);
    if (!rc && !(json = hy_value_to_json(orders, 0)))
        rc = hy_fail_memory(e);
    if (!rc)
        rc = hy_message_send(c->comm, rank, "train", index, json, strlen(json), e);
    for (int i = count - 1; !rc && i >= 0; i--) {
        struct run *run = &c->runs[c->members[i]];
        hy_roster_begin(c->roster, c->members[i]);
        run->attempts++;
        run->score = NAN;
        run->gang = count;
        run->rank = rank;
        run->next = hy_crew_run(c->crew, rank);
        hy_crew_set_run(c->crew, rank, c->members[i]);
    }
    free(json);
    hy_value_free(orders);
    return rc;
}

/* The rank that trains a run does so no longer. */
static void release(struct hy_coordinator *c, int index)
{
    struct run *run = &c->runs[index];
    int at = hy_crew_run(c->crew, run->rank);
    if (at == index)
        hy_crew_set_run(c->crew, run->rank, run->next);
    for (; at >= 0 && at != index; at = c->runs[at].next)
        if (c->runs[at].next == index)
            c->runs[at].next = run->next;
    run->rank = run->next = -1;
}

static int give_work(struct hy_coordinator *c, struct hy_err *e)
{
    int rc = HY_OK;
    for (int rank = 0; !rc && rank < hy_comm_size(c->comm); rank++) {
        const int next = hy_crew_is_idle(c->crew, rank) ? hy_roster_next(c->roster) : -1;
        if (next >= 0)
            rc = assign(c, rank, next, e);
    }
    return rc;
}

static int take_rows(struct hy_coordinator *c, int index, const struct hy_message *m,
                     struct hy_err *e)
{
    struct run *run = &c->runs[index];
    int rc = HY_OK;
    char *text = strndup(m->payload, m->size), *rest = NULL;
    if (!text)
        return hy_fail_memory(e);
    for (char *line = strtok_r(text, "\n", &rest); !rc && line;
         line = strtok_r(NULL, "\n", &rest)) {
        struct hy_row row;
        void *memory = NULL;
        rc = hy_row_decode(line, &row, &memory, e);
        if (!rc)
            rc = hy_store_row(c->store, run->id, &row, e);
        if (!rc && hy_halving_looks_at(c->halving, index, &row))
            run->score = row.value;
        free(memory);
    }
    free(text);
    return rc;
}

/* A run ends, for now or for good: into the store, out of the roster, and people are told. again:
 * it waits for another attempt. */
static int end_run(struct hy_coordinator *c, int index, const char *status, const char *reason,
                   int again, struct hy_err *e)
{
    struct run *run = &c->runs[index];
    const double took = hy_roster_elapsed(c->roster, index);
    char shown[64];
    snprintf(run->status, sizeof run->status, "%s", status);
    snprintf(shown, sizeof shown, "%s%s", status, again ? ", is tried again" : "");
    const int rc = hy_store_end_run(c->store, run->id, status, *reason ? reason : NULL, e);
    c->must_flush = 1;
    hy_roster_end(c->roster, index, status);
    hy_halving_end(c->halving, index, status);
    promote(c, -1);
    c->ended_here++;
    report_end(c, index, shown, reason, took);
    if (again)
        hy_roster_wait(c->roster, index);
    return rc;
}

/* A run has come to its next rung. Until it may go on it counts as pruned. */
static int take_pause(struct hy_coordinator *c, int index, struct hy_err *e)
{
    char reason[128];
    hy_halving_reach(c->halving, index, c->runs[index].score);
    const int goes_on = promote(c, index);
    hy_halving_reason(c->halving, index, goes_on, reason, sizeof reason);
    c->runs[index].attempts--; /* which are for failures */
    const int rc = end_run(c, index, goes_on ? "interrupted" : "pruned", reason, 0, e);
    if (goes_on)
        hy_roster_hurry(c->roster, index);
    return rc;
}

static void drop_checkpoint(const struct hy_coordinator *c, int index)
{
    char *path = checkpoint_path(c, index);
    if (path && !c->plan->runs[index].config.run.keep_checkpoint)
        unlink(path);
    free(path);
}

static int take_end(struct hy_coordinator *c, int index, const struct hy_message *m,
                    struct hy_err *e)
{
    const struct hy_plan_run *planned = &c->plan->runs[index];
    const char *reason = strchr(m->payload, '\n');
    char status[sizeof c->runs->status];
    if (!reason)
        return hy_fail(e, HY_E_ENV, "a rank reported an end without a status");
    snprintf(status, sizeof status, "%.*s", (int)(reason - m->payload), m->payload);
    if (!strcmp(status, "paused"))
        return take_pause(c, index, e);
    if (is_final(status))
        drop_checkpoint(c, index);
    const int failed = !strcmp(status, "failed");
    /* Which of a gang is to blame is not known: each gets the same attempt by itself. */
    if (failed && c->runs[index].gang > 1) {
        c->runs[index].alone = 1;
        c->runs[index].attempts--;
    }
    const int again =
        failed && !c->stopping && c->runs[index].attempts <= planned->config.run.retries;
    return end_run(c, index, status, reason + 1, again, e);
}

/* The rank of a run was lost: another one gets it. */
static int take_back(struct hy_coordinator *c, int rank, int index, struct hy_err *e)
{
    struct run *run = &c->runs[index];
    char reason[96];
    release(c, index);
    run->attempts--; /* which is no fault of the run's, up to a point */
    run->losses++;
    run->alone = 1;
    const int hopeless = run->losses >= MAX_LOSSES;
    snprintf(reason, sizeof reason, "its rank %d was lost%s", rank,
             hopeless ? ", as others before with this run" : "");
    return end_run(c, index, hopeless ? "failed" : "interrupted", reason, !hopeless && !c->stopping,
                   e);
}

/* A rank has been silent for too long. */
static int lose(struct hy_coordinator *c, int rank, struct hy_err *e)
{
    int rc = HY_OK;
    hy_warn("rank %d has been silent for %g s and counts as lost", rank, c->patience);
    hy_comm_break(c->comm);
    c->broken = 1;
    for (int index; !rc && (index = hy_crew_run(c->crew, rank)) >= 0;)
        rc = take_back(c, rank, index, e);
    return rc;
}

/* A message about the run that its sender trains. */
static int take_news(struct hy_coordinator *c, int from, const struct hy_message *m,
                     struct hy_err *e)
{
    struct run *run = &c->runs[m->run];
    if (!strcmp(m->verb, "began")) {
        hy_verbose("%s: begins on %s, rank %d", c->plan->runs[m->run].title, m->payload, from);
        const struct hy_row version = {.type = HY_ROW_FACT, .name = "version", .text = c->version};
        const int rc = hy_store_begin_run(c->store, run->id, m->payload, from, e);
        return rc ? rc : hy_store_row(c->store, run->id, &version, e);
    }
    if (!strcmp(m->verb, "rows"))
        return take_rows(c, m->run, m, e);
    if (!strcmp(m->verb, "end")) {
        release(c, m->run);
        return take_end(c, m->run, m, e);
    }
    return HY_OK;
}

int hy_coordinator_message(struct hy_coordinator *c, int from, const struct hy_message *m,
                           struct hy_err *e)
{
    hy_crew_hear(c->crew, from);
    if (!strcmp(m->verb, "ready"))
        hy_crew_ready(c->crew, from);
    else if (!strcmp(m->verb, "stopping"))
        hy_coordinator_stop(c);
    else if (hy_crew_is_lost(c->crew, from))
        return hy_message_send(c->comm, from, "abandon", -1, NULL, 0, e);
    else if (m->run >= 0 && m->run < c->plan->count && c->runs[m->run].rank == from &&
             take_news(c, from, m, e)) {
        hy_store_abandon(c->store, e); /* the end of a run whose rows were lost must not stand */
        return e->code;
    }
    /* All else is for the worker of this rank, or about a run that was taken back. */
    return HY_OK;
}

/* Whether all could be told. */
static int tell_all(struct hy_coordinator *c, const char *verb, const char *payload)
{
    int told = 1;
    for (int rank = 0; rank < hy_comm_size(c->comm); rank++)
        if (!hy_crew_is_lost(c->crew, rank))
            told &= !hy_message_send(c->comm, rank, verb, -1, payload, strlen(payload), NULL);
    return told;
}

void hy_coordinator_stop(struct hy_coordinator *c)
{
    if (c->stopping)
        return;
    c->stopping = 1;
    tell_all(c, "stop", "");
}

static void send_home(struct hy_coordinator *c)
{
    /* A sweep that was stopped may yet need them. */
    for (int i = 0; !c->stopping && i < c->plan->count; i++)
        if (!strcmp(c->runs[i].status, "pruned"))
            drop_checkpoint(c, i);
    c->left = tell_all(c, "leave", c->broken ? "broken" : ""); /* else again in the next step */
}

int hy_coordinator_step(struct hy_coordinator *c, struct hy_err *e)
{
    const double now = hy_now();
    int rc = HY_OK;
    for (int rank; !rc && (rank = hy_crew_find_lost(c->crew)) >= 0;)
        rc = lose(c, rank, e);
    if (now - c->beat > beat_seconds) {
        c->beat = now;
        tell_all(c, "alive", "");
        hy_store_beat(c->store);
    }
    if (!c->stopping && hy_roster_is_empty(c->roster)) {
        hy_halving_rescue(c->halving);
        promote(c, -1);
    }
    if (!rc && !c->stopping)
        rc = give_work(c, e);
    if (!rc && (c->must_flush || now - c->flushed > 1)) {
        c->must_flush = 0;
        c->flushed = now;
        rc = hy_store_flush(c->store, e);
    }
    const struct hy_progress p = progress_of(c);
    if (now - c->shown > 0.5) {
        c->shown = now;
        hy_progress_show(&p);
    }
    if (!p.running && (!p.waiting || c->stopping) && !c->left)
        send_home(c);
    return rc;
}

int hy_coordinator_result(const struct hy_coordinator *c, struct hy_err *e)
{
    const struct hy_progress p = progress_of(c);
    const int total = p.total, done = p.done, diverged = p.diverged;
    const int failed = total - done - p.pruned - diverged;
    if (c->stopping && failed)
        return hy_fail(e, HY_E_INTERRUPTED,
                       "interrupted: %d of %d runs are left; run the same command again to go on",
                       failed, total);
    if (failed || diverged)
        return hy_fail(e, HY_E_RUN, "%d of %d runs are done, %d pruned, %d diverged, %d failed",
                       done, total, p.pruned, diverged, failed);
    if (p.pruned) {
        hy_info("%d of %d runs are done, %d pruned", done, total, p.pruned);
        return HY_OK;
    }
    hy_info(c->ended_here ? "all %d runs are done" : "all %d runs are done already", total);
    return HY_OK;
}
