#include "core/ops/features/joint.h"

#include "core/ops/constant.h"
#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

enum { W, X, N, D, FACTOR, DROPPED, INPUTS };
enum { Y, FAR, OUTPUTS };

static const hy_real least = (hy_real)1e-12; /* beside d where there is no window */

static int has_window(const struct hy_op *op, int r)
{
    const hy_real *dropped = hy_real_data(op->in[DROPPED], r);
    return op->in[W] && !(dropped && *dropped != 0);
}

/* Of one row and head: y = near w + far n. */
struct shares {
    hy_real near, far; /* A / (A + lin d), lin / (A + lin d) */
    hy_real one, lin;  /* 1 / (A + lin d) */
    hy_real rest;      /* 1 - gamma */
};

static struct shares shares_of(const struct hy_op *op, int r, int64_t i, int64_t h, hy_real d)
{
    const hy_real *x = hy_real_data(op->in[X], r) + i * op->in[X]->ld;
    const hy_real *factor = hy_real_data(op->in[FACTOR], r);
    const hy_real gamma = factor ? hy_sigmoid(factor[h]) : 1;
    const hy_real rest = factor ? hy_sigmoid(-factor[h]) : 0;
    const hy_real lin = factor && ((const struct hy_joint *)op->attr)->affine ? rest : 1;
    const hy_real a = gamma * hy_exp(x[h]), one = 1 / (a + lin * d);
    return (struct shares){a * one, lin * one, one, lin, rest};
}

/* Where there is no window. */
static struct shares shares_alone(hy_real d)
{
    const hy_real one = 1 / (d + least);
    return (struct shares){0, one, one, 1, 0};
}

static void joint_forward(const struct hy_op *op, int r)
{
    const struct hy_joint *s = op->attr;
    const struct hy_rows n = hy_rows_of(op->in[N], r), d = hy_rows_of(op->in[D], r);
    const struct hy_rows y = hy_rows_of(op->out[Y], r);
    const int window = has_window(op, r), width = s->value_width;
    const struct hy_rows w = window ? hy_rows_of(op->in[W], r) : n; /* which counts for nothing */
    for (int64_t i = 0; i < y.rows; i++) {
        hy_row_fetch(&w, i);
        hy_row_fetch(&n, i);
        for (int64_t h = 0; h < s->heads; h++) {
            const hy_real *wi = hy_row(&w, i) + h * width, *ni = hy_row(&n, i) + h * width;
            const hy_real sum = hy_row(&d, i)[h];
            const struct shares share = window ? shares_of(op, r, i, h, sum) : shares_alone(sum);
            hy_real *yi = hy_row(&y, i) + h * width;
#pragma omp simd
            for (int64_t c = 0; c < width; c++)
                yi[c] = share.near * wi[c] + share.far * ni[c];
            if (op->out[FAR])
                hy_real_data(op->out[FAR], r)[i * s->heads + h] = window ? share.far * sum : 1;
        }
    }
}

/* ---- Backward ---- */

/* What a row and head brings back beside dw and dn. */
struct gradients {
    hy_real x, d, factor;
};

/* dy.(w - y) near, what moves the shares, is written as near lin dy.(d w - n) / (A + lin d):
 * exactly 0 where no term lies outside the window. The factor's gradient is that without lin,
 * whether lin depends on gamma or not. */
static struct gradients back_head(int64_t width, const struct shares *share, hy_real d,
                                  const hy_real *w, const hy_real *n, const hy_real *dy, int add_w,
                                  hy_real *dw, int add_n, hy_real *dn)
{
    hy_real apart = 0, along = 0;
#pragma omp simd reduction(+ : apart, along)
    for (int64_t c = 0; c < width; c++) {
        apart += dy[c] * (d * w[c] - n[c]);
        along += dy[c] * (share->near * w[c] + share->far * n[c]);
        dw[c] = (add_w ? dw[c] : 0) + share->near * dy[c];
        dn[c] = (add_n ? dn[c] : 0) + share->far * dy[c];
    }
    apart *= share->near * share->one;
    return (struct gradients){share->lin * apart, -share->far * along, share->rest * apart};
}

static size_t joint_scratch(const struct hy_op *op)
{
    const struct hy_joint *s = op->attr;
    return op->pass == HY_BACKWARD ? (size_t)(s->heads * (s->value_width + 1)) * sizeof(hy_real)
                                   : 0;
}

