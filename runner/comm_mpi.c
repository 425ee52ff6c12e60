/* Messages over MPI: sends that own their bytes, and looks that never wait. */
#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runner/comm_kind.h"

enum { TAG = 1 };

/* A send under way. */
struct sending {
    struct sending *next;
    MPI_Request request;
    char bytes[];
};

struct mpi {
    struct hy_comm comm;
    struct sending *sends;
};

/* Frees the sends that are complete. */
static void reap(struct mpi *m)
{
    for (struct sending **at = &m->sends; *at;) {
        struct sending *s = *at;
        int done = 0;
        MPI_Test(&s->request, &done, MPI_STATUS_IGNORE);
        if (done) {
            *at = s->next;
            free(s);
        } else {
            at = &s->next;
        }
    }
}

static int mpi_send(struct hy_comm *c, int to, const void *bytes, size_t size, struct hy_err *e)
{
    struct mpi *m = (struct mpi *)c;
    if (size > INT_MAX)
        return hy_fail(e, HY_E_ENV, "a message of %zu bytes is too long for MPI", size);
    struct sending *s = malloc(sizeof *s + size);
    if (!s)
        return hy_fail_memory(e);
    memcpy(s->bytes, bytes, size);
    if (MPI_Isend(s->bytes, (int)size, MPI_BYTE, to, TAG, MPI_COMM_WORLD, &s->request)) {
        free(s);
        return hy_fail(e, HY_E_ENV, "MPI cannot send to rank %d", to);
    }
    s->next = m->sends;
    m->sends = s;
    return HY_OK;
}

static int mpi_receive(struct hy_comm *c, struct hy_buf *out, int *from)
{
    struct mpi *m = (struct mpi *)c;
    MPI_Status status;
    int there = 0, size = 0;
    reap(m);
    /* The first look only lets the library make progress, the second then sees the message. */
    for (int look = 0; look < 2 && !there; look++)
        MPI_Iprobe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &there, &status);
    if (!there)
        return 0;
    MPI_Get_count(&status, MPI_BYTE, &size);
    char *bytes = malloc((size_t)size + 1);
    if (!bytes)
        return 0;
    /* The message is there, so that this receive ends at once. */
    MPI_Recv(bytes, size, MPI_BYTE, status.MPI_SOURCE, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    out->size = 0;
    hy_buf_add(out, bytes, (size_t)size);
    free(bytes);
    *from = status.MPI_SOURCE;
    return 1;
}

static void mpi_close(struct hy_comm *c)
{
    struct mpi *m = (struct mpi *)c;
    for (int tick = 0; tick < 1000 && m->sends; tick++) {
        reap(m);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    /* What is still under way goes to a rank that no longer listens. */
    while (m->sends) {
        struct sending *s = m->sends;
        m->sends = s->next;
        MPI_Cancel(&s->request);
        MPI_Request_free(&s->request);
    }
    MPI_Finalize();
    free(m);
}

static const struct hy_comm_kind kind = {mpi_send, mpi_receive, mpi_close};

int hy_comm_mpi_open(struct hy_comm **out, struct hy_err *e)
{
    int provided;
    struct mpi *m = calloc(1, sizeof *m);
    if (!m)
        return hy_fail_memory(e);
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SINGLE, &provided)) {
        free(m);
        return hy_fail(e, HY_E_ENV, "MPI cannot start");
    }
    m->comm.kind = &kind;
    MPI_Comm_rank(MPI_COMM_WORLD, &m->comm.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &m->comm.size);
    MPI_Comm machine;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, m->comm.rank, MPI_INFO_NULL,
                        &machine);
    MPI_Comm_rank(machine, &m->comm.local_rank);
    MPI_Comm_free(&machine);
    *out = &m->comm;
    return HY_OK;
}
