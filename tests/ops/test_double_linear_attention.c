/* Laws of linear attention over features: it equals its definition, whatever the lag and however
 * tokens fall into chunks; how a sequence is cut into runs changes nothing; a lag that is dropped
 * is none. In double, where equal means equal but for rounding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ops/features/linear_attention.h"
#include "tests/support/sequences.h"

enum { BATCH = 2, MOST_TOKENS = 150 };

/* A graph of one op over tokens [first, first + tokens) of the same two sequences of `length`. */
struct trial {
    struct hy_graph *graph;
    const struct hy_linear_attention *s;
    struct part part;
    struct hy_tensor *f, *g, *v, *dropped, *h0, *n, *d, *ht;
};

static int64_t state_rows(const struct hy_linear_attention *s)
{
    return (int64_t)BATCH * (s->terraced && s->lag ? 2 : 1) * s->heads * s->features;
}

static void fill_all(struct trial *t)
{
    fill_part(t->f, t->part, 0.1, 1, 0);
    fill_part(t->g, t->part, 0.1, 1, 1);
    fill_part(t->v, t->part, -1, 1, 2);
    if (t->graph->shape.mode == HY_TRAIN) {
        fill_part(t->n->grad, t->part, -1, 1, 3);
        fill_part(t->d->grad, t->part, -1, 1, 4);
    }
}

/* has: in this graph there are h0 and ht, or a switch; or g is v. cache: the states live there. */
enum { STATES = 1, SWITCH = 2, ALIKE = 4 };

static struct trial open_trial(const struct hy_linear_attention *s, enum hy_mode mode, int replicas,
                               struct part part, int has, struct hy_slab *cache)
{
    const struct hy_shape shape = {
        .replicas = replicas, .batch = BATCH, .tokens = part.tokens, .mode = mode};
    const int64_t rows = (int64_t)BATCH * part.tokens;
    struct trial t = {.graph = hy_graph_new(&shape, NULL, NULL, cache), .s = s, .part = part};
    struct hy_err e;
    assert_non_null(t.graph);
    t.f = hy_graph_leaf(t.graph, "f", rows, (int64_t)s->heads * s->features, 0, 1);
    t.g = hy_graph_leaf(t.graph, "g", rows, (int64_t)s->key_heads * s->features, 0, 1);
    t.v = hy_graph_leaf(t.graph, "v", rows, (int64_t)s->value_heads * s->value_width, 0, 1);
    if (has & SWITCH)
        t.dropped = hy_graph_input(t.graph, "dropped", HY_REAL, 1, 1);
    if (cache) {
        const struct hy_entry entry = {
            .name = "state", .rank = 2, .dims = {state_rows(s), s->value_width + 1}};
        t.ht = t.h0 = hy_graph_state(t.graph, &entry);
        if (!cache->data)
            assert_int_equal(hy_slab_allocate(cache, &e), HY_OK);
    } else if (has & STATES) {
        t.h0 = hy_graph_leaf(t.graph, "h0", state_rows(s), s->value_width + 1, 0, 1);
    }
    const struct hy_linear_attention_in in = {t.f, t.g, t.v, t.dropped, t.h0};
    t.n = hy_linear_attention(t.graph, &in, s, &t.d, cache || has & STATES ? &t.ht : NULL);
    if (!t.n)
        fail_msg("%s", t.graph->err.text);
    hy_graph_keep(t.n);
    hy_graph_keep(t.d);
    if (t.ht && !cache)
        hy_graph_keep(t.ht);
    if (mode == HY_TRAIN) {
        struct hy_tensor *y[] = {t.n, t.d};
        struct hy_tensor *dy[] = {hy_graph_input(t.graph, "dn", HY_REAL, rows, t.n->cols),
                                  hy_graph_input(t.graph, "dd", HY_REAL, rows, t.d->cols)};
        assert_int_equal(hy_graph_backward(t.graph, 2, y, dy, &e), HY_OK);
    }
    if (hy_graph_plan(t.graph, &e))
        fail_msg("%s", e.text);
    t.graph->position = part.first;
    fill_all(&t);
    return t;
}

static struct part whole(int tokens)
{
    return (struct part){0, tokens, tokens};
}

static void assert_near(const char *what, const struct hy_linear_attention *s, int tokens,
                        const struct hy_tensor *got, const double *want)
{
    const hy_real *x = got->data;
    for (int64_t i = 0; i < got->rows * got->cols; i++)
        if (!(fabs(x[i] - want[i]) <= 1e-13 * (100 + fabs(want[i]))))
            fail_msg("%s of %d tokens, lag %d%s: row %lld: %.15g, not %.15g", what, tokens, s->lag,
                     s->terraced ? " terraced" : "", (long long)(i / got->cols), x[i], want[i]);
}

