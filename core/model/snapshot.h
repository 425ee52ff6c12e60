/* snapshot.h - the weights of one replica in the host's memory, by name: on their way from one
 * slab to another, or kept to be returned to. */
#ifndef HY_MODEL_SNAPSHOT_H
#define HY_MODEL_SNAPSHOT_H

#include "core/graph/slab.h"

struct hy_snapshot {
    struct hy_slab layout; /* entries alone */
    hy_real *data;         /* [layout.count]; NULL: it holds nothing */
};

void hy_snapshot_release(struct hy_snapshot *s);

/* Takes all of a replica's own weights, in place of what it held: no teacher's, no low-rank
 * additions. */
int hy_snapshot_take(struct hy_snapshot *s, const struct hy_slab *from, int replica,
                     struct hy_err *e);

/* In place of what it held. */
int hy_snapshot_copy(struct hy_snapshot *s, const struct hy_snapshot *from, struct hy_err *e);

/* Which of a snapshot's weights a parameter is: its name there in out; 0: none. */
typedef int hy_snapshot_name(void *context, const char *parameter, char out[HY_NAME_SIZE]);
/* Puts the weights where `to` has their names and shapes; the rest stays. name: NULL: names are the
 * same. */
int hy_snapshot_give(const struct hy_snapshot *s, hy_snapshot_name *name, void *context,
                     struct hy_slab *to, int replica, struct hy_err *e);

#endif
