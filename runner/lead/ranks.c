#include "runner/lead/ranks.h"

#include <stdlib.h>

#include "core/base/clock.h"

struct member {
    double heard; /* on the clock of all ranks */
    int run;
    int idle, lost;
};

struct hy_ranks {
    int size;
    double patience;
    struct hy_awake clock;
    struct member members[];
};

int hy_ranks_new(int size, double patience, struct hy_ranks **out, struct hy_err *e)
{
    struct hy_ranks *c = calloc(1, sizeof *c + (size_t)size * sizeof *c->members);
    if (!c)
        return hy_fail_memory(e);
    c->size = size;
    c->patience = patience;
    hy_awake_now(&c->clock);
    for (int rank = 0; rank < size; rank++)
        c->members[rank].run = -1;
    *out = c;
    return HY_OK;
}

void hy_ranks_free(struct hy_ranks *c)
{
    free(c);
}

void hy_ranks_hear(struct hy_ranks *c, int rank)
{
    c->members[rank].heard = c->clock.seconds;
}

int hy_ranks_find_lost(struct hy_ranks *c)
{
    const double now = hy_awake_now(&c->clock);
    for (int rank = 1; rank < c->size; rank++) {
        struct member *m = &c->members[rank];
        if (m->lost || now - m->heard <= c->patience)
            continue;
        m->lost = 1;
        m->idle = 0;
        return rank;
    }
    return -1;
}

int hy_ranks_is_lost(const struct hy_ranks *c, int rank)
{
    return c->members[rank].lost;
}

void hy_ranks_ready(struct hy_ranks *c, int rank)
{
    struct member *m = &c->members[rank];
    m->lost = 0;
    m->idle = m->run < 0;
}

int hy_ranks_is_idle(const struct hy_ranks *c, int rank)
{
    return c->members[rank].idle;
}

void hy_ranks_set_run(struct hy_ranks *c, int rank, int run)
{
    c->members[rank].run = run;
    c->members[rank].idle = 0;
}

int hy_ranks_run(const struct hy_ranks *c, int rank)
{
    return c->members[rank].run;
}