/* ---- The definition ---- */

static int sees(const struct hy_linear_attention *s, int query, int key)
{
    if (s->terraced && s->lag)
        return key / s->lag < query / s->lag - 1;
    return key <= query - s->lag;
}

/* What the op's outputs and gradients should be, laid out as its tensors. */
struct sums {
    double *n, *d, *df, *dg, *dv;
};

/* Adds one pair of a query and a key that it sees. */
static void add_pair(const struct trial *t, const struct sums *y, int h, int64_t query, int64_t key)
{
    const struct hy_linear_attention *s = t->s;
    const int64_t f = query * t->f->cols + (int64_t)h * s->features;
    const int64_t g = key * t->g->cols + (int64_t)h * s->key_heads / s->heads * s->features;
    const int64_t v = key * t->v->cols + (int64_t)h * s->value_heads / s->heads * s->value_width;
    const int64_t n = query * t->n->cols + (int64_t)h * s->value_width, d = query * s->heads + h;
    const double *xf = t->f->data, *xg = t->g->data, *xv = t->v->data;
    const double *dn = t->n->grad->data, *dd = t->d->grad->data;
    double weight = 0, dweight = dd[d];
    for (int c = 0; c < s->features; c++)
        weight += xf[f + c] * xg[g + c];
    y->d[d] += weight;
    for (int c = 0; c < s->value_width; c++) {
        y->n[n + c] += weight * xv[v + c];
        y->dv[v + c] += weight * dn[n + c];
        dweight += dn[n + c] * xv[v + c];
    }
    for (int c = 0; c < s->features; c++) {
        y->df[f + c] += dweight * xg[g + c];
        y->dg[g + c] += dweight * xf[f + c];
    }
}

static double *zeros(const struct hy_tensor *t)
{
    double *x = calloc((size_t)(t->rows * t->cols), sizeof *x);
    assert_non_null(x);
    return x;
}

static void check_definition(const struct hy_linear_attention *s, int tokens)
{
    struct trial t = open_trial(s, HY_TRAIN, 1, whole(tokens), 0, NULL);
    const struct sums y = {zeros(t.n), zeros(t.d), zeros(t.f), zeros(t.g), zeros(t.v)};
    hy_graph_run(t.graph, NULL);
    for (int b = 0; b < BATCH; b++)
        for (int h = 0; h < s->heads; h++)
            for (int query = 0; query < tokens; query++)
                for (int key = 0; key <= query; key++)
                    if (sees(s, query, key))
                        add_pair(&t, &y, h, b * tokens + query, b * tokens + key);
    assert_near("n", s, tokens, t.n, y.n);
    assert_near("d", s, tokens, t.d, y.d);
    assert_near("the gradient of f", s, tokens, t.f->grad, y.df);
    assert_near("the gradient of g", s, tokens, t.g->grad, y.dg);
    assert_near("the gradient of v", s, tokens, t.v->grad, y.dv);
    free(y.n);
    free(y.d);
    free(y.df);
    free(y.dg);
    free(y.dv);
    hy_graph_free(t.graph);
}

static void test_sums_equal_their_definition(void **state)
{
    static const int lags[] = {0, 1, 3, 40, 64, 70, 149, 200};
    static const int terraces[] = {1, 2, 5, 30, 37, 64, 70, 128, 200};
    static const int tokens[] = {1, 19, 64, 65, MOST_TOKENS};
    (void)state;
    for (size_t n = 0; n < sizeof tokens / sizeof *tokens; n++) {
        for (size_t i = 0; i < sizeof lags / sizeof *lags; i++)
            check_definition(&(struct hy_linear_attention){2, 2, 2, 5, 9, lags[i], 0}, tokens[n]);
        for (size_t i = 0; i < sizeof terraces / sizeof *terraces; i++)
            check_definition(&(struct hy_linear_attention){1, 1, 1, 9, 7, terraces[i], 1},
                             tokens[n]);
        for (int lag = 0; lag <= 70; lag += 35) {
            check_definition(&(struct hy_linear_attention){4, 2, 1, 3, 8, lag, 0}, tokens[n]);
            check_definition(&(struct hy_linear_attention){4, 1, 2, 8, 3, lag, 1}, tokens[n]);
        }
    }
}

/* ---- Laws ---- */

static void assert_equal_bits(const struct hy_tensor *x, int replica, const struct hy_tensor *y)
{
    assert_memory_equal(hy_real_data(x, replica), hy_real_data(y, 0),
                        (size_t)(x->rows * x->cols) * sizeof(hy_real));
}

