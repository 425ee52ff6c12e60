#include "core/ops/rope.h"

#include "core/ops/support/attr.h"
#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

/* The angles of one position, and how far each turns per token. */
struct angles {
    double *cosine, *sine, *step_cosine, *step_sine; /* [half] */
    hy_real *c, *s;                                  /* cosine and sine in the engine's number */
};

static size_t rope_scratch(const struct hy_op *op)
{
    const struct hy_rope_attr *s = op->attr;
    return (size_t)s->half * (4 * sizeof(double) + 2 * sizeof(hy_real));
}

static struct angles angles_start(const struct hy_rope_attr *s, int position, void *scratch)
{
    const int64_t n = s->half;
    double *d = scratch;
    const struct angles a = {
        d, d + n, d + 2 * n, d + 3 * n, (hy_real *)(d + 4 * n), (hy_real *)(d + 4 * n) + n};
    for (int64_t i = 0; i < n; i++) {
        const double frequency = pow(s->base, -(double)i / (double)n);
        a.cosine[i] = cos(position * frequency);
        a.sine[i] = sin(position * frequency);
        a.step_cosine[i] = cos(frequency);
        a.step_sine[i] = sin(frequency);
        a.c[i] = (hy_real)a.cosine[i];
        a.s[i] = (hy_real)a.sine[i];
    }
    return a;
}

/* Turning by the addition theorem, in double, spares a cosine per token and channel; its error
 * grows by 1e-16 a token. */
static void angles_turn(const struct angles *a, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const double c = a->cosine[i] * a->step_cosine[i] - a->sine[i] * a->step_sine[i];
        const double s = a->sine[i] * a->step_cosine[i] + a->cosine[i] * a->step_sine[i];
        a->cosine[i] = c;
        a->sine[i] = s;
        a->c[i] = (hy_real)c;
        a->s[i] = (hy_real)s;
    }
}

/* y = [add: y +] x rotated; sign -1 rotates back, which is also how gradients go. */
static void rotate(const struct hy_op *op, int r, const struct hy_rows *x, const struct hy_rows *y,
                   hy_real sign)
{
    const struct hy_rope_attr *s = op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t half = s->half;
    const struct angles a = angles_start(s, op->graph->position, hy_data(op->scratch, r));
    for (int64_t t = 0; t < shape->tokens; t++) {
        for (int64_t b = 0; b < shape->batch; b++) {
            hy_row_fetch(x, b * shape->tokens + t);
            hy_row_fetch(y, b * shape->tokens + t);
            for (int64_t h = 0; h < s->heads; h++) {
                const hy_real *from = hy_row(x, b * shape->tokens + t) + h * s->width;
                hy_real *to = hy_row(y, b * shape->tokens + t) + h * s->width;
#pragma omp simd
                for (int64_t i = 0; i < half; i++) {
                    const hy_real c = a.c[i], sine = sign * a.s[i];
                    const hy_real first = from[i] * c - from[half + i] * sine;
                    const hy_real second = from[half + i] * c + from[i] * sine;
                    to[i] = (y->add ? to[i] : 0) + first;
                    to[half + i] = (y->add ? to[half + i] : 0) + second;
                }
                for (int64_t i = 2 * half; i < s->width; i++)
                    to[i] = (y->add ? to[i] : 0) + from[i];
            }
        }
        angles_turn(&a, half);
    }
}

static void rope_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    rotate(op, r, &x, &y, 1);
}

static void rope_backward(const struct hy_op *op, int r)
{
    const struct hy_rows dy = hy_rows_of(op->dout[0], r), dx = hy_rows_din(op, 0, r, NULL);
    rotate(op, r, &dy, &dx, -1);
}

static void rope_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 3, 3, cost);
}

static int rope_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 15, -1, 1), 2, (int64_t[]){3, 12}, views);
    hy_rope_part(g, views[1], 2, index ? 2 : 6, 100);
    return 1;
}

const struct hy_op_kind hy_op_rope = {
    .name = "rope",
    .forward = rope_forward,
    .backward = rope_backward,
    .cost = rope_cost,
    .scratch = rope_scratch,
    .example = rope_example,
};

struct hy_tensor *hy_rope_part(struct hy_graph *g, struct hy_tensor *x, int heads, int64_t rotated,
                               double base)
{
    if (!x)
        return NULL;
    if (heads < 1 || x->cols % heads || rotated < 2 || rotated % 2 || rotated > x->cols / heads)
        return hy_graph_fail(g,
                             "rope: %lld columns are no %d heads with an even number of rotated "
                             "channels, of which there are %lld",
                             (long long)x->cols, heads, (long long)rotated);
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    if (!hy_has_shape(g, "rope", "x", x, rows, x->cols))
        return NULL;
    const struct hy_rope_attr s = {heads, x->cols / heads, rotated / 2, base};
    return hy_record(g, &hy_op_rope, 1, &x, x->rows, x->cols, &s, sizeof s);
}

struct hy_tensor *hy_rope(struct hy_graph *g, struct hy_tensor *x, int heads, double base)
{
    return hy_rope_part(g, x, heads, x && heads > 0 ? x->cols / heads : 0, base);
}
