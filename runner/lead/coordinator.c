#include "runner/lead/coordinator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "runner/comm/parcel.h"
#include "runner/lead/ranks.h"

static const double beat_seconds = 1; /* between signs of life to the ranks */

/* Who trains a run. */
struct post {
    int rank; /* -1: nobody */
    int next; /* another run that its rank trains with it, -1: none */
};

struct hy_coordinator {
    struct hy_comm *comm;
    struct hy_store *store;
    struct hy_ledger *ledger;
    struct hy_ranks *ranks;
    int run_count;
    struct post *posts; /* by index in the plan */
    double patience;
    int left;
    int broken; /* a rank was lost */
    double shown, beat;
};

int hy_coordinator_new(struct hy_comm *comm, const struct hy_assignment *a, double patience,
                       struct hy_coordinator **out, struct hy_err *e)
{
    struct hy_coordinator *c = calloc(1, sizeof *c);
    if (!c)
        return hy_fail_memory(e);
    c->comm = comm;
    c->store = a->store;
    c->patience = patience;
    c->run_count = a->plan->count;
    c->posts = calloc((size_t)c->run_count, sizeof *c->posts);
    int rc =
        c->posts ? hy_ranks_new(hy_comm_size(comm), patience, &c->ranks, e) : hy_fail_memory(e);
    for (int i = 0; !rc && i < c->run_count; i++)
        c->posts[i] = (struct post){-1, -1};
    if (!rc)
        rc = hy_ledger_new(a, hy_comm_size(comm), &c->ledger, e);
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
    hy_ledger_free(c->ledger);
    hy_ranks_free(c->ranks);
    free(c->posts);
    free(c);
}

/* ---- Who trains what ---- */

/* Gives a rank a run, and with it the others of its gang. */
static int assign(struct hy_coordinator *c, int rank, int run, struct hy_err *e)
{
    const int *members;
    int count;
    char *order;
    int rc = hy_ledger_order(c->ledger, run, &members, &count, &order, e);
    if (rc)
        return rc;
    rc = hy_message_send(c->comm, rank, "train", run, order, strlen(order), e);
    free(order);
    if (rc)
        return rc;
    hy_ledger_give(c->ledger, members, count);
    for (int i = count - 1; i >= 0; i--) {
        c->posts[members[i]] = (struct post){rank, hy_ranks_run(c->ranks, rank)};
        hy_ranks_set_run(c->ranks, rank, members[i]);
    }
    return HY_OK;
}

static int give_work(struct hy_coordinator *c, struct hy_err *e)
{
    int rc = HY_OK;
    for (int rank = 0; !rc && rank < hy_comm_size(c->comm); rank++) {
        const int next = hy_ranks_is_idle(c->ranks, rank) ? hy_ledger_next(c->ledger) : -1;
        if (next >= 0)
            rc = assign(c, rank, next, e);
    }
    return rc;
}

/* The rank that trains a run does so no longer. */
static void release(struct hy_coordinator *c, int run)
{
    struct post *post = &c->posts[run];
    int at = hy_ranks_run(c->ranks, post->rank);
    if (at == run)
        hy_ranks_set_run(c->ranks, post->rank, post->next);
    for (; at >= 0 && at != run; at = c->posts[at].next)
        if (c->posts[at].next == run)
            c->posts[at].next = post->next;
    *post = (struct post){-1, -1};
}

/* A rank has been silent for too long: others get its runs. */
static int lose(struct hy_coordinator *c, int rank, struct hy_err *e)
{
    int rc = HY_OK;
    hy_warn("rank %d has been silent for %g s and counts as lost", rank, c->patience);
    hy_comm_break(c->comm);
    c->broken = 1;
    for (int run; !rc && (run = hy_ranks_run(c->ranks, rank)) >= 0;) {
        release(c, run);
        rc = hy_ledger_lose(c->ledger, run, rank, e);
    }
    return rc;
}

/* ---- Messages ---- */

static int take_rows(struct hy_coordinator *c, const struct hy_message *m, struct hy_err *e)
{
    char *rows = strndup(m->payload, m->size);
    const int rc = rows ? hy_ledger_rows(c->ledger, m->run, rows, e) : hy_fail_memory(e);
    free(rows);
    return rc;
}

