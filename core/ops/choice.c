#include "core/ops/choice.h"

#include "core/ops/constant.h"
#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

static void choice_forward(const struct hy_op *op, int r)
{
    const struct hy_choice *s = op->attr;
    const struct hy_rows x = hy_rows_of(op->in[0], r), noise = hy_rows_of(op->in[1], r);
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    const hy_real temperature = *hy_real_data(op->in[2], r), gain = (hy_real)s->gain;
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t c = 0; c < x.cols; c++) {
            const hy_real u = gain * hy_row(&x, i)[c] + hy_row(&noise, i)[c];
            hy_row(&y, i)[c] = s->is_soft ? hy_sigmoid(u / temperature) : u > 0;
        }
}

static void choice_backward(const struct hy_op *op, int r)
{
    const struct hy_choice *s = op->attr;
    const struct hy_rows x = hy_rows_of(op->in[0], r), noise = hy_rows_of(op->in[1], r);
    const struct hy_rows dy = hy_rows_of(op->dout[0], r), dx = hy_rows_din(op, 0, r, NULL);
    const hy_real temperature = *hy_real_data(op->in[2], r), gain = (hy_real)s->gain;
    for (int64_t i = 0; dx.data && i < x.rows; i++)
        for (int64_t c = 0; c < x.cols; c++) {
            const hy_real u = (gain * hy_row(&x, i)[c] + hy_row(&noise, i)[c]) / temperature;
            /* Both factors exactly: 1 - sigmoid(u) would be 0 where u is large. */
            const hy_real slope = gain / temperature * hy_sigmoid(u) * hy_sigmoid(-u);
            hy_real *d = &hy_row(&dx, i)[c];
            *d = (dx.add ? *d : 0) + slope * hy_row(&dy, i)[c];
        }
}

static void choice_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 6, 12, cost);
}

static double temperature_of(int64_t k, double index)
{
    (void)k;
    return index > 0 ? 0.4 : 1;
}

static double noise_of(int64_t k, double unused)
{
    (void)unused;
    return (double)(k - 1);
}

/* The soft form: that of the hard one is no gradient of its value. */
static int choice_example(struct hy_graph *g, int index)
{
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "logits", 1, 5, -2, 2), 2, (int64_t[]){2, 3}, views);
    hy_choice(g, views[1], hy_constant(g, 1, 3, noise_of, 0),
              hy_constant(g, 1, 1, temperature_of, index), HY_CHOICE_SOFT, index ? 3 : 1);
    return 1;
}

const struct hy_op_kind hy_op_choice = {
    .name = "choice",
    .forward = choice_forward,
    .backward = choice_backward,
    .cost = choice_cost,
    .backward_in = 1u << 0 | 1u << 1 | 1u << 2,
    .example = choice_example,
};

struct hy_tensor *hy_choice(struct hy_graph *g, struct hy_tensor *logit, struct hy_tensor *noise,
                            struct hy_tensor *temperature, enum hy_choice_form form, double gain)
{
    const struct hy_choice s = {.is_soft = form == HY_CHOICE_SOFT, .gain = gain};
    if (!logit || !noise || !temperature ||
        !hy_has_shape(g, "choice", "noise", noise, logit->rows, logit->cols) ||
        !hy_has_shape(g, "choice", "temperature", temperature, 1, 1))
        return NULL;
    return hy_record(g, &hy_op_choice, 3, (struct hy_tensor *[]){logit, noise, temperature},
                     logit->rows, logit->cols, &s, sizeof s);
}
