/* supply.h - the weights that runs start from, on a host that does not see rank 0's files: they are
 * fetched before the child begins, and what it leaves for others is given to rank 0 before its end
 * is told. Where the files are shared there is nothing to do. Local, but for the messages to rank
 * 0. */
#ifndef HY_RUNNER_RANK_SUPPLY_H
#define HY_RUNNER_RANK_SUPPLY_H

#include "core/base/value.h"
#include "runner/comm/message.h"

struct hy_supply {
    struct hy_comm *comm;
    struct hy_value *orders; /* owned, a list; names files that this host has or will have */
    char folder[256];        /* of files of its own; "": it has none */
    int fetching, giving;    /* the order whose file is on its way; -1: none */
    int64_t size;            /* of the file that is given */
};

/* orders: taken. Release also after a failure. */
int hy_supply_init(struct hy_supply *s, struct hy_comm *comm, struct hy_value *orders,
                   struct hy_err *e);
void hy_supply_release(struct hy_supply *s); /* removes its files */

/* Asks for what is missing, one file after the other; nothing is once fetching is -1. Again after
 * every "chunk". */
int hy_supply_fetch(struct hy_supply *s, struct hy_err *e);
int hy_supply_chunk(struct hy_supply *s, const struct hy_message *m, struct hy_err *e);

/* Whether others want the weights of the i-th order, and rank 0 has them not. */
int hy_supply_owes(const struct hy_supply *s, int i);
/* Begins to give them; rank 0 has them once giving is -1. Again after every "more". */
int hy_supply_give(struct hy_supply *s, int i, struct hy_err *e);
int hy_supply_more(struct hy_supply *s, const struct hy_message *m, struct hy_err *e);

#endif
