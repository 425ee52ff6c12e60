#include "core/ops/products/lora.h"

#include "core/ops/products/gemm.h"
#include "core/ops/support/attr.h"
#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"

enum { Y0, H, B }; /* b[i] is in[B + i] */

static int64_t rank_of(const struct hy_op *op)
{
    return op->in[B]->cols;
}

static void lora_forward(const struct hy_op *op, int r)
{
    const struct hy_lora_attr *s = op->attr;
    const struct hy_tensor *y = op->out[0], *h = op->in[H];
    const struct hy_rows from = hy_rows_of(op->in[Y0], r), to = hy_rows_of(y, r);
    const int64_t rank = rank_of(op);
    for (int64_t i = 0; i < y->rows; i++)
        memcpy(hy_row(&to, i), hy_row(&from, i), (size_t)y->cols * sizeof *to.data);
    for (int k = 0; k < op->inputs - B; k++) {
        const struct hy_tensor *b = op->in[B + k];
        hy_gemm(0, 1, y->rows, b->rows, rank, (hy_real)s->scale, hy_real_data(h, r) + k * rank,
                h->ld, hy_real_data(b, r), b->ld, 1, to.data + s->first[k], y->ld);
    }
}

/* dy0 = dy; dh_i = scale dy_i b_i; db_i = scale dy_i' h_i, with dy_i the columns of addition i. */
static void lora_backward(const struct hy_op *op, int r)
{
    const struct hy_lora_attr *s = op->attr;
    const struct hy_tensor *dy = op->dout[0], *h = op->in[H], *dh = op->din[H];
    const struct hy_rows given = hy_rows_of(dy, r), dy0 = hy_rows_din(op, Y0, r, NULL);
    const int64_t rank = rank_of(op);
    for (int64_t i = 0; dy0.data && i < dy->rows; i++) {
        const hy_real *from = hy_row(&given, i);
        hy_real *to = hy_row(&dy0, i);
#pragma omp simd
        for (int64_t c = 0; c < dy->cols; c++)
            to[c] = (dy0.add ? to[c] : 0) + from[c];
    }
    for (int k = 0; k < op->inputs - B; k++) {
        const struct hy_tensor *b = op->in[B + k], *db = op->din[B + k];
        const hy_real *own = given.data + s->first[k];
        if (dh)
            hy_gemm(0, 0, dy->rows, rank, b->rows, (hy_real)s->scale, own, dy->ld,
                    hy_real_data(b, r), b->ld, (hy_real)hy_adds(op, H),
                    hy_real_data(dh, r) + k * rank, dh->ld);
        if (db)
            hy_gemm(1, 0, b->rows, rank, dy->rows, (hy_real)s->scale, own, dy->ld,
                    hy_real_data(h, r) + k * rank, h->ld, (hy_real)hy_adds(op, B + k),
                    hy_real_data(db, r), db->ld);
    }
}

static void lora_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const double rows = (double)op->in[Y0]->rows;
    for (int k = B; k < op->inputs; k++) {
        const int products =
            op->pass == HY_FORWARD ? 1 : (op->din[H] != NULL) + (op->din[k] != NULL);
        cost->flops += products * 2 * rows * (double)(op->in[k]->rows * op->in[k]->cols);
    }
    cost->bytes = hy_op_bytes(op);
}

static int lora_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    if (index > 1)
        return 0;
    struct hy_tensor *b[] = {hy_graph_leaf(g, "b", 3, 2, -1, 1),
                             hy_graph_leaf(g, "b2", 2, 2, -1, 1)};
    hy_lora(g, hy_graph_leaf(g, "y0", rows, 9, -1, 1),
            hy_graph_leaf(g, "h", rows, index ? 4 : 2, -1, 1), index ? 2 : 1, b, (int64_t[]){4, 1},
            .5);
    return 1;
}

const struct hy_op_kind hy_op_lora = {
    .name = "lora",
    .forward = lora_forward,
    .backward = lora_backward,
    .cost = lora_cost,
    .backward_in = ~(1u << Y0),
    .example = lora_example,
};

struct hy_tensor *hy_lora(struct hy_graph *g, struct hy_tensor *y0, struct hy_tensor *h, int count,
                          struct hy_tensor *const *b, const int64_t *first, double scale)
{
    struct hy_tensor *in[B + HY_MAX_LORA] = {y0, h};
    struct hy_lora_attr s = {.scale = scale};
    if (!y0 || !h)
        return NULL;
    for (int k = 0; k < count; k++) {
        if (!b[k] ||
            !hy_has_shape(g, "lora", "the part of an addition", b[k], b[k]->rows, h->cols / count))
            return NULL;
        in[B + k] = b[k];
        s.first[k] = first[k];
    }
    if (!hy_has_shape(g, "lora", "h", h, y0->rows, count * in[B]->cols))
        return NULL;
    return hy_record(g, &hy_op_lora, B + count, in, y0->rows, y0->cols, &s, sizeof s);
}
