/* graph.c - building: tensors, views, parameters and the list of ops. */
#include "core/graph/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Graph memory is a list of blocks that is only ever freed whole. */
struct hy_chunk {
    struct hy_chunk *next;
    size_t used, room;
    _Alignas(16) unsigned char bytes[];
};

enum { CHUNK = 64 * 1024 };

struct hy_graph *hy_graph_new(const struct hy_shape *shape, struct hy_slab *params,
                              struct hy_slab *grads, struct hy_slab *cache)
{
    struct hy_graph *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->shape = *shape;
    g->params = params;
    g->grads = grads;
    g->cache = cache;
    return g;
}

void hy_graph_free(struct hy_graph *g)
{
    if (!g)
        return;
    if (g->device)
        hy_cuda_close_run(g);
    else
        free(g->arena);
    for (struct hy_chunk *c = g->memory, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(g->ops);
    free(g->tensors);
    free(g);
}

void *hy_graph_fail(struct hy_graph *g, const char *format, ...)
{
    if (!g->err.code) {
        char text[sizeof g->err.text];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        hy_fail(&g->err, HY_E_USAGE, "%s", text);
    }
    return NULL;
}

static void *fail_memory(struct hy_graph *g)
{
    if (!g->err.code)
        hy_fail_memory(&g->err);
    return NULL;
}

void *hy_graph_allocate(struct hy_graph *g, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    struct hy_chunk *c = g->memory;
    if (!c || c->used + size > c->room) {
        const size_t room = size > CHUNK ? size : CHUNK;
        c = calloc(1, sizeof *c + room);
        if (!c)
            return fail_memory(g);
        c->room = room;
        c->next = g->memory;
        g->memory = c;
    }
    void *bytes = c->bytes + c->used;
    c->used += size;
    return bytes;
}

/* Makes room for one more pointer in a growing array. */
static int grow(struct hy_graph *g, void *array, int count, int *room)
{
    if (count < *room)
        return 1;
    const int more = *room ? *room * 2 : 64;
    void **old = *(void ***)array;
    void **bigger = realloc(old, (size_t)more * sizeof *bigger);
    if (!bigger) {
        fail_memory(g);
        return 0;
    }
    *(void ***)array = bigger;
    *room = more;
    return 1;
}

struct hy_tensor *hy_graph_tensor_of(struct hy_graph *g, enum hy_dtype dtype, int64_t rows,
                                     int64_t cols)
{
    if (g->err.code)
        return NULL;
    if (rows < 1 || cols < 1)
        return hy_graph_fail(g, "a tensor of %lld by %lld elements", (long long)rows,
                             (long long)cols);
    struct hy_tensor *t = hy_graph_allocate(g, sizeof *t);
    if (!t || !grow(g, &g->tensors, g->tensor_count, &g->tensor_room))
        return NULL;
    *t = (struct hy_tensor){
        .name = "",
        .dtype = dtype,
        .rows = rows,
        .cols = cols,
        .ld = cols,
        .graph = g,
        .first_op = -1,
        .last_op = -1,
        .place = -1,
    };
    g->tensors[g->tensor_count++] = t;
    return t;
}

struct hy_tensor *hy_graph_tensor(struct hy_graph *g, int64_t rows, int64_t cols)
{
    return hy_graph_tensor_of(g, HY_REAL, rows, cols);
}

static const char *keep_name(struct hy_graph *g, const char *name)
{
    char *copy = hy_graph_allocate(g, strlen(name) + 1);
    return copy ? strcpy(copy, name) : "";
}

struct hy_tensor *hy_graph_input(struct hy_graph *g, const char *name, enum hy_dtype dtype,
                                 int64_t rows, int64_t cols)
{
    struct hy_tensor *t = hy_graph_tensor_of(g, dtype, rows, cols);
    if (t) {
        t->name = keep_name(g, name);
        t->pinned = 1;
        t->input = 1;
    }
    return t;
}

struct hy_tensor *hy_graph_leaf(struct hy_graph *g, const char *name, int64_t rows, int64_t cols,
                                double lo, double hi)
{
    struct hy_tensor *t = hy_graph_input(g, name, HY_REAL, rows, cols);
    if (t) {
        t->differentiable = 1;
        t->lo = lo;
        t->hi = hi;
    }
    return t;
}

void hy_graph_keep(struct hy_tensor *t)
{
    if (t)
        (t->base ? t->base : t)->pinned = 1;
}

struct hy_tensor *hy_graph_view(struct hy_graph *g, struct hy_tensor *base, int64_t first,
                                int64_t cols)
{
    struct hy_tensor *t = hy_graph_tensor_of(g, base->dtype, base->rows, cols);
    if (!t)
        return NULL;
    t->base = base->base ? base->base : base;
    t->offset = base->offset * (base->base != NULL) + first;
    t->ld = base->ld;
    t->differentiable = base->differentiable;
    return t;
}

void hy_graph_split(struct hy_graph *g, struct hy_tensor *x, int count, const int64_t *widths,
                    struct hy_tensor **views)
{
    int64_t first = 0;
    if (x && (x->split || x->consumers))
        x = hy_graph_fail(g, "a tensor is split that other ops read");
    for (int i = 0; i < count; i++) {
        const int64_t width = widths ? widths[i] : x ? x->cols / count : 0;
        views[i] = x ? hy_graph_view(g, x, first, width) : NULL;
        first += width;
    }
    if (x)
        x->split = 1;
    if (x && first != x->cols)
        hy_graph_fail(g, "a split covers %lld of %lld columns", (long long)first,
                      (long long)x->cols);
}

struct hy_tensor *hy_graph_in_slab(struct hy_graph *g, struct hy_slab *slab, const char *name,
                                   int64_t offset, int64_t rows, int64_t cols)
{
    struct hy_tensor *t = hy_graph_tensor(g, rows, cols);
    if (!t)
        return NULL;
    t->name = keep_name(g, name);
    t->slab = slab;
    t->offset = offset;
    return t;
}

/* The tensor that already shows this part of the slab, so that its gradients add up in one place.
 */
static struct hy_tensor *find_in_slab(const struct hy_graph *g, const struct hy_slab *slab,
                                      int64_t offset, int64_t size)
{
    for (int i = 0; i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (t->slab == slab && t->offset == offset && t->rows * t->cols == size)
            return t;
    }
    return NULL;
}

/* Rows and columns of an entry's matrix. */
static int64_t entry_rows(const struct hy_entry *e)
{
    return e->rank > 1 ? e->dims[0] : 1;
}

/* *trained: one of the entries at least is. */
static struct hy_tensor *from_slab(struct hy_graph *g, struct hy_slab *slab, int count,
                                   const struct hy_entry *entries, int *trained)
{
    if (g->err.code)
        return NULL;
    int64_t first = 0, size = 0, rows = 0, cols = 0;
    *trained = 0;
    for (int i = 0; i < count; i++) {
        const int at = hy_slab_add(slab, &entries[i], &g->err);
        if (at < 0)
            return NULL;
        const struct hy_entry *e = &slab->entries[at];
        if (i == 0) {
            first = e->offset;
            cols = e->count / entry_rows(e);
        } else if (e->offset != first + size || e->count / entry_rows(e) != cols) {
            return hy_graph_fail(g, "parameter %s does not lie below %s", e->name, entries[0].name);
        }
        size += e->count;
        rows += entry_rows(e);
        *trained |= !e->frozen;
    }
    struct hy_tensor *t = find_in_slab(g, slab, first, size);
    return t ? t : hy_graph_in_slab(g, slab, entries[0].name, first, rows, cols);
}

struct hy_tensor *hy_graph_params(struct hy_graph *g, int count, const struct hy_entry *entries)
{
    int trained;
    struct hy_tensor *t = from_slab(g, g->params, count, entries, &trained);
    if (t)
        t->differentiable = g->grads && trained;
    return t;
}

struct hy_tensor *hy_graph_param(struct hy_graph *g, const struct hy_entry *entry)
{
    return hy_graph_params(g, 1, entry);
}

struct hy_tensor *hy_graph_state(struct hy_graph *g, const struct hy_entry *entry)
{
    if (!g->cache)
        return hy_graph_fail(g, "state %s in a graph without a cache", entry->name);
    int trained;
    return from_slab(g, g->cache, 1, entry, &trained);
}

struct hy_op *hy_graph_append(struct hy_graph *g, const struct hy_op_kind *kind, enum hy_pass pass)
{
    struct hy_op *op = hy_graph_allocate(g, sizeof *op);
    if (!op || !grow(g, &g->ops, g->op_count, &g->op_room))
        return NULL;
    op->kind = kind;
    op->pass = pass;
    op->graph = g;
    op->section = g->section;
    g->ops[g->op_count++] = op;
    return op;
}

/* Sees to the bf16 copies of the inputs that an op of this kind multiplies. */
static void narrow_operands(struct hy_graph *g, const struct hy_op_kind *kind, int inputs,
                            struct hy_tensor *const *in)
{
    if (hy_precision_of(g) != HY_PRECISION_BF16)
        return;
    for (int i = 0; i < inputs; i++)
        if (kind->operands >> i & 1 && in[i] && !in[i]->narrow)
            hy_graph_narrow(g, in[i]);
}

struct hy_op *hy_graph_op(struct hy_graph *g, const struct hy_op_kind *kind, int inputs,
                          struct hy_tensor *const *in, int outputs, struct hy_tensor *const *out,
                          const void *attr, size_t size)
{
    narrow_operands(g, kind, inputs, in);
    if (g->err.code)
        return NULL;
    struct hy_op *op = hy_graph_append(g, kind, HY_FORWARD);
    void *copy = size ? hy_graph_allocate(g, size) : NULL;
    if (!op || (size && !copy))
        return NULL;
    if (size)
        op->attr = memcpy(copy, attr, size);
    op->inputs = inputs;
    op->outputs = outputs;
    int differentiable = 0;
    for (int i = 0; i < inputs; i++) {
        op->in[i] = in[i];
        if (in[i]) {
            if (in[i]->split)
                return hy_graph_fail(g, "%s reads a tensor that is split", kind->name);
            in[i]->consumers++;
            differentiable |= in[i]->differentiable;
        }
    }
    for (int i = 0; i < outputs; i++) {
        op->out[i] = out[i];
        if (out[i] && kind->backward && out[i]->dtype == HY_REAL && !out[i]->slab)
            out[i]->differentiable |= differentiable;
    }
    g->forward_ops = g->op_count;
    return op;
}
