/* rope.cu - the twin of rope.c. The angle of a token and channel is computed once for a few
 * sequences and all heads, in double: float would not hold the angle of a late token. */
#include "core/graph/cuda.cuh"

extern "C" {
#include "core/ops/support/attr.h"
}

enum { SEQUENCES = 4 }; /* that share an angle */

/* y = [y.add: y +] x rotated; sign -1 rotates back, which is also how gradients go. Rows of the
 * walk are tokens, its columns channels; blockIdx.y is the group of sequences. */
__global__ static void rotate(struct hy_rope_attr s, const int *position, int64_t batch,
                              int64_t tokens, struct hy_span x, struct hy_span y, float sign)
{
    const int64_t first = (int64_t)blockIdx.y * SEQUENCES;
    const int64_t end = first + SEQUENCES < batch ? first + SEQUENCES : batch;
    /* Channels that stay as they are follow those that turn. */
    HY_EACH(tokens, s.width - s.half, t, i)
    {
        if (i >= s.half) {
            for (int64_t b = first; b < end; b++)
                for (int64_t h = 0; h < s.heads; h++) {
                    const int64_t c = h * s.width + s.half + i;
                    float *to = hy_row(y, b * tokens + t) + c;
                    *to = (y.add ? *to : 0) + hy_row(x, b * tokens + t)[c];
                }
            continue;
        }
        const double frequency = pow(s.base, -(double)i / (double)s.half);
        double sine, cosine;
        sincos((double)(*position + t) * frequency, &sine, &cosine);
        const float c = (float)cosine, turn = sign * (float)sine;
        for (int64_t b = first; b < end; b++)
            for (int64_t h = 0; h < s.heads; h++) {
                const float *from = hy_row(x, b * tokens + t) + h * s.width + i;
                float *to = hy_row(y, b * tokens + t) + h * s.width + i;
                const float a = from[0], o = from[s.half];
                to[0] = (y.add ? to[0] : 0) + (a * c - o * turn);
                to[s.half] = (y.add ? to[s.half] : 0) + (o * c + a * turn);
            }
    }
}

static void launch(const struct hy_op *op, const struct hy_launch *at, const struct hy_span &x,
                   const struct hy_span &y, float sign)
{
    const struct hy_rope_attr s = *(const struct hy_rope_attr *)op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    struct hy_walk walk = hy_walk_of(at, shape->tokens, s.width - s.half);
    walk.grid.y = (unsigned)((shape->batch + SEQUENCES - 1) / SEQUENCES);
    hy_start(at, walk.grid, walk.block, 0, rotate, s, at->position, shape->batch, shape->tokens, x,
             y, sign);
}

static void rope_forward(const struct hy_op *op, const struct hy_launch *at)
{
    launch(op, at, hy_span_of(op->in[0]), hy_span_of(op->out[0]), 1);
}

static void rope_backward(const struct hy_op *op, const struct hy_launch *at)
{
    launch(op, at, hy_span_of(op->dout[0]), hy_span_din(op, 0), -1);
}

HY_CUDA_KIND(rope) = {rope_forward, rope_backward, NULL};