static void joint_backward(const struct hy_op *op, int r)
{
    const struct hy_joint *s = op->attr;
    const int width = s->value_width, window = has_window(op, r);
    hy_real *sums = hy_real_data(op->scratch, r), *spare = sums + s->heads;
    const struct hy_rows n = hy_rows_of(op->in[N], r), d = hy_rows_of(op->in[D], r);
    const struct hy_rows w = window ? hy_rows_of(op->in[W], r) : n;
    const struct hy_rows dy = hy_rows_of(op->dout[Y], r);
    const struct hy_rows dw = hy_rows_din(op, W, r, spare), dx = hy_rows_din(op, X, r, spare);
    const struct hy_rows dn = hy_rows_din(op, N, r, spare), dd = hy_rows_din(op, D, r, spare);
    memset(sums, 0, (size_t)s->heads * sizeof *sums);
    for (int64_t i = 0; i < dy.rows; i++)
        for (int64_t h = 0; h < s->heads; h++) {
            const hy_real sum = hy_row(&d, i)[h];
            const struct shares share = window ? shares_of(op, r, i, h, sum) : shares_alone(sum);
            const int64_t c = h * width;
            const struct gradients g = back_head(width, &share, sum, hy_row(&w, i) + c,
                                                 hy_row(&n, i) + c, hy_row(&dy, i) + c, dw.add,
                                                 hy_row(&dw, i) + c, dn.add, hy_row(&dn, i) + c);
            hy_row(&dx, i)[h] = (dx.add ? hy_row(&dx, i)[h] : 0) + g.x;
            hy_row(&dd, i)[h] = (dd.add ? hy_row(&dd, i)[h] : 0) + g.d;
            sums[h] += g.factor;
        }
    hy_fold_din(op, FACTOR, r, sums);
}

/* ---- The operator ---- */

static void joint_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 3, 12, cost);
}

static double same(int64_t k, double x)
{
    (void)k;
    return x;
}

static int joint_example(struct hy_graph *g, int index)
{
    /* drops: 0: nothing says so; 1: not in this case; 2: it does. */
    static const struct {
        struct hy_joint s;
        int window, factor, drops, far;
    } cases[] = {
        {{2, 3, 0}, 1, 1, 0, 1}, {{2, 4, 1}, 1, 1, 1, 0}, {{3, 3, 1}, 1, 0, 0, 0},
        {{2, 3, 0}, 0, 0, 0, 1}, {{2, 5, 1}, 1, 1, 2, 1},
    };
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const struct hy_joint *s = &cases[index].s;
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t widths[] = {1, (int64_t)s->heads * s->value_width};
    struct hy_tensor *w[2], *n[2], *far;
    hy_graph_split(g, hy_graph_leaf(g, "n", rows, widths[0] + widths[1], -1, 1), 2, widths, n);
    struct hy_joint_in in = {.n = n[1], .d = hy_graph_leaf(g, "d", rows, s->heads, 0.1, 2)};
    if (cases[index].window) {
        hy_graph_split(g, hy_graph_leaf(g, "w", rows, widths[0] + widths[1], -1, 1), 2, widths, w);
        in.w = w[1];
        in.x = hy_graph_leaf(g, "x", rows, s->heads, 0, 3);
    }
    if (cases[index].factor)
        in.factor = hy_graph_leaf(g, "factor", 1, s->heads, -2, 2);
    if (cases[index].drops)
        in.dropped = hy_constant(g, 1, 1, same, cases[index].drops - 1);
    hy_joint(g, &in, s, cases[index].far ? &far : NULL);
    return 1;
}

const struct hy_op_kind hy_op_joint = {
    .name = "joint",
    .forward = joint_forward,
    .backward = joint_backward,
    .cost = joint_cost,
    .scratch = joint_scratch,
    .backward_in = 1u << W | 1u << X | 1u << N | 1u << D | 1u << FACTOR | 1u << DROPPED,
    .example = joint_example,
};

static int fits(struct hy_graph *g, const struct hy_joint_in *in, const struct hy_joint *s)
{
    const int64_t rows = in->n->rows, cols = (int64_t)s->heads * s->value_width;
    if (s->heads < 1 || s->value_width < 1) {
        hy_graph_fail(g, "joint: %d heads of width %d", s->heads, s->value_width);
        return 0;
    }
    return hy_has_shape(g, "joint", "n", in->n, rows, cols) &&
           hy_has_shape(g, "joint", "d", in->d, rows, s->heads) &&
           (!in->w || (hy_has_shape(g, "joint", "w", in->w, rows, cols) &&
                       hy_has_shape(g, "joint", "x", in->x, rows, s->heads))) &&
           (!in->factor || hy_has_shape(g, "joint", "factor", in->factor, 1, s->heads)) &&
           (!in->dropped || hy_has_shape(g, "joint", "dropped", in->dropped, 1, 1));
}

struct hy_tensor *hy_joint(struct hy_graph *g, const struct hy_joint_in *in,
                           const struct hy_joint *s, struct hy_tensor **far)
{
    struct hy_tensor *all[INPUTS] = {in->w, in->x, in->n, in->d, in->factor, in->dropped};
    struct hy_tensor *out[OUTPUTS] = {0};
    if (far)
        *far = NULL;
    if (!in->n || !in->d || !in->w != !in->x || !fits(g, in, s))
        return NULL;
    out[Y] = hy_graph_tensor(g, in->n->rows, in->n->cols);
    if (far)
        out[FAR] = hy_graph_tensor(g, in->n->rows, s->heads);
    if (!out[Y] || (far && !out[FAR]) ||
        !hy_graph_op(g, &hy_op_joint, INPUTS, all, OUTPUTS, out, s, sizeof *s))
        return NULL;
    if (far) {
        *far = out[FAR];
        (*far)->differentiable = 0;
    }
    return out[Y];
}
