#include "core/model/optimizer.h"

#include <math.h>

int hy_adamw_init(struct hy_adamw *o, const struct hy_slab *params, struct hy_err *e)
{
    const int rc = hy_slab_like(&o->m, params, e);
    return rc ? rc : hy_slab_like(&o->v, params, e);
}

void hy_adamw_release(struct hy_adamw *o)
{
    hy_slab_release(&o->m);
    hy_slab_release(&o->v);
}

double hy_adamw_norm(const struct hy_slab *grads, int replica)
{
    enum { BLOCK = 4096 };
    const hy_real *g = grads->data + (int64_t)replica * grads->count;
    double sum = 0;
    for (int64_t at = 0; at < grads->count; at += BLOCK) {
        const int64_t end = at + BLOCK < grads->count ? at + BLOCK : grads->count;
        hy_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = at; i < end; i++)
            part += g[i] * g[i];
        sum += (double)part;
    }
    return sqrt(sum);
}

void hy_adamw_step(struct hy_adamw *o, struct hy_slab *params, const struct hy_slab *grads,
                   int replica, int64_t step, double lr, double weight_decay, double clip,
                   double norm)
{
    const int64_t base = (int64_t)replica * params->count;
    const double correct1 = 1 - pow(o->beta1, (double)step);
    const double correct2 = 1 - pow(o->beta2, (double)step);
    const hy_real scale = (hy_real)(clip > 0 && norm > clip ? clip / norm : 1);
    const hy_real b1 = (hy_real)o->beta1, b2 = (hy_real)o->beta2, eps = (hy_real)o->eps;
    const hy_real rate = (hy_real)(lr / correct1), root = (hy_real)(1 / sqrt(correct2));
    for (int k = 0; k < params->entry_count; k++) {
        const struct hy_entry *entry = &params->entries[k];
        const hy_real keep = (hy_real)(entry->decays ? 1 - lr * weight_decay : 1);
        hy_real *restrict w = params->data + base + entry->offset;
        hy_real *restrict m = o->m.data + base + entry->offset;
        hy_real *restrict v = o->v.data + base + entry->offset;
        const hy_real *restrict g = grads->data + base + entry->offset;
#pragma omp simd
        for (int64_t i = 0; i < entry->count; i++) {
            const hy_real slope = g[i] * scale;
            m[i] = b1 * m[i] + (1 - b1) * slope;
            v[i] = b2 * v[i] + (1 - b2) * slope * slope;
#ifdef HY_DOUBLE
            const hy_real deviation = sqrt(v[i]);
#else
            const hy_real deviation = sqrtf(v[i]);
#endif
            w[i] = keep * w[i] - rate * m[i] / (deviation * root + eps);
        }
    }
}

double hy_schedule_lr(const struct hy_schedule *s, int64_t step)
{
    if (step <= s->warmup)
        return s->lr * (double)step / (double)s->warmup;
    if (!s->cosine)
        return s->lr;
    const double rest = (double)(s->steps - s->warmup);
    const double done = rest > 0 ? (double)(step - s->warmup) / rest : 1;
    return s->lr * (s->end + (1 - s->end) * 0.5 * (1 + cos(3.14159265358979323846 * done)));
}
