/* plan.c - the memory plan (which activation lies where in the arena) and the executor. */
#include "core/graph/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/clock.h"

enum { ALIGN = 64, DEVICE_ALIGN = 256, HUGE_PAGE = 2 << 20 };

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
                touch(hy_operand(op, k), i);
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

/* Finds the operators' twins on the graph's device. */
static int find_twins(struct hy_graph *g)
{
    for (int i = 0; g->device && i < g->op_count; i++) {
        struct hy_op *op = g->ops[i];
        const struct hy_cuda_op *twin = hy_cuda_ops;
        while (twin->name && strcmp(twin->name, op->kind->name) != 0)
            twin++;
        op->cuda = twin->kind;
        if (!op->cuda || !(op->pass == HY_FORWARD ? op->cuda->forward : op->cuda->backward))
            hy_graph_fail(g, "%s: operator %s has no CUDA kernel", hy_device_name(g->device),
                          op->kind->name);
    }
    return g->err.code;
}

static int add_scratch(struct hy_graph *g)
{
    for (int i = 0; i < g->op_count; i++) {
        struct hy_op *op = g->ops[i];
        size_t (*scratch)(const struct hy_op *) = op->cuda ? op->cuda->scratch : op->kind->scratch;
        const size_t bytes = scratch && !op->replaced ? scratch(op) : 0;
        if (bytes)
            op->scratch =
                hy_graph_tensor(g, 1, (int64_t)((bytes + sizeof(hy_real) - 1) / sizeof(hy_real)));
    }
    return g->err.code;
}

/* On a device every replica has its own copy of the arena. */
static size_t spread_replicas(struct hy_graph *g, size_t top)
{
    if (!g->device)
        return top;
    const size_t stride = (top + DEVICE_ALIGN - 1) / DEVICE_ALIGN * DEVICE_ALIGN;
    for (int i = 0; i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (!t->base && !t->slab && !t->pinned)
            t->replica_stride = stride / hy_element_bytes(t);
    }
    return stride * (size_t)g->shape.replicas;
}

/* Inputs and kept outputs have a place of their own, a copy per replica, behind the arena. */
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
        rc = find_twins(g);
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
    bytes = place_pinned(g, spread_replicas(g, bytes));
    g->arena_bytes = bytes;
    if (g->device && !g->dry) {
        rc = hy_cuda_open_run(g, e);
        if (rc)
            return rc;
        point_into_memory(g);
    } else if (!g->dry) {
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

void *hy_input(struct hy_tensor *t, int replica)
{
    return t->graph->device ? hy_cuda_staged(t, replica) : hy_data(t, replica);
}

int hy_graph_wait(const struct hy_graph *g, struct hy_err *e)
{
    if (g->device && g->err.code) {
        *e = g->err;
        return e->code;
    }
    return g->device ? hy_device_wait(g->device, e) : HY_OK;
}

int hy_graph_read(const struct hy_tensor *t, int replica, void *out, struct hy_err *e)
{
    const struct hy_graph *g = t->graph;
    const size_t row = (size_t)t->cols * hy_element_bytes(t);
    const size_t step = (size_t)t->ld * hy_element_bytes(t);
    const char *from = hy_data(t, replica);
    int rc = hy_graph_wait(g, e);
    for (int64_t i = 0; i < t->rows && !rc; i += row == step ? t->rows : 1) {
        char *to = (char *)out + (size_t)i * row;
        const size_t bytes = row == step ? row * (size_t)t->rows : row;
        if (g->device)
            rc = hy_device_read(g->device, to, from + (size_t)i * step, bytes, e);
        else
            memcpy(to, from + (size_t)i * step, bytes);
    }
    return rc;
}

void hy_graph_run(struct hy_graph *g, const unsigned char *active)
{
    if (g->device) {
        hy_cuda_run_graph(g);
        return;
    }
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

static void add_cost(const struct hy_op *op, struct hy_cost *sum)
{
    struct hy_cost cost = {0};
    if (op->replaced || !op->kind->cost)
        return;
    op->kind->cost(op, &cost);
    sum->flops += cost.flops;
    sum->bytes += cost.bytes;
}

struct hy_cost hy_graph_cost(const struct hy_graph *g)
{
    struct hy_cost sum = {0};
    for (int i = 0; i < g->op_count; i++)
        add_cost(g->ops[i], &sum);
    return sum;
}

struct hy_cost hy_graph_section_cost(const struct hy_graph *g, int section)
{
    struct hy_cost sum = {0};
    for (int i = 0; i < g->op_count; i++)
        if (g->ops[i]->section == section)
            add_cost(g->ops[i], &sum);
    return sum;
}
