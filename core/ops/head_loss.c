#include "core/ops/head_loss.h"

#include "core/ops/support/build.h"
#include "core/ops/support/gemm.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"

/* Rows whose logits exist at a time. */
enum { BLOCK = 256 };

struct head_loss {
    int64_t max_labels;
};

/* The scored rows of a block, gathered. */
struct block {
    int64_t count, room;
    hy_real *x, *dx, *logits; /* [room, width], [room, width], [room, V] */
    int32_t *rows;            /* where they come from */
};

static int64_t block_room(const struct hy_op *op)
{
    return hy_min(((const struct head_loss *)op->attr)->max_labels, BLOCK);
}

static size_t head_loss_scratch(const struct hy_op *op)
{
    const int64_t width = op->in[0]->cols, vocab = op->in[1]->rows;
    return (size_t)block_room(op) *
           ((size_t)(2 * width + vocab) * sizeof(hy_real) + sizeof(int32_t));
}

static struct block block_of(const struct hy_op *op, int r)
{
    const int64_t room = block_room(op), width = op->in[0]->cols, vocab = op->in[1]->rows;
    hy_real *x = hy_real_data(op->scratch, r);
    return (struct block){.room = room,
                          .x = x,
                          .dx = x + room * width,
                          .logits = x + 2 * room * width,
                          .rows = (int32_t *)(x + room * (2 * width + vocab))};
}

/* Gathers scored rows from *next on and computes their logits; 0 when none is left. */
static int block_next(const struct hy_op *op, int r, struct block *b, int64_t *next)
{
    const int32_t *labels = hy_data(op->in[2], r);
    const struct hy_rows x = hy_rows_of(op->in[0], r);
    const struct hy_tensor *table = op->in[1];
    const int64_t width = op->in[0]->cols, vocab = table->rows;
    b->count = 0;
    for (; *next < op->in[0]->rows && b->count < b->room; (*next)++) {
        if (labels[*next] < 0)
            continue;
        hy_check_index("head_loss", labels[*next], vocab);
        memcpy(b->x + b->count * width, hy_row(&x, *next), (size_t)width * sizeof *b->x);
        b->rows[b->count++] = (int32_t)*next;
    }
    if (b->count)
        hy_gemm(0, 1, b->count, vocab, width, 1, b->x, width, hy_real_data(table, r), table->ld, 0,
                b->logits, vocab);
    return b->count > 0;
}

