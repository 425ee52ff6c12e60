#include "core/ops/products/head_loss.h"

#include "core/graph/bf16.h"
#include "core/ops/support/attr.h"
#include "core/ops/support/build.h"
#include "core/ops/products/gemm.h"
#include "core/ops/products/operand.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"

/* Rows whose logits exist at a time; in bf16 a block's rows come in multiples of STEP, since the
 * library compiles a kernel for each number of rows. */
enum { BLOCK = 256, STEP = 32 };

/* The scored rows of a block, gathered. */
struct block {
    int64_t count, room;
    hy_real *dx, *logits; /* [room, width], [room, V] */
    hy_real *x;           /* [room, width] */
    /* In bf16 in place of x: that rounded; d loss / d logits rounded [room, V], and transposed. */
    hy_bf16 *x_bf16, *slopes, *turned;
    int32_t *rows; /* where they come from */
};

static int is_bf16(const struct hy_op *op)
{
    return hy_operand(op, 1)->dtype == HY_BF16;
}

static int64_t rows_up(const struct hy_op *op, int64_t rows)
{
    return is_bf16(op) ? (rows + STEP - 1) / STEP * STEP : rows;
}

/* Lays b out from base on; returns how many bytes it takes. */
static size_t lay_out(const struct hy_op *op, unsigned char *base, struct block *b)
{
    const int64_t labels = ((const struct hy_head_loss_attr *)op->attr)->max_labels;
    const int64_t room = rows_up(op, hy_min(labels, BLOCK));
    const int64_t width = op->in[0]->cols, vocab = op->in[1]->rows;
    const int backward = op->pass == HY_BACKWARD;
    *b = (struct block){.room = room, .logits = (hy_real *)base};
    b->dx = b->logits + room * vocab;
    b->rows = (int32_t *)(b->dx + (backward ? room * width : 0));
    b->x = (hy_real *)(b->rows + (room + 1) / 2 * 2); /* aligned for doubles too */
    b->x_bf16 = (hy_bf16 *)b->x;
    b->slopes = b->x_bf16 + room * width;
    b->turned = b->slopes + room * vocab;
    const unsigned char *end = (const unsigned char *)(b->x + room * width);
    if (is_bf16(op))
        end =
            (const unsigned char *)(backward ? b->turned + vocab * hy_turned_ld(room) : b->slopes);
    return (size_t)(end - base);
}

static size_t head_loss_scratch(const struct hy_op *op)
{
    static unsigned char origin[1];
    struct block b;
    return lay_out(op, origin, &b);
}

static struct block block_of(const struct hy_op *op, int r)
{
    struct block b;
    lay_out(op, hy_data(op->scratch, r), &b);
    return b;
}

/* Gathers scored rows from *next on; 0 when none is left. */
static int block_gather(const struct hy_op *op, int r, struct block *b, int64_t *next)
{
    const int32_t *labels = hy_data(op->in[2], r);
    const struct hy_rows x = hy_rows_of(op->in[0], r);
    const int64_t width = op->in[0]->cols;
    for (b->count = 0; *next < op->in[0]->rows && b->count < hy_min(b->room, BLOCK); (*next)++) {
        if (labels[*next] < 0)
            continue;
        hy_check_index("head_loss", labels[*next], op->in[1]->rows);
        if (is_bf16(op))
            hy_bf16_round(1, width, hy_row(&x, *next), x.ld, b->x_bf16 + b->count * width);
        else
            memcpy(b->x + b->count * width, hy_row(&x, *next), (size_t)width * sizeof *b->x);
        b->rows[b->count++] = (int32_t)*next;
    }
    return b->count > 0;
}

/* The next block with its logits; 0 when there is none. */
static int block_next(const struct hy_op *op, int r, struct block *b, int64_t *next)
{
    const struct hy_tensor *table = hy_operand(op, 1);
    const int64_t width = op->in[0]->cols, vocab = table->rows;
    if (!block_gather(op, r, b, next))
        return 0;
    if (is_bf16(op)) {
        /* Rows of zeros have logits of zero, and then slopes of zero. */
        const int64_t rows = rows_up(op, b->count);
        memset(b->x_bf16 + b->count * width, 0,
               (size_t)((rows - b->count) * width) * sizeof *b->x_bf16);
        hy_gemm_bf16(0, 1, rows, vocab, width, b->x_bf16, width, hy_bf16_data(table, r), table->ld,
                     0, b->logits, vocab);
    } else {
        hy_gemm(0, 1, b->count, vocab, width, 1, b->x, width, hy_real_data(table, r), table->ld, 0,
                b->logits, vocab);
    }
    return 1;
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

/* The logits have become their gradients: adds them up in the table's, and leaves x's in b->dx. */
static void block_products(const struct hy_op *op, int r, const struct block *b)
{
    const struct hy_tensor *table = hy_operand(op, 1), *dtable = op->din[1];
    const int64_t width = op->in[0]->cols, vocab = table->rows;
    if (is_bf16(op)) {
        const int64_t rows = rows_up(op, b->count);
        hy_operand_round(rows, vocab, b->logits, vocab, b->slopes, dtable ? b->turned : NULL);
        if (dtable)
            hy_gemm_bf16(0, 0, vocab, width, rows, b->turned, hy_turned_ld(rows), b->x_bf16, width,
                         1, hy_real_data(dtable, r), dtable->ld);
        if (op->din[0])
            hy_gemm_bf16(0, 0, rows, width, vocab, b->slopes, vocab, hy_bf16_data(table, r),
                         table->ld, 0, b->dx, width);
        return;
    }
    if (dtable)
        hy_gemm(1, 0, vocab, width, b->count, 1, b->logits, vocab, b->x, width, 1,
                hy_real_data(dtable, r), dtable->ld);
    if (op->din[0])
        hy_gemm(0, 0, b->count, width, vocab, 1, b->logits, vocab, hy_real_data(table, r),
                table->ld, 0, b->dx, width);
}

static void head_loss_backward(const struct hy_op *op, int r)
{
    const struct hy_rows dx = hy_rows_din(op, 0, r, NULL);
    const int64_t width = op->in[0]->cols;
    struct block b = block_of(op, r);
    clear_scores(op, r);
    hy_clear_din(op, 0, r);
    hy_clear_din(op, 1, r);
    for (int64_t next = 0; block_next(op, r, &b, &next);) {
        block_gradient(op, r, &b);
        block_products(op, r, &b);
        for (int64_t k = 0; op->din[0] && k < b.count; k++) {
            hy_real *to = hy_row(&dx, b.rows[k]);
#pragma omp simd
            for (int64_t c = 0; c < width; c++)
                to[c] += b.dx[k * width + c];
        }
    }
}

static void head_loss_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const double rows = (double)((const struct hy_head_loss_attr *)op->attr)->max_labels;
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
    .operands = 1u << 1,
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
    const struct hy_head_loss_attr s = {hy_min(max_labels, x->rows)};
    if (!out[1] || !hy_graph_op(g, &hy_op_head_loss, 3, (struct hy_tensor *[]){x, table, labels}, 2,
                                out, &s, sizeof s))
        return NULL;
    out[1]->differentiable = 0;
    *hit = out[1];
    return out[0];
}
