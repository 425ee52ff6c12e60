#include "runner/lead/ledger.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "runner/lead/checkpoints.h"
#include "runner/plan/gang.h"
#include "runner/lead/halving.h"
#include "runner/rank/order.h"
#include "runner/lead/queue.h"
#include "runner/lead/rungs.h"

enum { MAX_LOSSES = 3 }; /* ranks that a run may take along before it counts as failed */

struct run {
    int64_t id; /* in the store */
    int attempts, losses;
    int gang;        /* members of the gang that it last began in */
    int alone;       /* it failed in a gang: not to take others along once more */
    char status[16]; /* last known to the store */
    int awaiting;    /* runs that are not finished and start from its weights */
    double score;    /* the last one that its rule of halving looks at; NaN: none */
};

struct hy_ledger {
    struct hy_store *store;
    const struct hy_plan *plan;
    const char *version;
    int ranks;
    struct run *runs; /* by index in the plan */
    struct hy_checkpoints *checkpoints;
    struct hy_queue *queue;
    struct hy_halving *halving;
    struct hy_gangs *gangs;
    int *members;   /* room for a gang */
    int ended_here; /* runs that this program brought to an end */
    int closed;
    int *results; /* runs whose ends wait to be durable; their checkpoints go then */
    int result_count;
    int must_commit; /* an end waits to be durable */
    double committed;
};

/* Runs that may now go on from their rungs are next to be trained. Whether `awaited` is among them,
 * which is left to the caller. */
static int promote(struct hy_ledger *l, int awaited)
{
    int seen = 0;
    for (int run; (run = hy_halving_next(l->halving)) >= 0;)
        if (run == awaited)
            seen = 1;
        else
            hy_queue_hurry(l->queue, run);
    return seen;
}

/* Where nothing else is left, the best of those on rungs goes on. */
static void rescue(struct hy_ledger *l)
{
    if (l->closed || !hy_queue_is_empty(l->queue))
        return;
    hy_halving_rescue(l->halving);
    promote(l, -1);
}

/* ---- Beginning ---- */

/* A diverged run is a result; everything else that is not done is tried again. */
static int is_final(const char *status)
{
    return !strcmp(status, "done") || !strcmp(status, "diverged");
}

static int register_run(struct hy_ledger *l, int64_t sweep, int index, struct hy_err *e)
{
    const struct hy_plan_run *planned = &l->plan->runs[index];
    const struct hy_config *config = &planned->config;
    struct run *run = &l->runs[index];
    const struct hy_layout_text layout = hy_config_layout(config);
    const int full = hy_config_full_layers(config);
    char variant[128], ratio[32], *json = hy_value_to_json(config->tree, 0);
    if (!json)
        return hy_fail_memory(e);
    hy_config_variant(config, variant, sizeof variant);
    hy_config_ratio(config, ratio, sizeof ratio);
    const struct hy_run_facts facts = {
        .key = planned->key,
        .title = planned->title,
        .variant = variant,
        .ratio = ratio,
        .placement = hy_config_placement(config),
        .layout = layout.text,
        .linear_layers = config->model.layers - full,
        .full_layers = full,
        .d_model = config->model.d_model,
        .layers = config->model.layers,
        .heads = config->model.heads,
        .seed = config->train.seed,
        .lr = config->train.lr,
        .config = json,
        .source = planned->source < 0 ? NULL : l->plan->runs[planned->source].key,
    };
    int rc = hy_store_add_run(l->store, sweep, &facts, &run->id, run->status, e);
    free(json);
    return rc;
}

/* Whether some run that is not finished starts from this one's weights. */
static int is_awaited(const struct hy_ledger *l, int index)
{
    return l->runs[index].awaiting > 0;
}

/* The final weights of a run are there. */
static int has_weights(const struct hy_ledger *l, int index)
{
    char *path = hy_ledger_weights(l, index);
    const int has = path && hy_trial_is_final(path);
    free(path);
    return has;
}

/* Counts, for every source, the runs that still want its weights. A source that such a run makes
 * wanted anew is itself unfinished, so sources come last. */
static void count_awaiting(struct hy_ledger *l)
{
    for (int i = 0; i < l->plan->count; i++) {
        const int source = l->plan->runs[i].source;
        if (source >= 0 && !is_final(l->runs[i].status))
            l->runs[source].awaiting++;
    }
}

/* What an earlier program left of a run. A source whose weights are wanted and gone is trained
 * again, and so is its own source if need be. */
