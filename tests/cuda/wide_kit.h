/* wide_kit.h - what the files of wide examples share: inputs, and tables of examples. */
#ifndef HY_TESTS_WIDE_KIT_H
#define HY_TESTS_WIDE_KIT_H

#include <string.h>

#include "core/ops/gate.h"
#include "tests/cuda/wide.h"

static inline int64_t rows_of(const struct hy_graph *g)
{
    return (int64_t)g->shape.batch * g->shape.tokens;
}

static inline struct hy_tensor *leaf(struct hy_graph *g, const char *name, int64_t cols)
{
    return hy_graph_leaf(g, name, rows_of(g), cols, -2, 2);
}

/* Columns in the middle of a wider matrix. */
static inline struct hy_tensor *view(struct hy_graph *g, const char *name, int64_t cols)
{
    struct hy_tensor *views[3];
    hy_graph_split(g, leaf(g, name, cols + 12), 3, (int64_t[]){4, cols, 8}, views);
    return views[1];
}

static inline struct hy_tensor *weight(struct hy_graph *g, const char *name, int64_t rows,
                                       int64_t cols)
{
    return hy_graph_leaf(g, name, rows, cols, -1, 1);
}

/* Another op reads the input, so the last one's gradient is added to it; the last one's other
 * outputs get none. */
static inline void read_again(struct hy_graph *g)
{
    const struct hy_op *op = g->ops[g->forward_ops - 1];
    hy_gated(g, op->out[0], op->in[0], HY_GATE_SIGMOID);
}

struct example {
    const char *name;
    void (*build)(struct hy_graph *g, int64_t size);
    int64_t size;
    int again;
};

/* The index-th of the kind. */
static inline const struct example *find(const struct example *all, size_t count,
                                         const struct hy_op_kind *kind, int index)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(all[i].name, kind->name) && index-- == 0)
            return &all[i];
    return NULL;
}

static inline int build(struct hy_graph *g, const struct example *it)
{
    if (it)
        it->build(g, it->size);
    if (it && it->again)
        read_again(g);
    return it != NULL;
}

/* Linear attention over features (wide_features.c): its examples, found as those of wide.h. */
int wide_features(struct hy_graph *g, const struct hy_op_kind *kind, int index);
int cached_features(struct hy_graph *g, const struct hy_op_kind *kind, int index);

#endif
