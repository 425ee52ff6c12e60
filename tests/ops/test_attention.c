/* Softmax attention equals its definition, value and gradient, for every kind of window; and the
 * excess of log sum exp is precise where scores are large, and takes the first of equal ones. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/ops/attention.h"
#include "tests/support/definition.h"

/* ---- definitions ---- */

enum sums { NONE, LSE, EXCESS };

/* What is built and defined: attention, and what else it gives. */
struct subject {
    struct hy_attention s;
    enum sums sums;
};

static const struct subject *now;

static void build(struct built *b)
{
    const struct hy_attention *s = &now->s;
    struct hy_tensor *q = test_tail(b, 0, N, 3, 3 + s->heads * s->key_width, -2, 2);
    struct hy_tensor *k = test_leaf(b, 1, N, s->kv_heads * s->key_width, -2, 2);
    struct hy_tensor *v = test_tail(b, 2, N, 1, 1 + s->kv_heads * s->value_width, -2, 2);
    b->outputs = now->sums == NONE ? 1 : 2;
    b->y[0] = now->sums == NONE  ? hy_attention(b->g, q, k, v, s, NULL, NULL)
              : now->sums == LSE ? hy_attention_lse(b->g, q, k, v, s, NULL, NULL, &b->y[1])
                                 : hy_attention_excess(b->g, q, k, v, s, NULL, NULL, &b->y[1]);
}

static int sees(const struct hy_attention *s, int64_t t, int64_t key)
{
    const int window = s->window;
    return key <= t && (!s->first || key < s->first) &&
           (!window || (s->terraced ? key / window >= t / window - 1 : key > t - window));
}

/* o [value_width] of one query at token t, whose sequence's keys and values begin at k and v.
 * Returns the log of the sum of the scores' exponentials, less the largest score where that is
 * wanted. */
static double attend(const struct hy_attention *s, const double *q, const double *k, int64_t ldk,
                     const double *v, int64_t ldv, int64_t t, double *o)
{
    double p[T], sum = 0, max = -INFINITY;
    for (int64_t j = 0; j <= t; j++) {
        p[j] = 0;
        for (int c = 0; c < s->key_width; c++)
            p[j] += s->scale * q[c] * k[j * ldk + c];
        if (s->cap > 0)
            p[j] = s->cap * tanh(p[j] / s->cap);
        if (sees(s, t, j))
            max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j <= t; j++)
        sum += p[j] = sees(s, t, j) ? exp(p[j] - max) : 0;
    for (int c = 0; c < s->value_width; c++) {
        o[c] = 0;
        for (int64_t j = 0; j <= t; j++)
            o[c] += p[j] / sum * v[j * ldv + c];
    }
    return log(sum) + (now->sums == LSE ? max : 0);
}

static void define(const double *const *in, double *y)
{
    const struct hy_attention *s = &now->s;
    const int64_t ldq = 3 + s->heads * s->key_width, ldk = s->kv_heads * s->key_width;
    const int64_t ldv = 1 + s->kv_heads * s->value_width;
    double *sums = y + (int64_t)N * s->heads * s->value_width;
    for (int64_t i = 0; i < N; i++)
        for (int h = 0; h < s->heads; h++, y += s->value_width) {
            const int kv = h / (s->heads / s->kv_heads);
            const int64_t start = i / T * T;
            const double sum = attend(s, in[0] + i * ldq + 3 + h * s->key_width,
                                      in[1] + start * ldk + kv * s->key_width, ldk,
                                      in[2] + start * ldv + 1 + kv * s->value_width, ldv, i % T, y);
            if (now->sums != NONE)
                *sums++ = sum;
        }
}

#define SHAPE(keys) .heads = 4, .kv_heads = (keys), .key_width = 20, .value_width = 12

static void attention_follows_its_definition(void **state)
{
    (void)state;
    static const struct subject all[] = {
        {{SHAPE(2), .scale = 0.3}, NONE},
        {{SHAPE(4), .scale = 1, .window = 70}, NONE},
        {{SHAPE(2), .scale = 0.7, .cap = 2.5}, LSE},
        {{SHAPE(2), .scale = 0.3}, EXCESS},
        {{SHAPE(2), .scale = 0.3, .window = 37}, EXCESS},
        {{SHAPE(2), .scale = 0.7, .window = 20, .cap = 2.5}, EXCESS},
        {{SHAPE(2), .scale = 0.3, .window = 1, .terraced = 1}, NONE},
        {{SHAPE(2), .scale = 0.3, .window = 7, .terraced = 1}, LSE},
        {{SHAPE(4), .scale = 0.3, .window = 64, .terraced = 1}, EXCESS},
        {{SHAPE(2), .scale = 0.3, .window = T + 1, .terraced = 1}, NONE},
        {{SHAPE(2), .scale = 0.3, .first = 1}, NONE},
        {{SHAPE(2), .scale = 0.3, .first = 33}, EXCESS},
        {{SHAPE(2), .scale = 0.3, .first = T + 1}, NONE},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        now = &all[i];
        test_definition(build, define);
    }
}

