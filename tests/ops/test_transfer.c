/* Laws of attention transfer: its losses and gradients are those of the definition, summed here in
 * plain loops in double; no loss is below the teacher's entropy, and it is that where the student's
 * weights are the teacher's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ops/features/transfer.h"
#include "tests/support/sequences.h"

enum { BATCH = 2 };

/* same: the student's scores are the teacher's; factor: there is one. spread: how far queries and
 * keys reach, 1 or more; least: the least feature; 0: and all of the first key's are 0. */
struct trial {
    struct hy_transfer s;
    int tokens, same, factor;
    double spread, least;
};

/* A graph of one op, and its inputs. */
struct subject {
    struct hy_graph *graph;
    const struct trial *trial;
    struct hy_transfer_in in;
    struct hy_tensor *y;
};

static void fill_all(const struct subject *t)
{
    const struct part part = {0, t->trial->tokens, t->trial->tokens};
    const double reach = t->trial->spread;
    fill_part(t->in.tq, part, -reach, reach, 0);
    fill_part(t->in.tk, part, -reach, reach, 1);
    if (!t->trial->same) {
        fill_part(t->in.q, part, -reach, reach, 2);
        fill_part(t->in.k, part, -reach, reach, 3);
    }
    fill_part(t->in.f, part, t->trial->least, 1, 4);
    fill_part(t->in.g, part, t->trial->least, 1, 5);
    if (t->trial->least == 0)
        memset(t->in.g->data, 0, (size_t)t->in.g->cols * sizeof(hy_real));
    fill_part(t->in.factor, part, -3, 3, 6);
    fill_part(t->y->grad, part, -1, 1, 7);
    /* What nobody writes shows. */
    fill_part(t->in.tq->grad, part, NAN, NAN, 8);
    fill_part(t->in.tk->grad, part, NAN, NAN, 8);
}

static struct subject open_subject(const struct trial *trial)
{
    const struct hy_transfer *s = &trial->s;
    const struct hy_shape shape = {
        .replicas = 1, .batch = BATCH, .tokens = trial->tokens, .mode = HY_TRAIN};
    const int64_t rows = (int64_t)BATCH * trial->tokens;
    const int64_t qs = (int64_t)s->heads * s->key_width, ks = (int64_t)s->kv_heads * s->key_width;
    struct subject t = {.graph = hy_graph_new(&shape, NULL, NULL, NULL), .trial = trial};
    struct hy_err e;
    assert_non_null(t.graph);
    t.in.tq = hy_graph_leaf(t.graph, "tq", rows, qs, 0, 1);
    t.in.tk = hy_graph_leaf(t.graph, "tk", rows, ks, 0, 1);
    t.in.q = trial->same ? t.in.tq : hy_graph_leaf(t.graph, "q", rows, qs, 0, 1);
    t.in.k = trial->same ? t.in.tk : hy_graph_leaf(t.graph, "k", rows, ks, 0, 1);
    t.in.f = hy_graph_leaf(t.graph, "f", rows, (int64_t)s->heads * s->features, 0, 1);
    t.in.g = hy_graph_leaf(t.graph, "g", rows, (int64_t)s->g_heads * s->features, 0, 1);
    t.in.factor = trial->factor ? hy_graph_leaf(t.graph, "factor", 1, s->heads, 0, 1) : NULL;
    t.y = hy_transfer(t.graph, &t.in, s);
    if (!t.y)
        fail_msg("%s", t.graph->err.text);
    hy_graph_keep(t.y);
    struct hy_tensor *dy = hy_graph_input(t.graph, "dy", HY_REAL, rows, t.y->cols);
    assert_int_equal(hy_graph_backward(t.graph, 1, &t.y, &dy, &e), HY_OK);
    if (hy_graph_plan(t.graph, &e))
        fail_msg("%s", e.text);
    fill_all(&t);
    hy_graph_run(t.graph, NULL);
    return t;
}

/* ---- The definition ---- */

/* What the op should result in, laid out as its tensors. */
struct results {
    double *y, *entropy, *dq, *dk, *df, *dg, *dfactor;
};

