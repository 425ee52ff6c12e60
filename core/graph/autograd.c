/* autograd.c - appends the backward ops of a graph, walking its forward ops in reverse.
 *
 * A tensor's gradient is made when the first backward op writes it; later ones add to it. Views
 * write into their base's gradient, parameters into the slab of gradients. */
#include "core/graph/internal.h"

#include <string.h>

static void zero_forward(const struct hy_op *op, int replica)
{
    const struct hy_tensor *t = op->out[0];
    hy_real *data = hy_real_data(t, replica);
    for (int64_t r = 0; r < t->rows; r++)
        memset(data + r * t->ld, 0, (size_t)t->cols * sizeof *data);
}

static void zero_cost(const struct hy_op *op, struct hy_cost *cost)
{
    cost->bytes = (double)(op->out[0]->rows * op->out[0]->cols) * sizeof(hy_real);
}

/* Clears the part of a gradient that no backward op writes. */
static const struct hy_op_kind zero = {.name = "zero", .forward = zero_forward, .cost = zero_cost};

static struct hy_tensor *make_grad(struct hy_graph *g, struct hy_tensor *t)
{
    if (t->grad)
        return t->grad;
    if (t->base) {
        struct hy_tensor *base = make_grad(g, t->base);
        t->grad = base ? hy_graph_view(g, base, t->offset, t->cols) : NULL;
    } else if (t->slab) {
        t->grad = hy_graph_in_slab(g, g->grads, t->name, 0, t->rows, t->cols);
    } else {
        t->grad = hy_graph_tensor(g, t->rows, t->cols);
        if (t->grad)
            t->grad->pinned = t->pinned;
    }
    return t->grad;
}

/* The gradient of an op's output, complete now that all its readers have been walked; NULL where
 * none arrives. Where only some of its views have one, the others are cleared. */
static struct hy_tensor *output_grad(struct hy_graph *g, struct hy_tensor *out)
{
    if (!out || !out->differentiable)
        return NULL;
    if (out->grad_written || !out->grad)
        return out->grad_written ? out->grad : NULL;
    for (int i = 0, count = g->tensor_count; i < count; i++) {
        struct hy_tensor *view = g->tensors[i];
        if (view->base != out || view->split || view->grad_written || !view->differentiable)
            continue;
        struct hy_op *op = hy_graph_append(g, &zero, HY_FORWARD);
        if (!op || !make_grad(g, view))
            return NULL;
        op->out[0] = view->grad;
        op->outputs = 1;
        view->grad_written = 1;
    }
    return out->grad;
}

/* y = a + b: may b's gradient be the very tensor of a's? Yes when nothing else was or is still to
 * be added to either, and both are plain activations. */
static int can_share(const struct hy_tensor *a, const struct hy_tensor *b)
{
    return a && b && a != b && a->differentiable && b->differentiable && a->consumers == 1 &&
           b->consumers == 1 && !a->grad && !b->grad && !b->base && !b->slab && !b->pinned &&
           !a->base && !a->slab && a->rows == b->rows && a->cols == b->cols;
}

/* Whether a forward op reads what this one computes: then it cannot wait for the backward pass. */
static int is_read(const struct hy_graph *g, const struct hy_op *forward)
{
    for (int i = 0; i < g->forward_ops; i++)
        for (int k = 0; k < g->ops[i]->inputs; k++)
            for (int j = 0; j < forward->outputs; j++)
                if (g->ops[i]->in[k] && g->ops[i]->in[k] == forward->out[j])
                    return 1;
    return 0;
}

