#include "core/ops/embedding.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"

static void embedding_forward(const struct hy_op *op, int r)
{
    const int32_t *tokens = hy_data(op->in[0], r);
    const struct hy_rows table = hy_rows_of(op->in[1], r), y = hy_rows_of(op->out[0], r);
    const size_t bytes = (size_t)op->in[1]->cols * sizeof(hy_real);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        hy_check_index("embedding", tokens[i], op->in[1]->rows);
        memcpy(hy_row(&y, i), hy_row(&table, tokens[i]), bytes);
    }
}

static void embedding_backward(const struct hy_op *op, int r)
{
    const int32_t *tokens = hy_data(op->in[0], r);
    const struct hy_rows dy = hy_rows_of(op->dout[0], r), dtable = hy_rows_din(op, 1, r, NULL);
    if (!op->din[1])
        return;
    hy_clear_din(op, 1, r);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        const hy_real *from = hy_row(&dy, i);
        hy_real *to = hy_row(&dtable, tokens[i]);
#pragma omp simd
        for (int64_t c = 0; c < op->in[1]->cols; c++)
            to[c] += from[c];
    }
}

static void embedding_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const double row = (double)op->in[1]->cols * sizeof(hy_real), rows = (double)op->in[0]->rows;
    cost->flops = op->pass == HY_FORWARD ? 0 : rows * (double)op->in[1]->cols;
    cost->bytes =
        op->pass == HY_FORWARD ? 2 * rows * row : 3 * rows * row + (double)op->in[1]->rows * row;
}

static int embedding_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    if (index > 0)
        return 0;
    hy_embedding(g, hy_graph_input(g, "tokens", HY_INT32, rows, 1),
                 hy_graph_leaf(g, "table", 7, 3, -1, 1));
    return 1;
}

const struct hy_op_kind hy_op_embedding = {
    .name = "embedding",
    .forward = embedding_forward,
    .backward = embedding_backward,
    .cost = embedding_cost,
    .backward_in = 1u << 0,
    .example = embedding_example,
};

struct hy_tensor *hy_embedding(struct hy_graph *g, struct hy_tensor *tokens,
                               struct hy_tensor *table)
{
    if (!tokens || !table || !hy_has_shape(g, "embedding", "tokens", tokens, tokens->rows, 1))
        return NULL;
    if (tokens->dtype != HY_INT32)
        return hy_graph_fail(g, "embedding: tokens are not integers");
    return hy_record(g, &hy_op_embedding, 2, (struct hy_tensor *[]){tokens, table}, tokens->rows,
                     table->cols, NULL, 0);
}