static hy_real largest(const hy_real *x, int64_t n)
{
    hy_real m = -INFINITY;
#pragma omp simd reduction(max : m)
    for (int64_t i = 0; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

/* Replaces logits z by e^(z - max) and returns their sum; nll and hit of the label. */
static hy_real score(hy_real *z, int64_t vocab, int64_t label, hy_real *nll, hy_real *hit)
{
    const hy_real own = z[label];
    const hy_real before = largest(z, label), after = largest(z + label, vocab - label);
    const hy_real top = before > after ? before : after;
    hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < vocab; i++) {
        z[i] = hy_exp(z[i] - top);
        sum += z[i];
    }
    *nll = (hy_real)log((double)sum) - (own - top);
    *hit = own > before && own >= after;
    return sum;
}

static void clear_scores(const struct hy_op *op, int r)
{
    for (int i = 0; i < 2; i++)
        memset(hy_real_data(op->out[i], r), 0, (size_t)op->out[i]->rows * sizeof(hy_real));
}

static void head_loss_forward(const struct hy_op *op, int r)
{
    const int32_t *labels = hy_data(op->in[2], r);
    const int64_t vocab = op->in[1]->rows;
    hy_real *nll = hy_real_data(op->out[0], r), *hit = hy_real_data(op->out[1], r);
    struct block b = block_of(op, r);
    clear_scores(op, r);
    for (int64_t next = 0; block_next(op, r, &b, &next);)
        for (int64_t k = 0; k < b.count; k++) {
            const int64_t row = b.rows[k];
            score(b.logits + k * vocab, vocab, labels[row], &nll[row], &hit[row]);
        }
}

/* Scores a block and turns its logits into their gradients. */
static void block_gradient(const struct hy_op *op, int r, struct block *b)
{
    const int32_t *labels = hy_data(op->in[2], r);
    const int64_t vocab = op->in[1]->rows;
    const hy_real *weights = hy_real_data(op->dout[0], r);
    hy_real *nll = hy_real_data(op->out[0], r), *hit = hy_real_data(op->out[1], r);
    for (int64_t k = 0; k < b->count; k++) {
        const int64_t row = b->rows[k];
        hy_real *z = b->logits + k * vocab;
        const hy_real sum = score(z, vocab, labels[row], &nll[row], &hit[row]);
        const hy_real weight = weights[row], share = weight / sum;
#pragma omp simd
        for (int64_t i = 0; i < vocab; i++)
            z[i] *= share;
        z[labels[row]] -= weight;
    }
}

static void head_loss_backward(const struct hy_op *op, int r)
{
    const struct hy_tensor *table = op->in[1], *dtable = op->din[1];
    const struct hy_rows dx = hy_rows_din(op, 0, r, NULL);
    const int64_t width = op->in[0]->cols, vocab = table->rows;
    struct block b = block_of(op, r);
    clear_scores(op, r);
    hy_clear_din(op, 0, r);
    hy_clear_din(op, 1, r);
    for (int64_t next = 0; block_next(op, r, &b, &next);) {
        block_gradient(op, r, &b);
        if (dtable)
            hy_gemm(1, 0, vocab, width, b.count, 1, b.logits, vocab, b.x, width, 1,
                    hy_real_data(dtable, r), dtable->ld);
        if (!op->din[0])
            continue;
        hy_gemm(0, 0, b.count, width, vocab, 1, b.logits, vocab, hy_real_data(table, r), table->ld,
                0, b.dx, width);
        for (int64_t k = 0; k < b.count; k++) {
            hy_real *to = hy_row(&dx, b.rows[k]);
#pragma omp simd
            for (int64_t c = 0; c < width; c++)
                to[c] += b.dx[k * width + c];
        }
    }
}

static void head_loss_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const double rows = (double)((const struct head_loss *)op->attr)->max_labels;
    const double vocab = (double)op->in[1]->rows, width = (double)op->in[0]->cols;
    const int products =
        op->pass == HY_FORWARD ? 1 : 1 + (op->din[0] != NULL) + (op->din[1] != NULL);
    cost->flops = products * 2 * rows * vocab * width + 4 * rows * vocab;
    cost->bytes = hy_op_bytes(op);
}

static int head_loss_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2], *hit;
    if (index > 0)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 5, -2, 2), 2, (int64_t[]){2, 3}, views);
    hy_head_loss(g, views[1], hy_graph_leaf(g, "table", 7, 3, -2, 2),
                 hy_graph_input(g, "labels", HY_INT32, rows, 1), (rows + 1) / 2, &hit);
    return 1;
}

const struct hy_op_kind hy_op_head_loss = {
    .name = "head_loss",
    .forward = head_loss_forward,
    .backward = head_loss_backward,
    .cost = head_loss_cost,
    .scratch = head_loss_scratch,
    .backward_in = 1u << 0 | 1u << 1 | 1u << 2,
    .backward_is_forward = 1,
    .example = head_loss_example,
};

struct hy_tensor *hy_head_loss(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *table,
                               struct hy_tensor *labels, int64_t max_labels, struct hy_tensor **hit)
{
    *hit = NULL;
    if (!x || !table || !labels ||
        !hy_has_shape(g, "head_loss", "the table", table, table->rows, x->cols) ||
        !hy_has_shape(g, "head_loss", "labels", labels, x->rows, 1))
        return NULL;
    if (labels->dtype != HY_INT32)
        return hy_graph_fail(g, "head_loss: labels are not integers");
    if (max_labels < 1)
        return hy_graph_fail(g, "head_loss: at most %lld rows are scored", (long long)max_labels);
    struct hy_tensor *out[] = {hy_graph_tensor(g, x->rows, 1), hy_graph_tensor(g, x->rows, 1)};
    const struct head_loss s = {hy_min(max_labels, x->rows)};
    if (!out[1] || !hy_graph_op(g, &hy_op_head_loss, 3, (struct hy_tensor *[]){x, table, labels}, 2,
                                out, &s, sizeof s))
        return NULL;
    out[1]->differentiable = 0;
    *hit = out[1];
    return out[0];
}
