#include "core/ops/features/transfer_query.h"

#include "core/ops/support/attention.h"

/* log 1e-12 */
static const hy_real log_floor = (hy_real)-27.631021115928547;

/* Loops over keys take whole vectors, and leave out what is not theirs by its number. */
static int32_t down(int32_t n)
{
    return n / HY_LANES * HY_LANES;
}
static int32_t up(int32_t n)
{
    return down(n + HY_LANES - 1);
}

/* The teacher's scores become e^(score - max); returns their sum, and log sum exp. */
static hy_real exponentials(hy_real *p, int32_t count, hy_real *lse)
{
    const int32_t n = up(count);
    hy_real max;
    for (int32_t j = count; j < n; j++)
        p[j] = -INFINITY;
    const hy_real sum = hy_attention_exponentials(p, n, &max);
    *lse = max + hy_log(sum);
    return sum;
}

static hy_real largest_in_window(const struct hy_transfer_terms *w)
{
    const int32_t low = w->low, high = w->high, n = up(high);
    const hy_real *l = w->l;
    hy_real max = -INFINITY;
#pragma omp simd reduction(max : max)
    for (int32_t j = down(low); j < n; j++) {
        const hy_real own = j >= low && j < high ? l[j] : -INFINITY;
        max = own > max ? own : max;
    }
    return max;
}

static hy_real window_sum(const struct hy_transfer_terms *w, hy_real max)
{
    const int32_t low = w->low, high = w->high, n = up(high);
    const hy_real *l = w->l;
    hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int32_t j = down(low); j < n; j++)
        sum += hy_exp((j >= low && j < high ? l[j] : -INFINITY) - max);
    return sum;
}

static hy_real far_sum(const hy_real *u, int32_t low)
{
    const int32_t n = up(low);
    hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int32_t j = 0; j < n; j++)
        sum += j < low ? u[j] : 0;
    return sum;
}

/* Terms of one kind: sum p log a, and the sum of p where a is above the floor. */
struct sums {
    hy_real loss, mass;
};

/* What u is where a is at the floor; never 0, lest u be divided by. */
static hy_real floor_of(const struct hy_transfer_mix *m, hy_real log_sum)
{
    const hy_real u = hy_exp(log_floor + log_sum - m->log_lin);
    return u > HY_LEAST_NORMAL ? u : HY_LEAST_NORMAL;
}

static struct sums far_terms(const struct hy_transfer_terms *w, const struct hy_transfer_mix *m,
                             hy_real log_sum)
{
    const int32_t low = w->low, n = up(low);
    const hy_real lowest = floor_of(m, log_sum), log_scale = m->log_lin - log_sum;
    const hy_real *p = w->p, *u = w->u;
    hy_real loss = 0, mass = 0;
#pragma omp simd reduction(+ : loss, mass)
    for (int32_t j = 0; j < n; j++) {
        const hy_real share = j < low ? p[j] : 0, log_a = hy_log(u[j]) + log_scale;
        loss += share * (u[j] >= lowest ? log_a : log_floor);
        mass += u[j] >= lowest ? share : 0;
    }
    return (struct sums){loss, mass};
}

static struct sums window_terms(const struct hy_transfer_terms *w, hy_real log_scale)
{
    const int32_t low = w->low, high = w->high, n = up(high);
    const hy_real *p = w->p, *l = w->l;
    hy_real loss = 0, mass = 0;
#pragma omp simd reduction(+ : loss, mass)
    for (int32_t j = down(low); j < n; j++) {
        const hy_real share = j >= low && j < high ? p[j] : 0, log_a = l[j] + log_scale;
        loss += share * (log_a >= log_floor ? log_a : log_floor);
        mass += log_a >= log_floor ? share : 0;
    }
    return (struct sums){loss, mass};
}

hy_real hy_transfer_query(const struct hy_transfer_terms *w, const struct hy_transfer_mix *m,
                          hy_real *told)
{
    const int windowed = w->low < w->high;
    const hy_real share = 1 / exponentials(w->p, w->high, &told[HY_TOLD_LSE]);
    const hy_real max = windowed ? largest_in_window(w) : 0;
    const hy_real within = windowed ? window_sum(w, max) : 0;
    const hy_real near = m->gamma * within, far = m->lin * far_sum(w->u, w->low);
    const hy_real sum = near + far > HY_LEAST_NORMAL ? near + far : HY_LEAST_NORMAL;
    struct sums outside, inside = {0, 0};
    /* Alone, the window's terms are what they are however small gamma is. */
    told[HY_TOLD_LOG_SUM] = w->low ? hy_log(sum) : m->log_gamma + hy_log(within);
    outside = far_terms(w, m, told[HY_TOLD_LOG_SUM]);
    if (windowed)
        inside = window_terms(w, m->log_gamma - max - told[HY_TOLD_LOG_SUM]);
    told[HY_TOLD_MASS] = share * (outside.mass + inside.mass);
    /* Of two equal differences the one with the smaller terms. */
    told[HY_TOLD_PULL] = near < far ? told[HY_TOLD_MASS] * (near / sum) - share * inside.mass
                                    : share * outside.mass - told[HY_TOLD_MASS] * (far / sum);
    return -share * (outside.loss + inside.loss);
}

void hy_transfer_query_far(const struct hy_transfer_terms *w, const struct hy_transfer_mix *m,
                           const hy_real *told, hy_real dy, int64_t end)
{
    const int32_t n = down((int32_t)end), low = w->low;
    const hy_real lowest = floor_of(m, told[HY_TOLD_LOG_SUM]), lse = told[HY_TOLD_LSE];
    const hy_real even = told[HY_TOLD_MASS] * hy_exp(m->log_lin - told[HY_TOLD_LOG_SUM]);
    const hy_real *p = w->p;
    hy_real *u = w->u;
#pragma omp simd
    for (int32_t j = 0; j < n; j++) {
        const hy_real own = u[j] >= lowest ? hy_exp(p[j] - lse) / u[j] : 0;
        u[j] = j < low ? dy * (even - own) : 0;
    }
}

void hy_transfer_query_window(const struct hy_transfer_terms *w, const struct hy_transfer_mix *m,
                              const hy_real *told, hy_real dy, int64_t first, int64_t end)
{
    const int32_t n = down((int32_t)end), low = w->low, high = w->high;
    const hy_real max = largest_in_window(w), lse = told[HY_TOLD_LSE], mass = told[HY_TOLD_MASS];
    const hy_real log_scale = m->log_gamma - max - told[HY_TOLD_LOG_SUM], *p = w->p;
    hy_real *l = w->l;
    int32_t at = low;
    while (l[at] != max && at < high - 1)
        at++;
#pragma omp simd
    for (int32_t j = down((int32_t)first); j < n; j++) {
        const hy_real log_a = l[j] + log_scale;
        const hy_real own = log_a >= log_floor ? hy_exp(p[j] - lse) : 0;
        l[j] = j >= low && j < high ? dy * (mass * hy_exp(log_a) - own) : 0;
    }
    l[at] -= dy * told[HY_TOLD_PULL];
}