static int restore_run(struct hy_ledger *l, int index, struct hy_err *e)
{
    struct run *run = &l->runs[index];
    int is_on_rung = 0;
    const int rc =
        hy_rungs_restore(l->halving, index, l->store, run->id, run->status, &is_on_rung, e);
    if (rc || (!is_final(run->status) && !is_on_rung))
        return rc;
    if (is_awaited(l, index) && !strcmp(run->status, "done") && !has_weights(l, index)) {
        const int source = l->plan->runs[index].source;
        hy_info("%s: is trained again, since others start from its weights, which are gone",
                l->plan->runs[index].title);
        strcpy(run->status, "pending");
        if (source >= 0)
            l->runs[source].awaiting++;
    } else {
        hy_queue_end(l->queue, index, run->status);
    }
    return HY_OK;
}

int hy_ledger_new(const struct hy_assignment *a, int ranks, struct hy_ledger **out,
                  struct hy_err *e)
{
    struct hy_ledger *l = calloc(1, sizeof *l);
    if (!l)
        return hy_fail_memory(e);
    l->store = a->store;
    l->plan = a->plan;
    l->version = a->version;
    l->ranks = ranks;
    l->runs = calloc((size_t)l->plan->count, sizeof *l->runs);
    l->results = calloc((size_t)l->plan->count, sizeof *l->results);
    int rc = l->runs && l->results ? hy_checkpoints_new(a->database, &l->checkpoints, e)
                                   : hy_fail_memory(e);
    if (!rc)
        rc = hy_queue_new(l->plan, &l->queue, e);
    if (!rc)
        rc = hy_halving_new(l->plan, &l->halving, e);
    if (!rc)
        rc = hy_gangs_new(l->plan, l->ranks, &l->gangs, e);
    if (!rc && !(l->members = calloc((size_t)hy_gangs_largest(l->gangs), sizeof *l->members)))
        rc = hy_fail_memory(e);
    for (int i = 0; !rc && i < l->plan->count; i++)
        rc = register_run(l, a->sweep, i, e);
    if (!rc)
        count_awaiting(l);
    /* Dependants stand before their sources, whose fate follows from theirs. */
    for (int i = 0; !rc && i < l->plan->count; i++)
        if (l->plan->runs[i].source >= 0 || !l->plan->runs[i].dependants)
            rc = restore_run(l, i, e);
    for (int i = 0; !rc && i < l->plan->count; i++)
        if (l->plan->runs[i].source < 0 && l->plan->runs[i].dependants)
            rc = restore_run(l, i, e);
    for (int i = 0; !rc && i < l->plan->count; i++)
        if (is_awaited(l, i) && hy_queue_waits(l->queue, i))
            hy_queue_hurry(l->queue, i);
    if (!rc) {
        promote(l, -1);
        rescue(l);
        rc = hy_store_flush(l->store, e);
    }
    if (!rc)
        rc = hy_checkpoints_make_folder(l->checkpoints, e);
    if (rc)
        hy_ledger_free(l);
    else
        *out = l;
    return rc;
}

void hy_ledger_free(struct hy_ledger *l)
{
    if (!l)
        return;
    free(l->results);
    free(l->members);
    hy_gangs_free(l->gangs);
    hy_halving_free(l->halving);
    hy_queue_free(l->queue);
    hy_checkpoints_free(l->checkpoints);
    free(l->runs);
    free(l);
}

/* ---- Giving away ---- */

int hy_ledger_next(struct hy_ledger *l)
{
    return l->closed ? -1 : hy_queue_next(l->queue);
}

static int make_order(const struct hy_ledger *l, int index, struct hy_value **out, struct hy_err *e)
{
    const struct hy_plan_run *planned = &l->plan->runs[index];
    char *path = hy_ledger_weights(l, index);
    char *source = planned->source < 0 ? NULL : hy_ledger_source(l, index);
    const struct hy_order order = {
        .run = index,
        .config = planned->config.tree,
        .key = planned->key,
        .checkpoint = path,
        .until = hy_halving_until(l->halving, index),
        .source = source,
        .keep = is_awaited(l, index),
    };
    const int rc =
        path && (source || planned->source < 0) ? hy_order_make(&order, out, e) : hy_fail_memory(e);
    free(source);
    free(path);
    return rc;
}

static int make_orders(const struct hy_ledger *l, int count, struct hy_value **out,
                       struct hy_err *e)
{
    if (count == 1)
        return make_order(l, l->members[0], out, e);
    struct hy_value *list = hy_value_list(), *order;
    int rc = list ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < count; i++) {
        rc = make_order(l, l->members[i], &order, e);
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
    const struct hy_ledger *l = context;
    return !l->runs[index].alone && hy_queue_waits(l->queue, index);
}

int hy_ledger_order(struct hy_ledger *l, int run, const int **members, int *count, char **json,
                    struct hy_err *e)
{
    struct hy_value *orders = NULL;
    int size = 1;
    l->members[0] = run;
    if (!l->runs[run].alone)
        size = hy_gangs_take(l->gangs, run, may_join, l, l->members);
    int rc = hy_checkpoints_make_folder(l->checkpoints, e);
    if (!rc)
        rc = make_orders(l, size, &orders, e);
    if (rc)
        return rc;
    char *text = hy_value_to_json(orders, 0);
    hy_value_free(orders);
    if (!text)
        return hy_fail_memory(e);
    *members = l->members;
    *count = size;
    *json = text;
    return HY_OK;
}