static int in_window(const struct hy_transfer *s, int query, int key)
{
    if (s->terraced)
        return s->window && key / s->window >= query / s->window - 1;
    return key > query - s->window;
}

static double dot(const struct hy_tensor *x, int64_t i, const struct hy_tensor *y, int64_t j, int n)
{
    double sum = 0;
    for (int c = 0; c < n; c++)
        sum += (double)((hy_real *)x->data)[i + c] * (double)((hy_real *)y->data)[j + c];
    return sum;
}

/* One query and head: where it reads, and its terms by keys. */
struct query {
    int b, h, t;
    int64_t q, f;        /* elements, the first ones */
    double *p, *l, *raw; /* the teacher's weights, the student's scores, its raw weights */
    double gamma, lin;
    int top; /* of the window: the key of the largest score; -1: there is none */
};

static int64_t key_at(const struct subject *t, const struct query *u, int key)
{
    const struct hy_transfer *s = &t->trial->s;
    return (int64_t)(u->b * t->trial->tokens + key) * t->in.tk->cols +
           (int64_t)u->h / (s->heads / s->kv_heads) * s->key_width;
}

static int64_t g_at(const struct subject *t, const struct query *u, int key)
{
    const struct hy_transfer *s = &t->trial->s;
    return (int64_t)(u->b * t->trial->tokens + key) * t->in.g->cols +
           (int64_t)u->h / (s->heads / s->g_heads) * s->features;
}

static void make_terms(const struct subject *t, struct query *u)
{
    const struct hy_transfer *s = &t->trial->s;
    double most = -INFINITY, sum = 0;
    u->top = -1;
    for (int j = 0; j <= u->t; j++) {
        u->p[j] = s->scale * dot(t->in.tq, u->q, t->in.tk, key_at(t, u, j), s->key_width);
        u->l[j] = s->scale * dot(t->in.q, u->q, t->in.k, key_at(t, u, j), s->key_width);
        most = fmax(most, u->p[j]);
        if (in_window(s, u->t, j) && (u->top < 0 || u->l[j] > u->l[u->top]))
            u->top = j;
    }
    for (int j = 0; j <= u->t; j++)
        sum += u->p[j] = exp(u->p[j] - most);
    for (int j = 0; j <= u->t; j++) {
        u->p[j] /= sum;
        u->raw[j] = in_window(s, u->t, j)
                        ? u->gamma * exp(u->l[j] - u->l[u->top])
                        : u->lin * dot(t->in.f, u->f, t->in.g, g_at(t, u, j), s->features);
    }
}

/* Adds dl, the gradient of one score of the window. */
static void add_score(const struct subject *t, const struct query *u, int key, double dl,
                      const struct results *r)
{
    const hy_real *q = t->in.q->data, *k = t->in.k->data;
    const int64_t at = key_at(t, u, key);
    for (int c = 0; c < t->trial->s.key_width; c++) {
        r->dq[u->q + c] += dl * t->trial->s.scale * (double)k[at + c];
        r->dk[at + c] += dl * t->trial->s.scale * (double)q[u->q + c];
    }
}

/* Likewise of one product of features. */
static void add_product(const struct subject *t, const struct query *u, int key, double du,
                        const struct results *r)
{
    const hy_real *f = t->in.f->data, *g = t->in.g->data;
    const int64_t at = g_at(t, u, key);
    for (int c = 0; c < t->trial->s.features; c++) {
        r->df[u->f + c] += du * (double)g[at + c];
        r->dg[at + c] += du * (double)f[u->f + c];
    }
}