/* ---- the excess of log sum exp ---- */

static const struct hy_attention narrow[] = {
    {.heads = 1, .kv_heads = 1, .key_width = 1, .value_width = 1, .scale = 1},
    {.heads = 1, .kv_heads = 1, .key_width = 1, .value_width = 1, .scale = 1, .window = 24},
    {.heads = 1,
     .kv_heads = 1,
     .key_width = 1,
     .value_width = 1,
     .scale = 1,
     .window = 24,
     .terraced = 1},
    {.heads = 1, .kv_heads = 1, .key_width = 1, .value_width = 1, .scale = 1, .first = 24},
};

enum { KINDS = sizeof narrow / sizeof *narrow };

/* A graph of one head whose queries are 1 and whose scores are the keys. */
struct row {
    struct hy_graph *g;
    struct hy_tensor *q, *k, *v, *excess, *dy;
};

static void open_row(struct row *row, const struct hy_attention *s)
{
    struct hy_err e = {0};
    struct hy_graph *g = row->g = test_graph(HY_TRAIN, 1, T, 0, NULL);
    row->q = hy_graph_leaf(g, "q", T, 1, -1, 1);
    row->k = hy_graph_leaf(g, "k", T, 1, -1, 1);
    row->v = hy_graph_leaf(g, "v", T, 1, -1, 1);
    hy_attention_excess(g, row->q, row->k, row->v, s, NULL, NULL, &row->excess);
    hy_graph_keep(row->excess);
    row->dy = hy_graph_input(g, "dy", HY_REAL, T, 1);
    assert_int_equal(hy_graph_backward(g, 1, &row->excess, &row->dy, &e), 0);
    test_plan(g);
    for (int t = 0; t < T; t++)
        ((float *)row->q->data)[t] = 1;
}

/* Scores around 300 and -300 that floats hold exactly; log sum exp less the largest would be a
 * multiple of 2^-15. */
static void the_excess_of_large_scores_is_precise(void **state)
{
    (void)state;
    for (int n = 0; n < 2 * KINDS; n++) {
        const struct hy_attention *s = &narrow[n / 2];
        struct row row;
        open_row(&row, s);
        float *k = row.k->data;
        for (int t = 0; t < T; t++)
            k[t] = (n % 2 ? -300 : 300) + (float)(t * 37 % 101) / 16;
        hy_graph_run(row.g, NULL);
        for (int64_t t = 0; t < T; t++) {
            double max = -INFINITY, sum = 0;
            for (int64_t j = 0; j <= t; j++)
                max = sees(s, t, j) ? fmax(max, k[j]) : max;
            for (int64_t j = 0; j <= t; j++)
                sum += sees(s, t, j) ? exp(k[j] - max) : 0;
            test_close("excess", ((float *)row.excess->data)[t], log(sum), 1, 1e-6);
        }
        hy_graph_free(row.g);
    }
}

/* All scores are equal: each key's gets its probability, and the first gives it back. */
static void the_first_of_equal_scores_is_the_largest(void **state)
{
    (void)state;
    for (int n = 0; n < KINDS; n++) {
        const struct hy_attention *s = &narrow[n];
        struct row row;
        int64_t low = 0, count = 0;
        open_row(&row, s);
        for (int64_t t = T - 1; t >= 0; t--) {
            ((float *)row.k->data)[t] = 300;
            low = sees(s, T - 1, t) ? t : low;
            count += sees(s, T - 1, t);
        }
        ((float *)row.dy->data)[T - 1] = 1;
        hy_graph_run(row.g, NULL);
        for (int64_t t = 0; t < T; t++)
            test_close("gradient", ((float *)row.k->grad->data)[t],
                       (sees(s, T - 1, t) ? 1 / (double)count : 0) - (t == low), 1, 1e-6);
        hy_graph_free(row.g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_follows_its_definition),
        cmocka_unit_test(the_excess_of_large_scores_is_precise),
        cmocka_unit_test(the_first_of_equal_scores_is_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
