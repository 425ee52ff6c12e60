/* plan.c - the memory plan (which activation lies where in the arena) and the executor. */
#include "core/graph/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/clock.h"

enum { ALIGN = 64, HUGE_PAGE = 2 << 20 };

static size_t bytes_of(const struct hy_tensor *t)
{
    return ((size_t)(t->rows * t->cols) * hy_element_bytes(t) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static void touch(struct hy_tensor *t, int op)
{
    if (!t)
        return;
    if (t->base)
        t = t->base;
    if (t->first_op < 0)
        t->first_op = op;
    t->last_op = op;
}

/* Notes between which ops each tensor's content matters. */
static void find_lives(struct hy_graph *g)
{
    for (int i = 0; i < g->op_count; i++) {
        struct hy_op *op = g->ops[i];
        if (op->replaced)
            continue;
        const int backward = op->pass == HY_BACKWARD;
        for (int k = 0; k < op->inputs; k++)
            if (!backward || op->kind->backward_in >> k & 1)
                touch(op->in[k], i);
        for (int k = 0; k < op->outputs; k++)
            if (!backward || op->kind->backward_is_forward || op->kind->backward_out >> k & 1)
                touch(op->out[k], i);
        for (int k = 0; k < HY_MAX_OUTPUTS; k++)
            touch(op->dout[k], i);
        for (int k = 0; k < HY_MAX_INPUTS; k++)
            touch(op->din[k], i);
        touch(op->scratch, i);
    }
}

static int larger_first(const void *a, const void *b)
{
    const struct hy_tensor *x = *(struct hy_tensor *const *)a, *y = *(struct hy_tensor *const *)b;
    const size_t m = bytes_of(x), n = bytes_of(y);
    if (m != n)
        return m < n ? 1 : -1;
    return x->first_op - y->first_op;
}

static int by_place(const void *a, const void *b)
{
    const struct hy_tensor *x = *(struct hy_tensor *const *)a, *y = *(struct hy_tensor *const *)b;
    return (x->place > y->place) - (x->place < y->place);
}

/* Places activations, largest first, each at the lowest gap that is free while it lives. */
static int64_t place_all(struct hy_tensor **list, int count, struct hy_tensor **placed,
                         struct hy_tensor **living)
{
    int64_t top = 0;
    int done = 0;
    qsort(list, (size_t)count, sizeof *list, larger_first);
    for (int i = 0; i < count; i++) {
        struct hy_tensor *t = list[i];
        int overlaps = 0;
        for (int k = 0; k < done; k++)
            if (placed[k]->first_op <= t->last_op && placed[k]->last_op >= t->first_op)
                living[overlaps++] = placed[k];
        qsort(living, (size_t)overlaps, sizeof *living, by_place);
        int64_t at = 0;
        const int64_t size = (int64_t)bytes_of(t);
        for (int k = 0; k < overlaps; k++) {
            if (living[k]->place - at >= size)
                break;
            const int64_t end = living[k]->place + (int64_t)bytes_of(living[k]);
            if (end > at)
                at = end;
        }
        t->place = at;
        placed[done++] = t;
        if (at + size > top)
            top = at + size;
    }
    return top;
}

static int add_scratch(struct hy_graph *g)
{
    for (int i = 0; i < g->op_count; i++) {
        struct hy_op *op = g->ops[i];
        const size_t bytes = op->kind->scratch && !op->replaced ? op->kind->scratch(op) : 0;
        if (bytes)
            op->scratch =
                hy_graph_tensor(g, 1, (int64_t)((bytes + sizeof(hy_real) - 1) / sizeof(hy_real)));
    }
    return g->err.code;
}

/* Inputs and kept outputs have a place of their own, a copy per replica, behind the shared arena.
 */
static size_t place_pinned(struct hy_graph *g, size_t top)
{
    for (int i = 0; i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (!t->pinned || t->base || t->slab)
            continue;
        t->place = (int64_t)top;
        t->replica_stride = bytes_of(t) / hy_element_bytes(t);
        top += bytes_of(t) * (size_t)g->shape.replicas;
    }
    return top;
}

static void point_into_memory(struct hy_graph *g)
{
    for (int i = 0; i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (t->slab) {
            t->data = t->slab->data + t->offset;
            t->replica_stride = (size_t)t->slab->count;
        } else if (!t->base && t->place >= 0) {
            t->data = g->arena + t->place;
        }
    }
    for (int i = 0; i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (t->base && t->base->data) {
            t->data = (char *)t->base->data + (size_t)t->offset * hy_element_bytes(t);
            t->replica_stride = t->base->replica_stride;
        }
    }
}

int hy_graph_plan(struct hy_graph *g, struct hy_err *e)
{
    struct hy_tensor **lists = NULL;
    int rc = g->err.code;
    if (!rc)
        rc = add_scratch(g);
    if (rc) {
        if (e)
            *e = g->err;
        return rc;
    }
    find_lives(g);
    lists = malloc(3 * (size_t)(g->tensor_count + 1) * sizeof *lists);
    if (!lists)
        return hy_fail_memory(e);
    int count = 0;
    for (int i = 0; i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (!t->base && !t->slab && !t->pinned && t->first_op >= 0)
            lists[count++] = t;
    }
    size_t bytes =
        (size_t)place_all(lists, count, lists + g->tensor_count, lists + 2 * g->tensor_count);
    free(lists);
    bytes = place_pinned(g, bytes);
    g->arena_bytes = bytes;
    if (!g->dry) {
        /* Large pages: the matrix products of a step walk over more 4 KiB pages than the TLB holds.
         */
        const size_t room = (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
        g->arena = aligned_alloc(HUGE_PAGE, room);
        if (!g->arena)
            return hy_fail(e, HY_E_ENV, "out of memory: activations need %zu bytes", bytes);
        madvise(g->arena, room, MADV_HUGEPAGE);
        memset(g->arena, 0, room);
        point_into_memory(g);
    }
    return HY_OK;
}

void hy_graph_run(struct hy_graph *g, const unsigned char *active)
{
    for (int r = 0; r < g->shape.replicas; r++) {
        if (active && !active[r])
            continue;
        for (int i = 0; i < g->op_count; i++) {
            struct hy_op *op = g->ops[i];
            if (op->replaced)
                continue;
            const double start = g->timed ? hy_now() : 0;
            (op->pass == HY_FORWARD ? op->kind->forward : op->kind->backward)(op, r);
            if (g->timed) {
                op->seconds += hy_now() - start;
                op->calls++;
            }
        }
    }
}

struct hy_cost hy_graph_cost(const struct hy_graph *g)
{
    struct hy_cost sum = {0};
    for (int i = 0; i < g->op_count; i++) {
        const struct hy_op *op = g->ops[i];
        struct hy_cost cost = {0};
        if (op->replaced || !op->kind->cost)
            continue;
        op->kind->cost(op, &cost);
        sum.flops += cost.flops;
        sum.bytes += cost.bytes;
    }
    return sum;
}
