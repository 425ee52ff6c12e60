#include "runner/comm/comm_kind.h"

#include <stdlib.h>

/* A launcher is at work: it tells its processes so in their environment. */
static int is_launched(void)
{
    static const char *const signs[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK",
                                        "PMIX_RANK"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (getenv(signs[i]))
            return 1;
    return 0;
}

int hy_comm_open(struct hy_comm **out, int seconds, struct hy_err *e)
{
    (void)seconds; /* in a build without MPI */
    if (!is_launched())
        return hy_comm_self_open(out, e);
#ifdef HY_WITHOUT_MPI
    return hy_fail(e, HY_E_ENV, "this hylas was built without MPI; run it without mpirun");
#else
    return hy_comm_mpi_open(out, seconds, e);
#endif
}

void hy_comm_close(struct hy_comm *c)
{
    if (c)
        c->kind->close(c);
}

void hy_comm_break(struct hy_comm *c)
{
    c->broken = 1;
}

int hy_comm_rank(const struct hy_comm *c)
{
    return c->rank;
}

int hy_comm_size(const struct hy_comm *c)
{
    return c->size;
}

int hy_comm_local_rank(const struct hy_comm *c)
{
    return c->local_rank;
}

uint64_t hy_comm_traffic(const struct hy_comm *c)
{
    return c->traffic;
}

int hy_comm_send(struct hy_comm *c, int to, const void *bytes, size_t size, struct hy_err *e)
{
    c->traffic++;
    return c->kind->send(c, to, bytes, size, e);
}

int hy_comm_receive(struct hy_comm *c, struct hy_buf *out, int *from)
{
    const int there = c->kind->receive(c, out, from);
    c->traffic += (uint64_t)there;
    return there;
}