static int take_end(struct hy_coordinator *c, const struct hy_message *m, struct hy_err *e)
{
    const char *reason = strchr(m->payload, '\n');
    char status[16];
    release(c, m->run);
    if (!reason)
        return hy_fail(e, HY_E_ENV, "a rank reported an end without a status");
    snprintf(status, sizeof status, "%.*s", (int)(reason - m->payload), m->payload);
    return hy_ledger_end(c->ledger, m->run, status, reason + 1, e);
}

/* A rank that does not see these files asks for a part of what its run starts from. */
static int send_part(struct hy_coordinator *c, int to, const struct hy_message *m, struct hy_err *e)
{
    int64_t size;
    char *path = hy_ledger_source(c->ledger, m->run);
    const int rc =
        path ? hy_parcel_send(c->comm, to, "chunk", m->run, path, hy_parcel_asked(m), &size, e)
             : hy_fail_memory(e);
    free(path);
    return rc;
}

/* ... or sends a part of what its run leaves to others. What cannot be kept is trained again. */
static int take_part(struct hy_coordinator *c, int from, const struct hy_message *m,
                     struct hy_err *e)
{
    int64_t next = -1;
    struct hy_err why;
    char *path = hy_ledger_weights(c->ledger, m->run);
    if (!path)
        return hy_fail_memory(e);
    if (hy_parcel_take(m, path, &next, &why)) {
        hy_warn("%s", why.text);
        next = -1;
    }
    free(path);
    return hy_parcel_ask(c->comm, from, "more", m->run, next, e);
}

/* A message about the run that its sender trains. */
static int take_news(struct hy_coordinator *c, int from, const struct hy_message *m,
                     struct hy_err *e)
{
    if (!strcmp(m->verb, "began"))
        return hy_ledger_begin(c->ledger, m->run, m->payload, from, e);
    if (!strcmp(m->verb, "rows"))
        return take_rows(c, m, e);
    if (!strcmp(m->verb, "end"))
        return take_end(c, m, e);
    if (!strcmp(m->verb, "fetch"))
        return send_part(c, from, m, e);
    if (!strcmp(m->verb, "give"))
        return take_part(c, from, m, e);
    return HY_OK;
}

int hy_coordinator_message(struct hy_coordinator *c, int from, const struct hy_message *m,
                           struct hy_err *e)
{
    hy_ranks_hear(c->ranks, from);
    if (!strcmp(m->verb, "ready"))
        hy_ranks_ready(c->ranks, from);
    else if (!strcmp(m->verb, "stopping"))
        hy_coordinator_stop(c);
    else if (hy_ranks_is_lost(c->ranks, from))
        return hy_message_send(c->comm, from, "abandon", -1, NULL, 0, e);
    else if (m->run >= 0 && m->run < c->run_count && c->posts[m->run].rank == from &&
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
        if (!hy_ranks_is_lost(c->ranks, rank))
            told &= !hy_message_send(c->comm, rank, verb, -1, payload, strlen(payload), NULL);
    return told;
}

void hy_coordinator_stop(struct hy_coordinator *c)
{
    if (hy_ledger_is_closed(c->ledger))
        return;
    hy_ledger_close(c->ledger);
    tell_all(c, "stop", "");
}

static void send_home(struct hy_coordinator *c)
{
    hy_ledger_clean_up(c->ledger);
    c->left = tell_all(c, "leave", c->broken ? "broken" : ""); /* else again in the next step */
}

int hy_coordinator_step(struct hy_coordinator *c, struct hy_err *e)
{
    const double now = hy_now();
    int rc = HY_OK;
    for (int rank; !rc && (rank = hy_ranks_find_lost(c->ranks)) >= 0;)
        rc = lose(c, rank, e);
    if (now - c->beat > beat_seconds) {
        c->beat = now;
        tell_all(c, "alive", "");
        hy_store_beat(c->store);
    }
    if (!rc)
        rc = give_work(c, e);
    if (!rc)
        rc = hy_ledger_commit(c->ledger, e);
    if (now - c->shown > 0.5) {
        const struct hy_progress p = hy_ledger_progress(c->ledger);
        c->shown = now;
        hy_progress_show(&p);
    }
    if (hy_ledger_is_settled(c->ledger) && !c->left) {
        if (!rc)
            rc = hy_ledger_note_held(c->ledger, e);
        send_home(c);
    }
    return rc;
}

int hy_coordinator_result(const struct hy_coordinator *c, struct hy_err *e)
{
    return hy_ledger_result(c->ledger, e);
}
