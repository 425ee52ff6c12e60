#include "core/model/optimizer.h"

#include <math.h>
#include <stdlib.h>

int hy_adamw_plan(struct hy_adamw *o, const struct hy_slab *params, const struct hy_slab *grads,
                  struct hy_err *e)
{
    hy_slab_init(&o->m, params->replicas);
    o->m.device = params->device;
    o->entries = malloc(((size_t)params->entry_count + 1) * sizeof *o->entries);
    if (!o->entries)
        return hy_fail_memory(e);
    for (int i = 0; i < params->entry_count; i++) {
        const struct hy_entry *entry = &params->entries[i];
        const int grad = entry->frozen ? -1 : hy_slab_find(grads, entry->name);
        if (grad < 0)
            continue;
        const int at = hy_slab_add(&o->m, entry, e);
        if (at < 0)
            return e->code;
        o->entries[at] = (struct hy_trained_entry){
            .param = entry->offset,
            .grad = grads->entries[grad].offset,
            .moment = o->m.entries[at].offset,
            .count = entry->count,
            .decays = entry->decays,
        };
    }
    return HY_OK;
}

int hy_adamw_allocate(struct hy_adamw *o, struct hy_err *e)
{
    const int rc = hy_slab_allocate(&o->m, e);
    return rc ? rc : hy_slab_like(&o->v, &o->m, e);
}

int hy_adamw_init(struct hy_adamw *o, const struct hy_slab *params, const struct hy_slab *grads,
                  struct hy_err *e)
{
    const int rc = hy_adamw_plan(o, params, grads, e);
    return rc ? rc : hy_adamw_allocate(o, e);
}

void hy_adamw_release(struct hy_adamw *o)
{
    hy_slab_release(&o->m);
    hy_slab_release(&o->v);
    free(o->entries);
    o->entries = NULL;
}

int hy_adamw_reset(struct hy_adamw *o, int replica, struct hy_err *e)
{
    hy_real *zeros = calloc((size_t)o->m.count + 1, sizeof *zeros);
    int rc = zeros ? hy_slab_write(&o->m, replica, zeros, e) : hy_fail_memory(e);
    if (!rc)
        rc = hy_slab_write(&o->v, replica, zeros, e);
    free(zeros);
    return rc;
}

static double sum_of_squares(const hy_real *g, int64_t count)
{
    enum { BLOCK = 4096 };
    double sum = 0;
    for (int64_t at = 0; at < count; at += BLOCK) {
        const int64_t end = at + BLOCK < count ? at + BLOCK : count;
        hy_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = at; i < end; i++)
            part += g[i] * g[i];
        sum += (double)part;
    }
    return sum;
}

double hy_adamw_norm(const struct hy_adamw *o, const struct hy_slab *grads, int replica)
{
    const hy_real *g = grads->data + (int64_t)replica * grads->count;
    double sum = 0;
    /* Whatever lies side by side is summed in one go: the order of sums is that of the memory. */
    for (int i = 0, next; i < o->m.entry_count; i = next) {
        int64_t count = o->entries[i].count;
        for (next = i + 1;
             next < o->m.entry_count && o->entries[next].grad == o->entries[i].grad + count; next++)
            count += o->entries[next].count;
        sum += sum_of_squares(g + o->entries[i].grad, count);
    }
    return sqrt(sum);
}

void hy_adamw_step(struct hy_adamw *o, struct hy_slab *params, const struct hy_slab *grads,
                   int replica, int64_t step, double lr, double weight_decay, double clip,
                   double norm)
{
    const int64_t of_params = (int64_t)replica * params->count;
    const int64_t of_grads = (int64_t)replica * grads->count;
    const int64_t of_moments = (int64_t)replica * o->m.count;
    const double correct1 = 1 - pow(o->beta1, (double)step);
    const double correct2 = 1 - pow(o->beta2, (double)step);
    const hy_real scale = (hy_real)(clip > 0 && norm > clip ? clip / norm : 1);
    const hy_real b1 = (hy_real)o->beta1, b2 = (hy_real)o->beta2, eps = (hy_real)o->eps;
    const hy_real rate = (hy_real)(lr / correct1), root = (hy_real)(1 / sqrt(correct2));
    for (int k = 0; k < o->m.entry_count; k++) {
        const struct hy_trained_entry *entry = &o->entries[k];
        const hy_real keep = (hy_real)(entry->decays ? 1 - lr * weight_decay : 1);
        hy_real *restrict w = params->data + of_params + entry->param;
        hy_real *restrict m = o->m.data + of_moments + entry->moment;
        hy_real *restrict v = o->v.data + of_moments + entry->moment;
        const hy_real *restrict g = grads->data + of_grads + entry->grad;
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
