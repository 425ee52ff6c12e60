#include "runner/coordinator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "runner/progress.h"
#include "runner/roster.h"

struct run {
    int64_t id; /* in the store */
    int attempts;
    char status[16]; /* last known to the store */
};

struct hy_coordinator {
    struct hy_comm *comm;
    struct hy_store *store;
    const struct hy_plan *plan;
    const char *version;
    char *checkpoints; /* folder */
    struct run *runs;  /* by index in the plan */
    struct hy_roster *roster;
    unsigned char *idle; /* per rank: waits for work */
    int ended_here;      /* runs that this program brought to an end */
    int stopping, left;
    int must_flush; /* an end waits to be durable */
    double flushed, shown;
};

/* ---- Beginning ---- */

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
    const int rc = hy_store_add_run(c->store, sweep, &facts, &run->id, run->status, e);
    free(json);
    if (!rc && is_final(run->status))
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
    c->runs = calloc((size_t)c->plan->count, sizeof *c->runs);
    c->idle = calloc((size_t)hy_comm_size(comm), 1);
    if (asprintf(&c->checkpoints, "%s.ckpt", a->database) < 0)
        c->checkpoints = NULL;
    int rc = c->runs && c->idle && c->checkpoints ? HY_OK : hy_fail_memory(e);
    if (!rc)
        rc = hy_roster_new(c->plan, &c->roster, e);
    for (int i = 0; !rc && i < c->plan->count; i++)
        rc = register_run(c, a->sweep, i, e);
    if (!rc)
        rc = hy_store_flush(c->store, e);
    if (!rc && mkdir(c->checkpoints, 0777) && errno != EEXIST)
        rc = hy_fail_errno(e, HY_E_ENV, "cannot make the folder of checkpoints %s", c->checkpoints);
    if (rc)
        hy_coordinator_free(c);
    else
        *out = c;
    return rc;
}

void hy_coordinator_free(struct hy_coordinator *c)
{
    if (!c)
        return;
    if (c->checkpoints)
        rmdir(c->checkpoints); /* stays where it holds something */
    free(c->checkpoints);
    free(c->idle);
    hy_roster_free(c->roster);
    free(c->runs);
    free(c);
}

/* ---- Progress ---- */

static struct hy_progress progress_of(const struct hy_coordinator *c)
{
    return hy_roster_progress(c->roster, hy_comm_size(c->comm));
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

static int assign(struct hy_coordinator *c, int rank, int index, struct hy_err *e)
{
    struct hy_value *order = hy_value_map();
    char *path = checkpoint_path(c, index), *json = NULL;
    int rc = order && path ? HY_OK : hy_fail_memory(e);
    if (!rc)
        rc = hy_value_set(order, "config", hy_value_copy(c->plan->runs[index].config.tree), e);
    if (!rc)
        rc = hy_value_set(order, "checkpoint", hy_value_string(path), e);
    if (!rc && !(json = hy_value_to_json(order, 0)))
        rc = hy_fail_memory(e);
    if (!rc)
        rc = hy_message_send(c->comm, rank, "train", index, json, strlen(json), e);
    if (!rc) {
        hy_roster_begin(c->roster, index);
        c->runs[index].attempts++;
        c->idle[rank] = 0;
    }
    free(json);
    free(path);
    hy_value_free(order);
    return rc;
}

static int give_work(struct hy_coordinator *c, struct hy_err *e)
{
    int rc = HY_OK;
    for (int rank = 0; !rc && rank < hy_comm_size(c->comm); rank++) {
        const int next = c->idle[rank] ? hy_roster_next(c->roster) : -1;
        if (next >= 0)
            rc = assign(c, rank, next, e);
    }
    return rc;
}

static int take_rows(struct hy_coordinator *c, struct run *run, const struct hy_message *m,
                     struct hy_err *e)
{
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
        free(memory);
    }
    free(text);
    return rc;
}

static int take_end(struct hy_coordinator *c, int index, const struct hy_message *m,
                    struct hy_err *e)
{
    struct run *run = &c->runs[index];
    const struct hy_plan_run *planned = &c->plan->runs[index];
    const char *reason = strchr(m->payload, '\n');
    if (!reason)
        return hy_fail(e, HY_E_ENV, "a rank reported an end without a status");
    snprintf(run->status, sizeof run->status, "%.*s", (int)(reason - m->payload), m->payload);
    reason++;
    const double took = hy_roster_elapsed(c->roster, index);
    const int rc = hy_store_end_run(c->store, run->id, run->status, *reason ? reason : NULL, e);
    c->must_flush = 1;
    if (is_final(run->status) && !planned->config.run.keep_checkpoint) {
        char *path = checkpoint_path(c, index);
        if (path)
            unlink(path);
        free(path);
    }
    hy_roster_end(c->roster, index, run->status);
    c->ended_here++;
    const int again = !strcmp(run->status, "failed") && !c->stopping &&
                      run->attempts <= planned->config.run.retries;
    report_end(c, index, again ? "failed, is tried again" : run->status, reason, took);
    if (again)
        hy_roster_wait(c->roster, index);
    return rc;
}

int hy_coordinator_message(struct hy_coordinator *c, int from, const struct hy_message *m,
                           struct hy_err *e)
{
    if (!strcmp(m->verb, "ready")) {
        c->idle[from] = 1;
        return HY_OK;
    }
    if (!strcmp(m->verb, "stopping")) {
        hy_coordinator_stop(c);
        return HY_OK;
    }
    if (m->run < 0 || m->run >= c->plan->count)
        return HY_OK; /* of the other side of this rank: not for the coordinator */
    struct run *run = &c->runs[m->run];
    if (!strcmp(m->verb, "began")) {
        hy_verbose("%s: begins on %s, rank %d", c->plan->runs[m->run].title, m->payload, from);
        const struct hy_row version = {.type = HY_ROW_FACT, .name = "version", .text = c->version};
        const int rc = hy_store_begin_run(c->store, run->id, m->payload, from, e);
        return rc ? rc : hy_store_row(c->store, run->id, &version, e);
    }
    if (!strcmp(m->verb, "rows"))
        return take_rows(c, run, m, e);
    if (!strcmp(m->verb, "end"))
        return take_end(c, m->run, m, e);
    return HY_OK;
}

void hy_coordinator_stop(struct hy_coordinator *c)
{
    if (c->stopping)
        return;
    c->stopping = 1;
    for (int rank = 0; rank < hy_comm_size(c->comm); rank++)
        hy_message_send(c->comm, rank, "stop", -1, NULL, 0, NULL);
}

static void send_home(struct hy_coordinator *c)
{
    c->left = 1;
    for (int rank = 0; rank < hy_comm_size(c->comm); rank++)
        hy_message_send(c->comm, rank, "leave", -1, NULL, 0, NULL);
}

int hy_coordinator_step(struct hy_coordinator *c, struct hy_err *e)
{
    int rc = c->stopping ? HY_OK : give_work(c, e);
    const double now = hy_now();
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
    const int failed = total - done - diverged;
    if (c->stopping && failed)
        return hy_fail(e, HY_E_INTERRUPTED,
                       "interrupted: %d of %d runs are left; run the same command again to go on",
                       failed, total);
    if (failed || diverged)
        return hy_fail(e, HY_E_RUN, "%d of %d runs are done, %d diverged, %d failed", done, total,
                       diverged, failed);
    hy_info(c->ended_here ? "all %d runs are done" : "all %d runs are done already", total);
    return HY_OK;
}
