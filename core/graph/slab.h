/* slab.h - a named family of tensors in one allocation: parameters, gradients, moments, caches.
 *
 * Entries are added while open, laid out without gaps in the order of addition, then allocated
 * once; adding an existing name with the same dims finds it, so that several graphs share one slab.
 * A replica's entries are contiguous: element i of replica r lies at data[r * count + i]. */
#ifndef HY_GRAPH_SLAB_H
#define HY_GRAPH_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/rng.h"
#include "core/graph/device.h"
#include "core/graph/real.h"

enum { HY_MAX_DIMS = 4, HY_NAME_SIZE = 96 };

/* How a parameter starts. normal: a = mean, b = standard deviation; constant: a. draw: any other
 * law, of parameters a and b. identity: each matrix of the last two dims has ones on its diagonal,
 * else zeros. */
struct hy_init {
    enum { HY_INIT_CONSTANT, HY_INIT_NORMAL, HY_INIT_DRAW, HY_INIT_IDENTITY } law;
    double a, b;
    double (*draw)(struct hy_rng *rng, double a, double b);
};

struct hy_entry {
    char name[HY_NAME_SIZE];
    int rank;
    int64_t dims[HY_MAX_DIMS];
    int64_t offset, count; /* elements within a replica */
    struct hy_init init;
    int decays; /* weight decay applies (matrices; not norms, biases, decay rates) */
    int frozen; /* not trained: no gradient is wanted; the slab's filter decides */
};

struct hy_slab {
    int replicas;
    struct hy_entry *entries;
    int entry_count, entry_room;
    int64_t count; /* elements per replica */
    /* Which parameters are trained, asked as each is added; NULL: all. Set while open. */
    int (*trains)(const void *context, const struct hy_entry *entry);
    const void *context;      /* borrowed */
    struct hy_device *device; /* borrowed; where data lies. NULL: the CPU. Set while open. */
    hy_real *data;            /* NULL while open; the host may use it only where device is NULL */
};

void hy_slab_init(struct hy_slab *s, int replicas);
void hy_slab_release(struct hy_slab *s);

/* Finds or, while open, adds an entry; returns its index, or -1 with *e set (other dims, closed).
 */
int hy_slab_add(struct hy_slab *s, const struct hy_entry *entry, struct hy_err *e);
int hy_slab_find(const struct hy_slab *s, const char *name); /* -1 where absent */

/* Closes and allocates, zeroed. */
int hy_slab_allocate(struct hy_slab *s, struct hy_err *e);
/* A zeroed slab of the same layout, in the same place (gradients, moments). */
int hy_slab_like(struct hy_slab *s, const struct hy_slab *model, struct hy_err *e);
/* Draws a replica's initial values: a function of (seed, entry name, element) alone. */
int hy_slab_draw(struct hy_slab *s, int replica, uint64_t seed, struct hy_err *e);

/* Copies the `count` elements of a replica to and from the host's memory, wherever the slab lies.
 */
int hy_slab_read(const struct hy_slab *s, int replica, hy_real *out, struct hy_err *e);
int hy_slab_write(struct hy_slab *s, int replica, const hy_real *data, struct hy_err *e);

#endif