/* Replica 0 keeps its lag, replica 1 drops it: each equals a graph that cannot choose. */
static void test_a_dropped_lag_is_none(void **state)
{
    static const struct hy_linear_attention cases[] = {{2, 1, 2, 5, 9, 3, 0},
                                                       {2, 2, 2, 5, 9, 70, 0},
                                                       {2, 2, 2, 5, 9, 3, 1},
                                                       {4, 1, 2, 5, 9, 70, 1},
                                                       {1, 1, 1, 5, 9, 130, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial both = open_trial(&cases[i], HY_TRAIN, 2, whole(MOST_TOKENS), SWITCH, NULL);
        for (int r = 0; r < 2; r++) {
            const struct hy_linear_attention s = {
                cases[i].heads,       cases[i].key_heads,   cases[i].value_heads, cases[i].features,
                cases[i].value_width, r ? 0 : cases[i].lag, cases[i].terraced};
            struct trial one = open_trial(&s, HY_TRAIN, 1, whole(MOST_TOKENS), 0, NULL);
            struct hy_tensor *const from[] = {one.f, one.g, one.v, one.n->grad, one.d->grad};
            struct hy_tensor *const to[] = {both.f, both.g, both.v, both.n->grad, both.d->grad};
            for (size_t k = 0; k < sizeof to / sizeof *to; k++)
                memcpy(hy_input(to[k], r), from[k]->data,
                       (size_t)(to[k]->rows * to[k]->cols) * sizeof(hy_real));
            *(hy_real *)hy_input(both.dropped, r) = r ? -0.5 : 0;
            hy_graph_run(one.graph, NULL);
            hy_graph_run(both.graph, NULL);
            assert_equal_bits(both.n, r, one.n);
            assert_equal_bits(both.d, r, one.d);
            assert_equal_bits(both.f->grad, r, one.f->grad);
            assert_equal_bits(both.g->grad, r, one.g->grad);
            assert_equal_bits(both.v->grad, r, one.v->grad);
            hy_graph_free(one.graph);
        }
        hy_graph_free(both.graph);
    }
}

static void assert_part(const struct trial *t, const struct trial *all)
{
    const struct hy_tensor *const got[] = {t->n, t->d}, *const want[] = {all->n, all->d};
    for (int k = 0; k < 2; k++) {
        const int64_t cols = got[k]->cols;
        for (int64_t row = 0; row < got[k]->rows; row++) {
            const int64_t at = row / t->part.tokens * t->part.length + t->part.first;
            for (int64_t c = 0; c < cols; c++) {
                const double x = ((hy_real *)got[k]->data)[row * cols + c];
                const double y = ((hy_real *)want[k]->data)[(at + row % t->part.tokens) * cols + c];
                if (!(fabs(x - y) <= 1e-13 * (100 + fabs(y))))
                    fail_msg("tokens %d to %d, lag %d%s, row %lld: %.15g, not %.15g", t->part.first,
                             t->part.first + t->part.tokens - 1, t->s->lag,
                             t->s->terraced ? " terraced" : "", (long long)row, x, y);
            }
        }
    }
}

static void test_a_cut_sequence_equals_the_whole(void **state)
{
    static const struct hy_linear_attention s = {4, 2, 1, 5, 9, 0, 1};
    static const int cuts[] = {1, 64, 75};
    (void)state;
    struct trial all = open_trial(&s, HY_EVAL, 1, whole(MOST_TOKENS), STATES, NULL);
    hy_graph_run(all.graph, NULL);
    for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
        const struct part parts[] = {{0, cuts[c], MOST_TOKENS},
                                     {cuts[c], MOST_TOKENS - cuts[c], MOST_TOKENS}};
        struct trial first = open_trial(&s, HY_EVAL, 1, parts[0], STATES, NULL);
        struct trial second = open_trial(&s, HY_EVAL, 1, parts[1], STATES, NULL);
        hy_graph_run(first.graph, NULL);
        memcpy(second.h0->data, first.ht->data,
               (size_t)(first.ht->rows * first.ht->cols) * sizeof(hy_real));
        hy_graph_run(second.graph, NULL);
        assert_part(&first, &all);
        assert_part(&second, &all);
        assert_near("ht", &s, MOST_TOKENS, second.ht, all.ht->data);
        hy_graph_free(first.graph);
        hy_graph_free(second.graph);
    }
    hy_graph_free(all.graph);
}

/* Rows move `lag` tokens down; those from before the first token are what no result may show. */
static void delay(const struct trial *t, struct hy_tensor *x, const struct hy_tensor *all)
{
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < t->part.tokens; i++) {
            hy_real *row = (hy_real *)x->data + (int64_t)(b * t->part.tokens + i) * x->cols;
            const int at = t->part.first + i - t->s->lag;
            for (int64_t c = 0; c < x->cols; c++)
                row[c] =
                    at < 0 ? NAN : ((hy_real *)all->data)[(b * t->part.length + at) * x->cols + c];
        }
}