void hy_ledger_give(struct hy_ledger *l, const int *members, int count)
{
    for (int i = 0; i < count; i++) {
        struct run *run = &l->runs[members[i]];
        hy_queue_begin(l->queue, members[i]);
        run->attempts++;
        run->score = NAN;
        run->gang = count;
    }
}

/* ---- News ---- */

int hy_ledger_begin(struct hy_ledger *l, int run, const char *host, int rank, struct hy_err *e)
{
    const struct hy_row version = {.type = HY_ROW_FACT, .name = "version", .text = l->version};
    hy_verbose("%s: begins on %s, rank %d", l->plan->runs[run].title, host, rank);
    const int rc = hy_store_begin_run(l->store, l->runs[run].id, host, rank, e);
    return rc ? rc : hy_store_row(l->store, l->runs[run].id, &version, e);
}

int hy_ledger_rows(struct hy_ledger *l, int run, char *rows, struct hy_err *e)
{
    int rc = HY_OK;
    char *rest = NULL;
    for (char *line = strtok_r(rows, "\n", &rest); !rc && line;
         line = strtok_r(NULL, "\n", &rest)) {
        struct hy_row row;
        void *memory = NULL;
        rc = hy_row_decode(line, &row, &memory, e);
        if (!rc)
            rc = hy_store_row(l->store, l->runs[run].id, &row, e);
        if (!rc && hy_halving_looks_at(l->halving, run, &row))
            l->runs[run].score = row.value;
        free(memory);
    }
    return rc;
}

static void report_end(const struct hy_ledger *l, int index, const char *status, const char *reason,
                       double took)
{
    char line[200], duration[32];
    const struct hy_progress p = hy_ledger_progress(l);
    hy_info("%s: %s%s%s (%s) [%s]", l->plan->runs[index].title, status, *reason ? ": " : "", reason,
            hy_progress_duration(took, duration, sizeof duration),
            hy_progress_line(&p, line, sizeof line));
}

/* A run ends, for now or for good: into the store, out of the queue, and people are told. again:
 * it waits for another attempt. */
static int end_run(struct hy_ledger *l, int index, const char *status, const char *reason,
                   int again, struct hy_err *e)
{
    struct run *run = &l->runs[index];
    const double took = hy_queue_elapsed(l->queue, index);
    char shown[64];
    snprintf(run->status, sizeof run->status, "%s", status);
    snprintf(shown, sizeof shown, "%s%s", status, again ? ", is tried again" : "");
    const int rc = hy_store_end_run(l->store, run->id, status, *reason ? reason : NULL, e);
    l->must_commit = 1;
    hy_queue_end(l->queue, index, status);
    hy_halving_end(l->halving, index, status);
    promote(l, -1);
    l->ended_here++;
    report_end(l, index, shown, reason, took);
    if (again)
        hy_queue_wait(l->queue, index);
    return rc;
}

/* A run has come to its next rung. Until it may go on it counts as pruned. */
static int take_pause(struct hy_ledger *l, int index, struct hy_err *e)
{
    char reason[128];
    hy_halving_reach(l->halving, index, l->runs[index].score);
    const int goes_on = promote(l, index);
    hy_halving_reason(l->halving, index, goes_on, reason, sizeof reason);
    l->runs[index].attempts--; /* which are for failures */
    const int rc = end_run(l, index, goes_on ? "interrupted" : "pruned", reason, 0, e);
    if (goes_on)
        hy_queue_hurry(l->queue, index);
    return rc;
}

static int take_end(struct hy_ledger *l, int index, const char *status, const char *reason,
                    struct hy_err *e)
{
    struct run *run = &l->runs[index];
    const int source = l->plan->runs[index].source;
    if (is_final(status)) {
        l->results[l->result_count++] = index;
        if (source >= 0)
            l->runs[source].awaiting--;
    }
    const int failed = !strcmp(status, "failed");
    /* Which of a gang is to blame is not known: each gets the same attempt by itself. */
    if (failed && run->gang > 1) {
        run->alone = 1;
        run->attempts--;
    }
    const int again =
        failed && !l->closed && run->attempts <= l->plan->runs[index].config.run.retries;
    return end_run(l, index, status, reason, again, e);
}

int hy_ledger_end(struct hy_ledger *l, int index, const char *status, const char *reason,
                  struct hy_err *e)
{
    const int rc =
        !strcmp(status, "paused") ? take_pause(l, index, e) : take_end(l, index, status, reason, e);
    rescue(l);
    return rc;
}

