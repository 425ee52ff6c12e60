/* Messages over MPI: sends and receives that own their bytes, and looks that never wait. A rank may
 * die at any moment, also in the middle of a message, and MPI does not tell. */
#include <limits.h>
#include <mpi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runner/comm/comm_kind.h"

enum { TAG = 1 };

/* A message on its way, out or in. */
struct transfer {
    struct transfer *next;
    MPI_Request request;
    int other; /* rank at the other end */
    int size;
    char bytes[];
};

struct mpi {
    struct hy_comm comm;
    struct transfer *sends;
    struct transfer *receives; /* in the order in which they came */
    int found;                 /* a message has arrived and waits for memory to be received into */
    MPI_Message message;
    MPI_Status status;
};

static struct transfer *new_transfer(int other, int size)
{
    struct transfer *t = malloc(sizeof *t + (size_t)size);
    if (t)
        *t = (struct transfer){.other = other, .size = size};
    return t;
}

/* An error ends a transfer too: the other rank is gone, and its message with it. */
static int is_complete(struct transfer *t, int *failed)
{
    int done = 0;
    *failed = MPI_Test(&t->request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS;
    return done || *failed;
}

/* Frees the sends that are complete. */
static void reap(struct mpi *m)
{
    for (struct transfer **at = &m->sends; *at;) {
        struct transfer *t = *at;
        int failed;
        if (is_complete(t, &failed)) {
            *at = t->next;
            free(t);
        } else {
            at = &t->next;
        }
    }
}

static int mpi_send(struct hy_comm *c, int to, const void *bytes, size_t size, struct hy_err *e)
{
    struct mpi *m = (struct mpi *)c;
    if (size > INT_MAX)
        return hy_fail(e, HY_E_ENV, "a message of %zu bytes is too long for MPI", size);
    struct transfer *t = new_transfer(to, (int)size);
    if (!t)
        return hy_fail_memory(e);
    memcpy(t->bytes, bytes, size);
    if (MPI_Isend(t->bytes, t->size, MPI_BYTE, to, TAG, MPI_COMM_WORLD, &t->request)) {
        free(t); /* as a message to any rank that is gone */
        return HY_OK;
    }
    t->next = m->sends;
    m->sends = t;
    return HY_OK;
}

static int find_message(struct mpi *m)
{
    /* The first look only lets the library make progress, the second then sees the message. */
    for (int look = 0; look < 2 && !m->found; look++)
        if (MPI_Improbe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &m->found, &m->message, &m->status))
            m->found = 0;
    return m->found;
}

/* Begins to receive what has arrived. A long message is still with its sender at that moment, so
 * that waiting for it could mean waiting for ever. */
static void begin_receives(struct mpi *m)
{
    struct transfer **last = &m->receives;
    while (*last)
        last = &(*last)->next;
    while (find_message(m)) {
        int size = 0;
        MPI_Get_count(&m->status, MPI_BYTE, &size);
        struct transfer *t = new_transfer(m->status.MPI_SOURCE, size);
        if (!t)
            return;
        m->found = 0;
        if (MPI_Imrecv(t->bytes, size, MPI_BYTE, &m->message, &t->request)) {
            free(t);
            continue;
        }
        *last = t;
        last = &t->next;
    }
}

/* The first message that is complete and behind no other of its sender; taken out of the list. */
static struct transfer *take_complete(struct mpi *m)
{
    for (struct transfer **at = &m->receives; *at;) {
        struct transfer *t = *at, *before = m->receives;
        int failed = 0;
        while (before->other != t->other)
            before = before->next;
        if (before == t && is_complete(t, &failed)) {
            *at = t->next;
            if (!failed)
                return t;
            free(t);
        } else {
            at = &t->next;
        }
    }
    return NULL;
}

static int mpi_receive(struct hy_comm *c, struct hy_buf *out, int *from)
{
    struct mpi *m = (struct mpi *)c;
    reap(m);
    begin_receives(m);
    struct transfer *t = take_complete(m);
    if (!t)
        return 0;
    out->size = 0;
    hy_buf_add(out, t->bytes, (size_t)t->size);
    *from = t->other;
    free(t);
    return 1;
}

static void finish_sends(struct mpi *m)
{
    for (int tick = 0; tick < 1000 && m->sends; tick++) {
        reap(m);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* Gives up what is still under way, with ranks that no longer listen or speak. */
static void cancel(struct transfer *list)
{
    while (list) {
        struct transfer *t = list;
        list = t->next;
        MPI_Cancel(&t->request);
        MPI_Request_free(&t->request);
    }
}

static void mpi_close(struct hy_comm *c)
{
    struct mpi *m = (struct mpi *)c;
    finish_sends(m);
    if (c->broken) {
        /* MPI_Finalize would wait for the dead, and MPI may still look at their messages. */
        static struct mpi *volatile left;
        left = m;
        (void)left;
        return;
    }
    cancel(m->sends);
    cancel(m->receives);
    MPI_Finalize();
    free(m);
}

static const struct hy_comm_kind kind = {mpi_send, mpi_receive, mpi_close};

static void leave(int number)
{
    static const char words[] = "hylas: not all ranks have started in time; one may be dead\n";
    (void)number;
    if (write(STDERR_FILENO, words, sizeof words - 1) < 0)
        _exit(1);
    _exit(HY_E_ENV);
}

int hy_comm_mpi_open(struct hy_comm **out, int seconds, struct hy_err *e)
{
    int provided;
    struct mpi *m = calloc(1, sizeof *m);
    if (!m)
        return hy_fail_memory(e);
    signal(SIGALRM, leave);
    alarm((unsigned)seconds);
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SINGLE, &provided)) {
        free(m);
        return hy_fail(e, HY_E_ENV, "MPI cannot start");
    }
    m->comm.kind = &kind;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &m->comm.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &m->comm.size);
    MPI_Comm machine;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, m->comm.rank, MPI_INFO_NULL,
                        &machine);
    MPI_Comm_rank(machine, &m->comm.local_rank);
    MPI_Comm_free(&machine);
    alarm(0);
    *out = &m->comm;
    return HY_OK;
}
