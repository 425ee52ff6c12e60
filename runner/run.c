#include "runner/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "runner/lead/coordinator.h"
#include "runner/rank/serve.h"
#include "runner/rank/stop.h"
#include "runner/rank/worker.h"

/* How long a rank sleeps between looks: messages come in bursts, so after one it looks again at
 * once, then ever less often. */
enum { SHORTEST_US = 50, LONGEST_US = 5000 };

/* All ranks together may take that many times the silence that is granted to one. */
enum { START_FACTOR = 10 };

/* What rank 0 holds beside its worker. */
struct head {
    struct hy_sweep sweep;
    struct hy_plan plan;
    struct hy_store *store;
    char *database;
    struct hy_coordinator *coordinator;
    struct hy_err failure; /* of the store, code HY_OK while there is none */
};

static void release_head(struct head *h)
{
    hy_coordinator_free(h->coordinator);
    hy_store_close(h->store);
    free(h->database);
    hy_plan_release(&h->plan);
    hy_sweep_release(&h->sweep);
}

char *hy_run_database(const struct hy_run_request *request, const char *name)
{
    char *path;
    const int given = request->database != NULL;
    return asprintf(&path, "%s%s", given ? request->database : name, given ? "" : ".db") < 0 ? NULL
                                                                                             : path;
}

static int open_head(const struct hy_run_request *request, struct hy_comm *comm, struct head *h,
                     struct hy_err *e)
{
    int64_t sweep;
    int rc = hy_sweep_load(request->sweep, request->sets, request->set_count, &h->sweep, e);
    if (rc)
        return rc;
    h->database = hy_run_database(request, h->sweep.name);
    if (!h->database)
        return hy_fail_memory(e);
    rc = hy_plan_make(&h->sweep, &h->plan, e);
    if (!rc)
        rc = hy_plan_estimate(&h->plan, e);
    if (!rc)
        rc = hy_store_open(h->database, HY_STORE_WRITE, &h->store, e);
    if (!rc)
        rc = hy_plan_time(&h->plan, h->store, e);
    if (!rc)
        rc =
            hy_store_add_sweep(h->store, h->sweep.name, h->sweep.text, request->version, &sweep, e);
    if (!rc)
        rc = hy_coordinator_new(comm,
                                &(struct hy_assignment){.store = h->store,
                                                        .sweep = sweep,
                                                        .plan = &h->plan,
                                                        .database = h->database,
                                                        .version = request->version},
                                request->patience, &h->coordinator, e);
    if (!rc)
        hy_verbose("sweep %s: %d runs on %d ranks into %s", h->sweep.name, h->plan.count,
                   hy_comm_size(comm), h->database);
    return rc;
}

/* The sweep ends with the first failure of the store; its runs are stopped in order. */
static void note_failure(struct head *h, const struct hy_err *why)
{
    if (!h->failure.code)
        h->failure = *why;
    hy_coordinator_stop(h->coordinator);
}

/* A rank may be both ends of a message: each takes what is meant for it. */
static int deliver(struct hy_comm *comm, struct hy_worker *worker, struct head *h, struct hy_err *e)
{
    struct hy_buf bytes = {0};
    int from, rc = HY_OK;
    while (!rc && hy_comm_receive(comm, &bytes, &from)) {
        struct hy_message m;
        struct hy_err why;
        rc = hy_message_parse(&bytes, &m, e);
        if (!rc)
            rc = hy_worker_message(worker, &m, e);
        if (!rc && h && hy_coordinator_message(h->coordinator, from, &m, &why))
            note_failure(h, &why);
    }
    hy_buf_release(&bytes);
    return rc;
}

/* Processor time of this process, those of its runs apart, and its largest memory. */
static double processor_seconds(double *mebibytes)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    *mebibytes = (double)u.ru_maxrss / 1024;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static int loop(struct hy_comm *comm, struct hy_worker *worker, struct head *h, struct hy_err *e)
{
    int rc = HY_OK, pause = LONGEST_US;
    while (!rc && !hy_worker_left(worker)) {
        struct hy_err why;
        const uint64_t before = hy_comm_traffic(comm);
        rc = deliver(comm, worker, h, e);
        if (!rc)
            rc = hy_worker_step(worker, e);
        if (!rc && h && hy_coordinator_step(h->coordinator, &why))
            note_failure(h, &why);
        if (hy_comm_traffic(comm) != before) {
            pause = SHORTEST_US;
            continue;
        }
        hy_worker_wait(worker, pause);
        pause = 2 * pause < LONGEST_US ? 2 * pause : LONGEST_US;
    }
    return rc;
}

/* Before a sweep began: ranks that wait for work are told that there is none. */
static void dismiss(struct hy_comm *comm)
{
    for (int rank = 1; rank < hy_comm_size(comm); rank++)
        hy_message_send(comm, rank, "leave", -1, NULL, 0, NULL);
}

int hy_run_sweep(const struct hy_run_request *request, struct hy_err *e)
{
    struct hy_comm *comm = NULL;
    struct hy_worker *worker = NULL;
    struct head head = {0};
    int rc = hy_comm_open(&comm, (int)(START_FACTOR * request->patience), e);
    if (rc)
        return rc;
    const int leads = hy_comm_rank(comm) == 0;
    char number[16];
    snprintf(number, sizeof number, "%d", hy_comm_local_rank(comm));
    setenv(HY_LOCAL_RANK, number, 1); /* for the children */
    hy_stop_install(0);
    rc = hy_worker_new(comm, request->patience, &worker, e);
    if (!rc && leads) {
        rc = open_head(request, comm, &head, e);
        if (rc)
            dismiss(comm);
    }
    double memory;
    const double began = hy_now(), used = processor_seconds(&memory);
    if (!rc)
        rc = loop(comm, worker, leads ? &head : NULL, e);
    if (leads) {
        const double spent = hy_now() - began, took = processor_seconds(&memory) - used;
        hy_verbose("rank 0 took %.2f s of a processor in %.2f s (%.1f %%), and %.1f MiB at most",
                   took, spent, 100 * took / spent, memory);
    }
    if (!rc && leads && head.failure.code) {
        *e = head.failure;
        rc = e->code;
    } else if (!rc && leads) {
        rc = hy_coordinator_result(head.coordinator, e);
    }
    hy_worker_free(worker);
    release_head(&head);
    hy_comm_close(comm);
    return rc;
}