int hy_ledger_lose(struct hy_ledger *l, int index, int rank, struct hy_err *e)
{
    struct run *run = &l->runs[index];
    char reason[96];
    run->attempts--;
    run->losses++;
    run->alone = 1;
    const int hopeless = run->losses >= MAX_LOSSES;
    snprintf(reason, sizeof reason, "its rank %d was lost%s", rank,
             hopeless ? ", as others before with this run" : "");
    const int rc =
        end_run(l, index, hopeless ? "failed" : "interrupted", reason, !hopeless && !l->closed, e);
    rescue(l);
    return rc;
}

char *hy_ledger_weights(const struct hy_ledger *l, int run)
{
    return hy_checkpoints_path(l->checkpoints, l->plan->runs[run].key);
}

char *hy_ledger_source(const struct hy_ledger *l, int run)
{
    const int source = l->plan->runs[run].source;
    return hy_checkpoints_path(l->checkpoints, l->plan->runs[source < 0 ? run : source].key);
}

/* ---- The whole ---- */

void hy_ledger_close(struct hy_ledger *l)
{
    l->closed = 1;
}

int hy_ledger_is_closed(const struct hy_ledger *l)
{
    return l->closed;
}

int hy_ledger_is_settled(const struct hy_ledger *l)
{
    const struct hy_progress p = hy_ledger_progress(l);
    return !p.running && (!p.waiting || l->closed);
}

/* Its own, unless others want it, and that of its source, if it was the last that did. */
static void drop_checkpoint(const struct hy_ledger *l, int index)
{
    const struct hy_plan_run *planned = &l->plan->runs[index];
    if (!planned->config.run.keep_checkpoint && !is_awaited(l, index))
        hy_checkpoints_drop(l->checkpoints, planned->key);
    if (planned->source >= 0 && !is_awaited(l, planned->source) &&
        is_final(l->runs[planned->source].status))
        drop_checkpoint(l, planned->source);
}

void hy_ledger_clean_up(const struct hy_ledger *l)
{
    /* A sweep that was stopped may yet need them. */
    for (int i = 0; !l->closed && i < l->plan->count; i++)
        if (!strcmp(l->runs[i].status, "pruned"))
            drop_checkpoint(l, i);
}

int hy_ledger_commit(struct hy_ledger *l, struct hy_err *e)
{
    const double now = hy_now();
    if (!l->must_commit && now - l->committed <= 1)
        return HY_OK;
    l->must_commit = 0;
    l->committed = now;
    const int rc = hy_store_flush(l->store, e);
    /* Not before: a kill in between leaves a file behind, the other way round it costs a run. */
    while (!rc && l->result_count)
        drop_checkpoint(l, l->results[--l->result_count]);
    return rc;
}

struct hy_progress hy_ledger_progress(const struct hy_ledger *l)
{
    struct hy_progress p = hy_queue_progress(l->queue, l->ranks);
    if (hy_halving_is_used(l->halving))
        p.eta = -1; /* who goes on is not known */
    return p;
}

/* Runs that are still held say in the database which source they wait for. */
int hy_ledger_note_held(struct hy_ledger *l, struct hy_err *e)
{
    int rc = HY_OK;
    for (int i = 0; !rc && i < l->plan->count; i++) {
        char reason[512];
        if (!hy_queue_is_held(l->queue, i))
            continue;
        const struct run *source = &l->runs[l->plan->runs[i].source];
        snprintf(reason, sizeof reason, "its source, run %lld (%.300s), is %s",
                 (long long)source->id, l->plan->runs[l->plan->runs[i].source].title,
                 source->status);
        rc = hy_store_end_run(l->store, l->runs[i].id, "pending", reason, e);
    }
    return rc;
}

int hy_ledger_result(const struct hy_ledger *l, struct hy_err *e)
{
    const struct hy_progress p = hy_ledger_progress(l);
    const int total = p.total, done = p.done, diverged = p.diverged;
    const int failed = total - done - p.pruned - diverged;
    if (l->closed && failed)
        return hy_fail(e, HY_E_INTERRUPTED,
                       "interrupted: %d of %d runs are left; run the same command again to go on",
                       failed, total);
    if (p.held)
        return hy_fail(e, HY_E_RUN,
                       "%d of %d runs are done, %d pruned, %d diverged, %d failed, and %d wait for "
                       "sources among these; run the same command again to go on",
                       done, total, p.pruned, diverged, failed - p.held, p.held);
    if (failed || diverged)
        return hy_fail(e, HY_E_RUN, "%d of %d runs are done, %d pruned, %d diverged, %d failed",
                       done, total, p.pruned, diverged, failed);
    if (p.pruned) {
        hy_info("%d of %d runs are done, %d pruned", done, total, p.pruned);
        return HY_OK;
    }
    hy_info(l->ended_here ? "all %d runs are done" : "all %d runs are done already", total);
    return HY_OK;
}
