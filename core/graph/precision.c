/* precision.c - the names of precisions, and the op that rounds an operand to bfloat16 once for all
 * who multiply it. */
#include <string.h>

#include "core/graph/bf16.h"
#include "core/graph/internal.h"

const char hy_precision_choices[] = "float32|bf16|tf32";

static const char *const names[] = {"float32", "bf16", "tf32"};

const char *hy_precision_name(enum hy_precision p)
{
    return names[p];
}

int hy_precision_parse(const char *name)
{
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (!strcmp(name, names[i]))
            return i;
    return -1;
}

static void narrow_forward(const struct hy_op *op, int replica)
{
    const struct hy_tensor *x = op->in[0];
    hy_bf16_round(x->rows, x->cols, hy_real_data(x, replica), x->ld,
                  hy_bf16_data(op->out[0], replica));
}

static void narrow_cost(const struct hy_op *op, struct hy_cost *cost)
{
    cost->bytes = (double)(op->in[0]->rows * op->in[0]->cols) * (sizeof(hy_real) + sizeof(hy_bf16));
}

/* No gradient passes it: the product's own backward gives that of the unrounded tensor. */
static const struct hy_op_kind narrow = {
    .name = "narrow", .forward = narrow_forward, .cost = narrow_cost};

void hy_graph_narrow(struct hy_graph *g, struct hy_tensor *t)
{
    struct hy_tensor *copy = hy_graph_tensor_of(g, HY_BF16, t->rows, t->cols);
    if (copy && hy_graph_op(g, &narrow, 1, &t, 1, &copy, NULL, 0))
        t->narrow = copy;
}