static void append_backward(struct hy_graph *g, struct hy_op *forward)
{
    const struct hy_op_kind *kind = forward->kind;
    g->section = forward->section;
    struct hy_tensor *dout[HY_MAX_OUTPUTS] = {0};
    int arrives = 0;
    for (int i = 0; i < forward->outputs; i++) {
        dout[i] = output_grad(g, forward->out[i]);
        arrives |= dout[i] != NULL;
    }
    struct hy_op *op = NULL;
    if (arrives && kind->backward) {
        op = hy_graph_append(g, kind, HY_BACKWARD);
        if (!op)
            return;
        op->inputs = forward->inputs;
        op->outputs = forward->outputs;
        op->attr = forward->attr;
        memcpy(op->in, forward->in, sizeof op->in);
        memcpy(op->out, forward->out, sizeof op->out);
        memcpy(op->dout, dout, sizeof op->dout);
        forward->replaced = kind->backward_is_forward && !is_read(g, forward);
    }
    for (int i = 0; i < forward->inputs; i++) {
        struct hy_tensor *in = forward->in[i];
        if (!in || !op || !in->differentiable)
            continue;
        if (i == 0 && kind->shares_grad && can_share(in, forward->in[1]) && make_grad(g, in))
            forward->in[1]->grad = in->grad;
        if (i == 1 && kind->shares_grad && in->grad && in->grad == forward->in[0]->grad) {
            in->grad_written = 1;
            continue;
        }
        op->din[i] = make_grad(g, in);
        op->adds |= (uint32_t)(in->grad_written != 0) << i;
        in->grad_written = 1;
    }
    for (int i = 0; i < forward->inputs; i++)
        if (forward->in[i])
            forward->in[i]->consumers--;
}

static int has_gradient(const struct hy_graph *g, const struct hy_entry *entry)
{
    for (int i = 0; i < g->tensor_count; i++) {
        const struct hy_tensor *t = g->tensors[i];
        if (t->slab == g->params && t->grad && t->offset <= entry->offset &&
            entry->offset < t->offset + t->rows * t->cols)
            return 1;
    }
    return 0;
}

/* Gives the parameters' gradients their places, in the parameters' order whatever the order in
 * which they were made. */
static void place_gradients(struct hy_graph *g)
{
    if (!g->grads)
        return;
    for (int i = 0; i < g->params->entry_count && !g->err.code; i++)
        if (!g->params->trains || has_gradient(g, &g->params->entries[i]))
            hy_slab_add(g->grads, &g->params->entries[i], &g->err);
    for (int i = 0; i < g->tensor_count && !g->err.code; i++) {
        const struct hy_tensor *t = g->tensors[i];
        if (t->slab == g->params && t->grad)
            t->grad->offset = g->grads->entries[hy_slab_find(g->grads, t->name)].offset;
    }
}

static struct hy_tensor *whole(struct hy_tensor *t)
{
    return t && t->base ? t->base : t;
}

static void note_read(struct hy_tensor *t)
{
    if (t)
        whole(t)->is_read = 1;
}

/* Forward ops whose results nobody reads are not run: those of parts of a model that the losses do
 * not depend on. */
static void skip_unread(struct hy_graph *g)
{
    for (int i = g->op_count - 1; i >= 0; i--) {
        struct hy_op *op = g->ops[i];
        const int backward = op->pass == HY_BACKWARD;
        int wanted = i >= g->forward_ops;
        for (int k = 0; k < op->outputs && !wanted; k++) {
            const struct hy_tensor *out = whole(op->out[k]);
            wanted = out && (out->is_read || out->pinned || out->slab);
        }
        op->replaced |= !wanted;
        for (int k = 0; k < op->inputs && wanted; k++)
            if (!backward || op->kind->backward_in >> k & 1)
                note_read(hy_operand(op, k));
        for (int k = 0; k < op->outputs && backward; k++)
            if (op->kind->backward_out >> k & 1)
                note_read(op->out[k]);
    }
}

int hy_graph_backward(struct hy_graph *g, int count, struct hy_tensor *const *y,
                      struct hy_tensor *const *dy, struct hy_err *e)
{
    for (int i = 0; i < count && !g->err.code; i++) {
        if (y[i]->rows != dy[i]->rows || y[i]->cols != dy[i]->cols)
            hy_graph_fail(g, "the gradient of a [%lld, %lld] output is [%lld, %lld]",
                          (long long)y[i]->rows, (long long)y[i]->cols, (long long)dy[i]->rows,
                          (long long)dy[i]->cols);
        else if (y[i]->consumers || y[i]->grad)
            hy_graph_fail(g, "gradients start at an output that other ops read");
        y[i]->grad = dy[i];
        y[i]->grad_written = 1;
    }
    for (int i = g->forward_ops - 1; i >= 0 && !g->err.code; i--)
        append_backward(g, g->ops[i]);
    place_gradients(g);
    for (int i = 0; i < count && !g->err.code; i++)
        note_read(y[i]);
    skip_unread(g);
    g->section = 0;
    if (g->err.code && e)
        *e = g->err;
    return g->err.code;
}