/* The tokens in runs of the given lengths, the last of them over and over, from a cache. */
static void check_runs(const struct hy_linear_attention *s, const int *runs)
{
    struct trial all = open_trial(s, HY_EVAL, 1, whole(MOST_TOKENS), 0, NULL);
    struct hy_slab cache;
    hy_graph_run(all.graph, NULL);
    hy_slab_init(&cache, 1);
    for (int at = 0, tokens; at < MOST_TOKENS; at += tokens) {
        tokens = *runs < MOST_TOKENS - at ? *runs : MOST_TOKENS - at;
        struct trial t =
            open_trial(s, HY_CACHED, 1, (struct part){at, tokens, MOST_TOKENS}, 0, &cache);
        delay(&t, t.g, all.g);
        delay(&t, t.v, all.v);
        hy_graph_run(t.graph, NULL);
        assert_part(&t, &all);
        hy_graph_free(t.graph);
        runs += runs[1] != 0;
    }
    hy_slab_release(&cache);
    hy_graph_free(all.graph);
}

static void test_runs_from_a_cache_equal_the_whole(void **state)
{
    static const int lags[] = {1, 5, 30, 64, 70, 128, 200};
    static const int runs[][6] = {{1}, {9, 1, 1, 20}, {7}, {64, 1, 70, 1}, {MOST_TOKENS}};
    (void)state;
    for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) {
        check_runs(&(struct hy_linear_attention){4, 2, 1, 5, 9, 0, 0}, runs[k]);
        for (size_t i = 0; i < sizeof lags / sizeof *lags; i++)
            for (int terraced = 0; terraced < 2; terraced++)
                check_runs(&(struct hy_linear_attention){4, 1, 2, 3, 8, lags[i], terraced},
                           runs[k]);
    }
}

static void test_what_does_not_fit_is_refused(void **state)
{
    static const struct {
        struct hy_linear_attention s;
        enum hy_mode mode;
        int has;
        const char *says;
    } bad[] = {
        {{2, 2, 2, 4, 4, 0, 0}, HY_EVAL, 0, "f is [6, 6], not [6, 8]"},
        {{2, 2, 1, 3, 4, 0, 0}, HY_EVAL, 0, "v is [6, 6], not [6, 4]"},
        {{2, 2, 2, 3, 3, -1, 0}, HY_EVAL, 0, "lag -1"},
        {{2, 3, 2, 3, 3, 0, 0}, HY_EVAL, 0, "do not share 3 heads of keys"},
        {{2, 2, 2, 3, 3, 0, 0}, HY_EVAL, ALIKE, "two of f, g and v are one tensor"},
        {{2, 2, 2, 3, 3, 5, 0}, HY_EVAL, STATES, "a lag of 5 are for cached graphs"},
        {{2, 2, 2, 3, 3, 5, 0}, HY_CACHED, SWITCH, "the lag of 5 cannot be dropped"},
        {{2, 2, 2, 3, 3, 5, 1}, HY_CACHED, STATES, "h0 is [12, 4], not [24, 4]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct hy_shape shape = {.replicas = 1, .batch = 2, .tokens = 3, .mode = bad[i].mode};
        struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, NULL);
        struct hy_tensor *d;
        struct hy_linear_attention_in in = {.f = hy_graph_leaf(g, "f", 6, 6, 0, 1),
                                            .g = hy_graph_leaf(g, "g", 6, 6, 0, 1),
                                            .v = hy_graph_leaf(g, "v", 6, 6, 0, 1)};
        struct hy_err e = {0};
        if (bad[i].has & ALIKE)
            in.v = in.g;
        if (bad[i].has & STATES)
            in.h0 = hy_graph_leaf(g, "h0", 12, 4, 0, 1);
        if (bad[i].has & SWITCH)
            in.dropped = hy_graph_input(g, "dropped", HY_REAL, 1, 1);
        assert_null(hy_linear_attention(g, &in, &bad[i].s, &d, NULL));
        assert_int_equal(hy_graph_plan(g, &e), HY_E_USAGE);
        if (!strstr(e.text, bad[i].says) || !strstr(e.text, "linear_attention"))
            fail_msg("case %zu says: %s", i, e.text);
        hy_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_equal_their_definition),
        cmocka_unit_test(test_a_dropped_lag_is_none),
        cmocka_unit_test(test_a_cut_sequence_equals_the_whole),
        cmocka_unit_test(test_runs_from_a_cache_equal_the_whole),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
