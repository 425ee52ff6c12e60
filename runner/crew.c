#include "runner/crew.h"

#include <stdlib.h>

#include "core/base/clock.h"

struct member {
    double heard; /* on the crew's clock */
    int run;
    int idle, lost;
};

struct hy_crew {
    int size;
    double patience;
    struct hy_awake clock;
    struct member members[];
};

int hy_crew_new(int size, double patience, struct hy_crew **out, struct hy_err *e)
{
    struct hy_crew *c = calloc(1, sizeof *c + (size_t)size * sizeof *c->members);
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

void hy_crew_free(struct hy_crew *c)
{
    free(c);
}

void hy_crew_hear(struct hy_crew *c, int rank)
{
    c->members[rank].heard = c->clock.seconds;
}

int hy_crew_find_lost(struct hy_crew *c)
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

int hy_crew_is_lost(const struct hy_crew *c, int rank)
{
    return c->members[rank].lost;
}

void hy_crew_ready(struct hy_crew *c, int rank)
{
    struct member *m = &c->members[rank];
    m->lost = 0;
    m->idle = m->run < 0;
}

int hy_crew_is_idle(const struct hy_crew *c, int rank)
{
    return c->members[rank].idle;
}

void hy_crew_set_run(struct hy_crew *c, int rank, int run)
{
    c->members[rank].run = run;
    c->members[rank].idle = 0;
}

int hy_crew_run(const struct hy_crew *c, int rank)
{
    return c->members[rank].run;
}