static void add_query(const struct subject *t, struct query *u, const struct results *r)
{
    const struct hy_transfer *s = &t->trial->s;
    const int64_t row = (int64_t)u->b * t->trial->tokens + u->t, y = row * s->heads + u->h;
    const double dy = (double)((hy_real *)t->y->grad->data)[y];
    double sum = 0, mass = 0, near = 0, far = 0;
    make_terms(t, u);
    for (int j = 0; j <= u->t; j++)
        sum += u->raw[j];
    sum = fmax(sum, 1e-37);
    for (int j = 0; j <= u->t; j++) {
        r->y[y] -= u->p[j] * log(fmax(u->raw[j] / sum, 1e-12));
        r->entropy[y] -= u->p[j] > 0 ? u->p[j] * log(u->p[j]) : 0;
        mass += u->raw[j] / sum >= 1e-12 ? u->p[j] : 0;
    }
    for (int j = 0; j <= u->t; j++) {
        const double own = u->raw[j] / sum >= 1e-12 ? u->p[j] : 0;
        const double pull = dy * (mass * u->raw[j] / sum - own); /* d y / d log raw */
        if (in_window(s, u->t, j)) {
            add_score(t, u, j, pull, r);
            near += pull;
        } else {
            add_product(t, u, j, u->lin * dy * (mass / sum - (own > 0 ? own / u->raw[j] : 0)), r);
            far += pull;
        }
    }
    if (u->top >= 0)
        add_score(t, u, u->top, -near, r);
    if (r->dfactor)
        r->dfactor[u->h] += (1 - u->gamma) * near - (s->affine ? u->gamma * far : 0);
}

static double *zeros(const struct hy_tensor *t)
{
    double *x = t ? calloc((size_t)(t->rows * t->cols), sizeof *x) : NULL;
    assert_true(!t || x);
    return x;
}

static struct results define(const struct subject *t)
{
    const struct hy_transfer *s = &t->trial->s;
    const int n = t->trial->tokens;
    const struct results r = {zeros(t->y),    zeros(t->y),    zeros(t->in.q),     zeros(t->in.k),
                              zeros(t->in.f), zeros(t->in.g), zeros(t->in.factor)};
    double *terms = calloc(3 * (size_t)n, sizeof *terms);
    assert_non_null(terms);
    for (int i = 0; i < BATCH * s->heads * n; i++) {
        struct query u = {.b = i / s->heads / n, .h = i / n % s->heads, .t = i % n};
        const int64_t row = (int64_t)u.b * n + u.t;
        const double factor =
            t->in.factor ? (double)((hy_real *)t->in.factor->data)[u.h] : INFINITY;
        u.q = row * t->in.q->cols + (int64_t)u.h * s->key_width;
        u.f = row * t->in.f->cols + (int64_t)u.h * s->features;
        u.p = terms;
        u.l = terms + n;
        u.raw = terms + (ptrdiff_t)2 * n;
        u.gamma = 1 / (1 + exp(-factor));
        u.lin = t->in.factor && s->affine ? 1 - u.gamma : 1;
        add_query(t, &u, &r);
    }
    free(terms);
    return r;
}

