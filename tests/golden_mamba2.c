/* golden_mamba2.c - mamba2_ssd: q = C, k = B, which groups of heads share, v = dt x, g = dt A; D x
 * is added to o. */
#include "tests/golden.h"

struct mamba2 {
    const float *x, *dt, *a, *d, *grad_o;
};

static int open_mamba2(const struct run *r, struct mamba2 *m)
{
    *m = (struct mamba2){input(r, "x"), input(r, "dt"), input(r, "A"), input(r, "D"),
                         input(r, "grad_o")};
    return m->x && m->dt && m->a && m->d && m->grad_o ? 0 : -1;
}

struct hy_tensor *build_mamba2(struct run *r)
{
    r->q = leaf(r, "C", (int64_t)number(r, "G") * r->key_width);
    r->k = leaf(r, "B", (int64_t)number(r, "G") * r->key_width);
    return build_by_head(r);
}

int prepare_mamba2(struct run *r)
{
    struct mamba2 m;
    if (open_mamba2(r, &m))
        return -1;
    float *v = hy_input(r->v, 0), *g = hy_input(r->g, 0);
    for (int64_t i = 0; i < r->g->rows * r->heads; i++) {
        g[i] = m.dt[i] * m.a[i % r->heads];
        for (int c = 0; c < r->value_width; c++)
            v[i * r->value_width + c] = m.dt[i] * m.x[i * r->value_width + c];
    }
    return 0;
}

int finish_mamba2(struct run *r)
{
    struct mamba2 m;
    const int64_t rows = r->g->rows * r->heads;
    float *o = find_result(r, "o"), *d_x = add_result(r, "d_x", rows * r->value_width);
    float *d_dt = add_result(r, "d_dt", rows), *d_a = add_result(r, "d_A", r->heads);
    float *d_d = add_result(r, "d_D", r->heads);
    if (open_mamba2(r, &m) || take_result(r, "d_B", r->k->grad) ||
        take_result(r, "d_C", r->q->grad) || take_result(r, "d_v", r->v->grad) ||
        take_result(r, "d_g", r->g->grad) || (r->h0 && take_result(r, "d_h0", r->h0->grad)))
        return -1;
    if (!o || !d_x || !d_dt || !d_a || !d_d)
        return -1;
    const float *dv = find_result(r, "d_v"), *dg = find_result(r, "d_g");
    for (int64_t i = 0; i < rows; i++) {
        const int64_t head = i % r->heads;
        double sum = m.a[head] * (double)dg[i];
        for (int c = 0; c < r->value_width; c++) {
            const int64_t at = i * r->value_width + c;
            o[at] += m.d[head] * m.x[at];
            d_x[at] = (float)(m.dt[i] * dv[at] + m.d[head] * m.grad_o[at]);
            d_d[head] += m.grad_o[at] * m.x[at];
            sum += (double)m.x[at] * dv[at];
        }
        d_dt[i] = (float)sum;
        d_a[head] += (float)(m.dt[i] * dg[i]);
    }
    return 0;
}
