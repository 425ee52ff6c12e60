/* choice.cu - the twin of choice.c. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/pack.cuh"

extern "C" {
#include "core/ops/choice.h"
}

__global__ static void forward(struct hy_span x, struct hy_span noise, struct hy_span temperature,
                               struct hy_span y, int is_soft, float gain)
{
    HY_EACH_PACK(1, x.rows, x.cols, i, c)
    {
        const float u = gain * hy_row(x, i)[c] + hy_row(noise, i)[c];
        hy_row(y, i)[c] = is_soft ? hy_sigmoid(u / *hy_row(temperature, 0)) : u > 0;
    }
}

__global__ static void backward(struct hy_span x, struct hy_span noise, struct hy_span temperature,
                                struct hy_span dy, struct hy_span dx, float gain)
{
    HY_EACH_PACK(1, x.rows, x.cols, i, c)
    {
        const float cold = *hy_row(temperature, 0);
        const float u = (gain * hy_row(x, i)[c] + hy_row(noise, i)[c]) / cold;
        const float slope = gain / cold * hy_sigmoid(u) * hy_sigmoid(-u);
        hy_pack<1> d;
        d.at[0] = slope * hy_row(dy, i)[c];
        hy_give(dx, i, c, d);
    }
}

static void choice_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_choice *s = (const struct hy_choice *)op->attr;
    const struct hy_span x = hy_span_of(op->in[0]);
    const struct hy_walk walk = hy_walk_of(at, x.rows, x.cols);
    hy_start(at, walk.grid, walk.block, 0, forward, x, hy_span_of(op->in[1]), hy_span_of(op->in[2]),
             hy_span_of(op->out[0]), s->is_soft, (float)s->gain);
}

static void choice_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_choice *s = (const struct hy_choice *)op->attr;
    const struct hy_span x = hy_span_of(op->in[0]), dx = hy_span_din(op, 0);
    const struct hy_walk walk = hy_walk_of(at, x.rows, x.cols);
    if (dx.data)
        hy_start(at, walk.grid, walk.block, 0, backward, x, hy_span_of(op->in[1]),
                 hy_span_of(op->in[2]), hy_span_of(op->dout[0]), dx, (float)s->gain);
}

HY_CUDA_KIND(choice) = {choice_forward, choice_backward, NULL};
