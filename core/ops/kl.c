#include "core/ops/kl.h"

#include <math.h>

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

enum { STUDENT, TEACHER, LABELS };

/* log sum_c e^(z_c / T). */
static hy_real log_sum(const hy_real *z, int64_t count, hy_real cool)
{
    hy_real top = z[0], sum = 0;
#pragma omp simd reduction(max : top)
    for (int64_t c = 0; c < count; c++)
        top = z[c] > top ? z[c] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < count; c++)
        sum += hy_exp((z[c] - top) * cool);
    return top * cool + (hy_real)log((double)sum);
}

/* One row's logits, and what makes log probabilities of them: z_c / T - shift. */
struct row {
    const hy_real *s, *t;
    hy_real cool, shift_s, shift_t;
    int64_t count;
};

static struct row row_of(const struct hy_op *op, int r, int64_t i)
{
    const struct hy_rows s = hy_rows_of(op->in[STUDENT], r), t = hy_rows_of(op->in[TEACHER], r);
    struct row row = {.s = hy_row(&s, i), .t = hy_row(&t, i), .count = s.cols};
    row.cool = (hy_real)(1 / *(const double *)op->attr);
    row.shift_s = log_sum(row.s, row.count, row.cool);
    row.shift_t = log_sum(row.t, row.count, row.cool);
    return row;
}

static hy_real divergence(const struct row *w)
{
    hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < w->count; c++) {
        const hy_real teacher = w->t[c] * w->cool - w->shift_t;
        sum += hy_exp(teacher) * (teacher - (w->s[c] * w->cool - w->shift_s));
    }
    return sum;
}

static void kl_forward(const struct hy_op *op, int r)
{
    const int32_t *labels = hy_data(op->in[LABELS], r);
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    for (int64_t i = 0; i < y.rows; i++) {
        *hy_row(&y, i) = 0;
        if (labels[i] < 0)
            continue;
        const struct row row = row_of(op, r, i);
        *hy_row(&y, i) = divergence(&row) / (row.cool * row.cool);
    }
}

/* d y / d s_c = T (p_c - q_c), d y / d t_c = T q_c (log(q_c / p_c) - KL), with p the student's
 * probabilities and q the teacher's. */
static void backward_row(const struct row *w, hy_real dy, hy_real *ds, int add_s, hy_real *dt,
                         int add_t)
{
    const hy_real scale = dy / w->cool, mean = dt ? divergence(w) : 0;
#pragma omp simd
    for (int64_t c = 0; c < w->count; c++) {
        const hy_real student = w->s[c] * w->cool - w->shift_s;
        const hy_real teacher = w->t[c] * w->cool - w->shift_t;
        const hy_real q = hy_exp(teacher);
        if (ds)
            ds[c] = (add_s ? ds[c] : 0) + scale * (hy_exp(student) - q);
        if (dt)
            dt[c] = (add_t ? dt[c] : 0) + scale * q * (teacher - student - mean);
    }
}

static void kl_backward(const struct hy_op *op, int r)
{
    const int32_t *labels = hy_data(op->in[LABELS], r);
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows ds = hy_rows_din(op, STUDENT, r, NULL);
    const struct hy_rows dt = hy_rows_din(op, TEACHER, r, NULL);
    hy_clear_din(op, STUDENT, r);
    hy_clear_din(op, TEACHER, r);
    for (int64_t i = 0; i < dy.rows; i++) {
        if (labels[i] < 0)
            continue;
        const struct row row = row_of(op, r, i);
        backward_row(&row, *hy_row(&dy, i), ds.data ? hy_row(&ds, i) : NULL, ds.add,
                     dt.data ? hy_row(&dt, i) : NULL, dt.add);
    }
}

static void kl_cost(const struct hy_op *op, struct hy_cost *cost)
{
    cost->flops = 8 * (double)(op->in[STUDENT]->rows * op->in[STUDENT]->cols);
    cost->bytes = hy_op_bytes(op);
}

static int kl_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t vocab = index ? 40 : 5;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "logits", rows, 2 * vocab, -2, 2), 2,
                   (int64_t[]){vocab, vocab}, views);
    hy_kl(g, views[0], views[1], hy_graph_input(g, "labels", HY_INT32, rows, 1), index ? 2 : 1);
    return 1;
}

const struct hy_op_kind hy_op_kl = {
    .name = "kl",
    .forward = kl_forward,
    .backward = kl_backward,
    .cost = kl_cost,
    .backward_in = 1u << STUDENT | 1u << TEACHER | 1u << LABELS,
    .example = kl_example,
};

struct hy_tensor *hy_kl(struct hy_graph *g, struct hy_tensor *student, struct hy_tensor *teacher,
                        struct hy_tensor *labels, double temperature)
{
    if (!student || !teacher || !labels ||
        !hy_has_shape(g, "kl", "the teacher's logits", teacher, student->rows, student->cols) ||
        !hy_has_shape(g, "kl", "labels", labels, student->rows, 1))
        return NULL;
    if (labels->dtype != HY_INT32)
        return hy_graph_fail(g, "kl: labels are not integers");
    return hy_record(g, &hy_op_kl, 3, (struct hy_tensor *[]){student, teacher, labels},
                     student->rows, 1, &temperature, sizeof temperature);
}