static void free_results(const struct results *r)
{
    double *const all[] = {r->y, r->entropy, r->dq, r->dk, r->df, r->dg, r->dfactor};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* Scores of hundreds are rounded by 3e-5, and so are exponents. */
static double limit_of(const struct subject *t)
{
    return t->trial->spread > 1 ? 3e-4 : 1e-5;
}

static void assert_near(const struct subject *t, const char *what, const struct hy_tensor *got,
                        const double *want)
{
    const struct hy_transfer *s = &t->trial->s;
    const double limit = limit_of(t);
    double size = 1;
    for (int64_t i = 0; got && i < got->rows * got->cols; i++)
        size = fmax(size, fabs(want[i]));
    for (int64_t i = 0; got && i < got->rows * got->cols; i++) {
        const double x = (double)((hy_real *)got->data)[i];
        if (!(fabs(x - want[i]) <= limit * size))
            fail_msg("%s of %d tokens, %d heads, window %d%s%s: element %lld: %.9g, not %.9g", what,
                     t->trial->tokens, s->heads, s->window, s->terraced ? " terraced" : "",
                     s->affine ? " affine" : "", (long long)i, x, want[i]);
    }
}

static void check(const struct trial *trial)
{
    const struct subject t = open_subject(trial);
    const struct results r = define(&t);
    const int windowed = trial->s.window > 0;
    const hy_real *y = t.y->data;
    assert_near(&t, "y", t.y, r.y);
    assert_near(&t, "the gradient of q", windowed ? t.in.q->grad : NULL, r.dq);
    assert_near(&t, "the gradient of k", windowed ? t.in.k->grad : NULL, r.dk);
    assert_near(&t, "the gradient of f", t.in.f->grad, r.df);
    assert_near(&t, "the gradient of g", t.in.g->grad, r.dg);
    assert_near(&t, "the gradient of factor", windowed && t.in.factor ? t.in.factor->grad : NULL,
                r.dfactor);
    for (int64_t i = 0; i < t.y->rows * t.y->cols; i++)
        if (!((double)y[i] >= r.entropy[i] - limit_of(&t) * (1 + r.entropy[i])))
            fail_msg("element %lld: a loss of %g is below the teacher's entropy, %g", (long long)i,
                     (double)y[i], r.entropy[i]);
    free_results(&r);
    hy_graph_free(t.graph);
}

static void test_losses_and_gradients_are_those_of_the_definition(void **state)
{
    static const int tokens[] = {1, 2, 17, 70}, windows[] = {0, 1, 3, 16, 33, 100};
    (void)state;
    for (size_t n = 0; n < sizeof tokens / sizeof *tokens; n++)
        for (size_t w = 0; w < sizeof windows / sizeof *windows; w++)
            for (int kind = 0; kind < 8; kind++) {
                const int terraced = kind & 1, affine = kind >> 1 & 1, shared = kind >> 2;
                const struct hy_transfer s = {4,   shared ? 2 : 4, shared ? 1 : 4, 5,     9,
                                              0.7, windows[w],     terraced,       affine};
                check(&(struct trial){s, tokens[n], 0, affine, 1, 0.01});
                check(&(struct trial){s, tokens[n], windows[w] > 0, 1, 1, 0.01});
            }
}

/* Scores of +-900, which no exponential holds, and windows whose weights are nearly all below the
 * floor; features of 0. */
static void test_extreme_scores_and_features_stay_finite(void **state)
{
    static const int windows[] = {0, 4, 20, 100};
    (void)state;
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++)
        for (int terraced = 0; terraced < 2; terraced++) {
            const struct hy_transfer s = {2, 1, 2, 9, 6, 1, windows[w], terraced, 1};
            check(&(struct trial){s, 70, 0, 1, 10, 0});
            check(&(struct trial){s, 70, windows[w] > 0, 1, 10, 0.01});
        }
}

static void test_a_student_that_is_the_teacher_has_its_entropy(void **state)
{
    static const int tokens[] = {1, 19, 70};
    (void)state;
    for (size_t n = 0; n < sizeof tokens / sizeof *tokens; n++)
        for (int kind = 0; kind < 4; kind++) {
            const struct hy_transfer s = {4, 2, 1, 5, 9, 0.7, tokens[n], kind & 1, 1};
            const struct trial trial = {s, tokens[n], 1, kind >> 1, 1, 0.01};
            const struct subject t = open_subject(&trial);
            const struct results r = define(&t);
            double *none = zeros(t.in.q);
            assert_near(&t, "y", t.y, r.entropy);
            assert_near(&t, "the gradient of q", t.in.q->grad, none);
            free(none);
            free_results(&r);
            hy_graph_free(t.graph);
        }
}

/* The teacher is a constant, also where it is computed of something that learns. */
static void test_no_gradient_goes_through_the_teacher(void **state)
{
    static const struct trial trial = {{2, 1, 2, 5, 9, 0.7, 3, 0, 0}, 19, 0, 1, 1, 0.01};
    const struct subject t = open_subject(&trial);
    const struct hy_tensor *const teacher[] = {t.in.tq, t.in.tk};
    (void)state;
    for (int i = 0; i < 2; i++) {
        double *none = zeros(teacher[i]);
        assert_near(&t, "the teacher's gradient", teacher[i]->grad, none);
        free(none);
    }
    hy_graph_free(t.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses_and_gradients_are_those_of_the_definition),
        cmocka_unit_test(test_extreme_scores_and_features_stay_finite),
        cmocka_unit_test(test_a_student_that_is_the_teacher_has_its_entropy),
        cmocka_unit_test(test_no_gradient_goes_through_the_teacher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
