#include "core/ops/scan/pair.h"

#include <stddef.h>

enum { L = HY_LANES };

void hy_pair_between(const hy_real *step, hy_real *between)
{
    const hy_vec one = hy_vec_all(1);
    hy_vec decay = {0};
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) {
        decay = decay * step[i] + hy_vec_only(one, i);
        hy_vec_store(between + i * L, decay);
    }
}

static void forward_by_channel(const struct hy_pair *p, const hy_real *x, const hy_real *y_turned,
                               hy_real *out)
{
    hy_vec sum[L] = {0};
    for (int64_t c = 0; c < p->width; c++) {
        const hy_vec y = hy_vec_load(y_turned + c * L);
        hy_vec decayed = {0}; /* lane j: y_j as it has come down to row i */
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) {
            decayed = decayed * p->step[i * p->width + c] + hy_vec_only(y, i);
            sum[i] += decayed * x[i * p->width + c];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; i++)
        hy_vec_store(out + i * L, sum[i]);
}

void hy_pair_forward(const struct hy_pair *p, const hy_real *x, const hy_real *y_turned,
                     hy_real *out)
{
    if (!p->between) {
        forward_by_channel(p, x, y_turned, out);
        return;
    }
    hy_micro_mul(HY_PRECISION_FLOAT32, L, L, p->width, (struct hy_left){x, p->width, 1}, y_turned,
                 L, NULL, NULL, out, L);
    for (int i = 0; i < L; i++)
        hy_vec_store(out + i * L, hy_vec_load(out + i * L) * hy_vec_load(p->between + i * L));
}

/* One vector of channels: dx_i = sum over j <= i of grad_ij times y_j as it has come down to row i.
 */
static void backward_left(int64_t width, const hy_real *step, const hy_real *grad, const hy_real *y,
                          hy_real *dx)
{
    hy_vec decayed[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) {
        const hy_vec factor = hy_vec_load(step + i * width);
        decayed[i] = hy_vec_load(y + i * width);
        hy_vec sum = hy_vec_load(dx + i * width) + grad[i * L + i] * decayed[i];
#pragma GCC unroll 16
        for (int j = 0; j < i; j++) {
            decayed[j] *= factor;
            sum += grad[i * L + j] * decayed[j];
        }
        hy_vec_store(dx + i * width, sum);
    }
}

/* dy_j = sum over i >= j of grad_ij times x_i as its reading decays back to row j. */
static void backward_right(int64_t width, const hy_real *step, const hy_real *grad,
                           const hy_real *x, hy_real *dy)
{
    hy_vec decayed[L], factor = {0};
#pragma GCC unroll 16
    for (int j = L - 1; j >= 0; j--) {
        decayed[j] = hy_vec_load(x + j * width);
        hy_vec sum = hy_vec_load(dy + j * width) + grad[j * L + j] * decayed[j];
#pragma GCC unroll 16
        for (int i = j + 1; i < L; i++) {
            decayed[i] *= factor;
            sum += grad[i * L + j] * decayed[i];
        }
        hy_vec_store(dy + j * width, sum);
        factor = hy_vec_load(step + j * width);
    }
}

void hy_pair_backward(const struct hy_pair *p, hy_real *grad, const hy_real *x, const hy_real *y,
                      hy_real *dx, hy_real *dy)
{
    const int64_t width = p->width;
    if (!p->between) {
        for (int64_t c = 0; c < width; c += L) {
            backward_left(width, p->step + c, grad, y + c, dx + c);
            backward_right(width, p->step + c, grad, x + c, dy + c);
        }
        return;
    }
    for (int i = 0; i < L; i++)
        hy_vec_store(grad + i * L, hy_vec_load(grad + i * L) * hy_vec_load(p->between + i * L));
    hy_micro_mul(HY_PRECISION_FLOAT32, L, width, L, (struct hy_left){grad, L, 1}, y, width, dx,
                 NULL, dx, width);
    hy_micro_mul(HY_PRECISION_FLOAT32, L, width, L, (struct hy_left){grad, 1, L}, x, width, dy,
                 NULL, dy, width);
}
