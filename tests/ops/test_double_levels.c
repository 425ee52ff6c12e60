/* Laws of the level scan: with equal weights it is the scan that it comes from; a weight takes its
 * share of what the tokens at its level write, as the definition says; how a sequence is cut
 * changes nothing; and what does not fit is refused. In double, where equal means equal to 1e-12.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ops/scan/delta_scan.h"
#include "core/ops/scan/gated_scan.h"
#include "core/ops/scan/level_scan.h"
#include "tests/support/sequences.h"

enum { BATCH = 2, TOKENS = 75, HEADS = 4, KEY = 11, VALUE = 10, LEVELS = 9 };
enum { ROWS = BATCH * TOKENS, VALUES = HEADS * VALUE };
enum decay { NONE, CONSTANT, BY_HEAD };

static const struct variant {
    int delta;
    enum decay decay;
    int key_heads;
} variants[] = {
    {0, CONSTANT, 4}, {0, BY_HEAD, 4}, {0, BY_HEAD, 2},
    {1, NONE, 4},     {1, BY_HEAD, 4}, {1, CONSTANT, 2},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* What a scan reads, of tokens [first, first + tokens) of the same two sequences. */
struct scan {
    struct hy_graph *graph;
    struct hy_tensor *q, *k, *v, *decay, *beta, *lambda, *states, *o;
    struct part part;
};

static struct scan start(const struct variant *variant, enum hy_mode mode, int first, int tokens,
                         int value_width, struct hy_slab *cache)
{
    const struct hy_shape shape = {.replicas = 1,
                                   .batch = BATCH,
                                   .tokens = tokens,
                                   .context = cache ? TOKENS : 0,
                                   .mode = mode};
    const int64_t rows = (int64_t)BATCH * tokens, read = (int64_t)variant->key_heads * KEY;
    struct scan s = {.graph = hy_graph_new(&shape, NULL, NULL, cache),
                     .part = {first, tokens, TOKENS}};
    assert_non_null(s.graph);
    s.graph->position = first;
    s.q = hy_graph_leaf(s.graph, "q", rows, read, -1, 1);
    s.k = hy_graph_leaf(s.graph, "k", rows, read, -1, 1);
    s.v = hy_graph_leaf(s.graph, "v", rows, (int64_t)HEADS * value_width, -1, 1);
    if (variant->decay != NONE)
        s.decay =
            hy_graph_leaf(s.graph, "decay", variant->decay == CONSTANT ? 1 : rows, HEADS, -1, 0);
    if (variant->delta)
        s.beta = hy_graph_leaf(s.graph, "beta", rows, HEADS, 0, 1);
    return s;
}

/* Plans the graph, of o's gradient too where it trains, and fills it. */
static void finish(struct scan *s)
{
    struct hy_err e;
    hy_graph_keep(s->o);
    if (s->graph->shape.mode == HY_TRAIN) {
        struct hy_tensor *d_o = hy_graph_input(s->graph, "do", HY_REAL, s->o->rows, s->o->cols);
        assert_int_equal(hy_graph_backward(s->graph, 1, &s->o, &d_o, &e), HY_OK);
    }
    if (hy_graph_plan(s->graph, &e))
        fail_msg("%s", e.text);
    fill_part(s->q, s->part, -1, 1, 0);
    fill_part(s->k, s->part, -0.5, 0.5, 1);
    fill_part(s->v, s->part, -1, 1, 2);
    fill_part(s->decay, s->part, -0.2, 0, 3);
    fill_part(s->beta, s->part, 0, 1, 4);
    if (s->graph->shape.mode == HY_TRAIN)
        fill_part(s->o->grad, s->part, -1, 1, 5);
}

/* The scan without levels. */
static struct scan open_plain(const struct variant *variant, enum hy_mode mode, int value_width)
{
    const struct hy_scan attr = {HEADS, KEY, value_width, 0.4, 0, variant->key_heads};
    struct scan s = start(variant, mode, 0, TOKENS, value_width, NULL);
    s.o = variant->delta ? hy_delta_scan(s.graph, s.q, s.k, s.v, s.beta, s.decay, &attr, NULL, NULL)
                         : hy_gated_scan(s.graph, s.q, s.k, s.v, s.decay, &attr, NULL, NULL);
    finish(&s);
    return s;
}

static struct scan open_levels(const struct variant *variant, enum hy_mode mode, int first,
                               int tokens, int chunk, struct hy_slab *cache)
{
    const struct hy_scan attr = {HEADS, KEY, VALUE, 0.4, chunk, variant->key_heads};
    struct scan s = start(variant, mode, first, tokens, VALUE, cache);
    s.lambda = hy_graph_leaf(s.graph, "lambda", (int64_t)BATCH * tokens, HEADS * LEVELS, 0, 1);
    if (cache) {
        const struct hy_entry entry = {
            .name = "states",
            .rank = 2,
            .dims = {(int64_t)BATCH * HEADS * hy_levels_of(TOKENS) * KEY, VALUE}};
        struct hy_err e;
        s.states = hy_graph_state(s.graph, &entry);
        if (!cache->data)
            assert_int_equal(hy_slab_allocate(cache, &e), HY_OK);
    }
    s.o = hy_level_scan(s.graph, s.q, s.k, s.v, s.decay, s.beta, s.lambda, &attr, s.states);
    finish(&s);
    fill_part(s.lambda, s.part, 0, 1.5, 6);
    return s;
}

static void assert_same_gradients(const struct scan *x, const struct scan *y)
{
    assert_same(x->q->grad, y->q->grad);
    assert_same(x->k->grad, y->k->grad);
    assert_same(x->v->grad, y->v->grad);
    if (x->decay)
        assert_same(x->decay->grad, y->decay->grad);
    if (x->beta)
        assert_same(x->beta->grad, y->beta->grad);
}

static void test_equal_weights_make_one_state(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct scan plain = open_plain(&variants[i], HY_TRAIN, VALUE);
        struct scan levels = open_levels(&variants[i], HY_TRAIN, 0, TOKENS, 8, NULL);
        for (int64_t j = 0; j < levels.lambda->rows * levels.lambda->cols; j++)
            ((hy_real *)levels.lambda->data)[j] = 1;
        hy_graph_run(plain.graph, NULL);
        hy_graph_run(levels.graph, NULL);
        assert_same(levels.o, plain.o);
        assert_same_gradients(&levels, &plain);
        hy_graph_free(plain.graph);
        hy_graph_free(levels.graph);
    }
}

/* As the paper writes it. */
static int level_of(int t, int s)
{
    return s == t ? 0 : 1 + (int)floor(log2(t ^ s));
}

/* A scan whose values are the unit vectors gives what each token takes of each other one. */
static void test_weights_follow_the_definition(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct scan units = open_plain(&variants[i], HY_EVAL, TOKENS);
        struct scan levels = open_levels(&variants[i], HY_EVAL, 0, TOKENS, 8, NULL);
        for (int64_t row = 0; row < ROWS; row++)
            for (int64_t c = 0; c < units.v->cols; c++)
                ((hy_real *)units.v->data)[row * units.v->ld + c] = c % TOKENS == row % TOKENS;
        hy_graph_run(units.graph, NULL);
        hy_graph_run(levels.graph, NULL);
        const hy_real *taken = units.o->data, *lambda = levels.lambda->data, *v = levels.v->data;
        for (int64_t row = 0; row < ROWS; row++)
            for (int64_t c = 0; c < VALUES; c++) {
                const int64_t head = c / VALUE, first = row / TOKENS * TOKENS;
                const int t = (int)(row - first);
                hy_real want = 0;
                for (int s = 0; s <= t; s++)
                    want += lambda[(row * HEADS + head) * LEVELS + level_of(t, s)] *
                            taken[(row * HEADS + head) * TOKENS + s] * v[(first + s) * VALUES + c];
                assert_close((hy_real *)levels.o->data + row * VALUES + c, &want, 1);
            }
        hy_graph_free(units.graph);
        hy_graph_free(levels.graph);
    }
}

static void test_chunks_change_nothing(void **state)
{
    static const int chunks[] = {1, 2, 8, 16, 32, 0, 128};
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct scan whole = open_levels(&variants[i], HY_TRAIN, 0, TOKENS, 4, NULL);
        hy_graph_run(whole.graph, NULL);
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            struct scan s = open_levels(&variants[i], HY_TRAIN, 0, TOKENS, chunks[c], NULL);
            hy_graph_run(s.graph, NULL);
            assert_same(s.o, whole.o);
            assert_same(s.lambda->grad, whole.lambda->grad);
            assert_same_gradients(&s, &whole);
            hy_graph_free(s.graph);
        }
        hy_graph_free(whole.graph);
    }
}

static void test_decoding_in_a_cache_equals_the_whole(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct hy_slab cache;
        struct scan whole = open_levels(&variants[i], HY_EVAL, 0, TOKENS, 0, NULL);
        hy_graph_run(whole.graph, NULL);
        hy_slab_init(&cache, 1);
        for (int t = 0, tokens = 11; t < TOKENS; t += tokens, tokens = 1) {
            struct scan step = open_levels(&variants[i], HY_CACHED, t, tokens, 0, &cache);
            hy_graph_run(step.graph, NULL);
            assert_rows(step.o, step.part, whole.o);
            hy_graph_free(step.graph);
        }
        hy_slab_release(&cache);
        hy_graph_free(whole.graph);
    }
}

static void test_levels_reach_powers_of_two(void **state)
{
    (void)state;
    for (int tokens = 1; tokens <= 300; tokens++) {
        int highest = 0;
        for (int t = 0; t < tokens; t++)
            highest = level_of(t, 0) > highest ? level_of(t, 0) : highest;
        assert_int_equal(hy_levels_of(tokens), highest + 1);
        assert_true(hy_levels_reach(highest + 1) >= tokens);
    }
}

static void test_shapes_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        struct hy_scan scan;
        int decays, weights, states;
        const char *says;
    } bad[] = {
        {{2, 3, 4, 1, 0, 0}, 6, 6, 0, "decay has 6 columns, not one for each of 2 heads"},
        {{2, 3, 4, 1, 0, 0}, 2, 5, 0, "lambda has 5 columns, not the same number for 2 heads"},
        {{2, 3, 4, 1, 0, 0}, 2, 4, 0, "levels 2 reaches 2 tokens, not 3; 3 does"},
        {{2, 3, 4, 1, 6, 0}, 2, 6, 0, "chunks of 6 tokens, not of a power of two"},
        {{2, 3, 4, 1, 0, 0}, 2, 6, 1, "states are for caches alone"},
        {{2, 3, 5, 1, 0, 0}, 2, 6, 0, "v is [6, 8], not [6, 10]"},
        {{0, 3, 4, 1, 0, 0}, 2, 6, 0, "0 heads"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct hy_shape shape = {.replicas = 1, .batch = 2, .tokens = 3, .mode = HY_EVAL};
        struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, NULL);
        struct hy_tensor *keys = hy_graph_leaf(g, "k", 6, 6, -1, 1);
        struct hy_tensor *values = hy_graph_leaf(g, "v", 6, 8, -1, 1);
        struct hy_tensor *decay = hy_graph_leaf(g, "decay", 6, bad[i].decays, -1, 0);
        struct hy_tensor *lambda = hy_graph_leaf(g, "lambda", 6, bad[i].weights, 0, 1);
        struct hy_err e = {0};
        assert_null(hy_level_scan(g, keys, keys, values, decay, NULL, lambda, &bad[i].scan,
                                  bad[i].states ? values : NULL));
        assert_int_equal(hy_graph_plan(g, &e), HY_E_USAGE);
        if (!strstr(e.text, bad[i].says) || !strstr(e.text, "level_scan"))
            fail_msg("case %zu says: %s", i, e.text);
        hy_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_weights_make_one_state),
        cmocka_unit_test(test_weights_follow_the_definition),
        cmocka_unit_test(test_chunks_change_nothing),
        cmocka_unit_test(test_decoding_in_a_cache_equals_the_whole),
        cmocka_unit_test(test_levels_reach_powers_of_two),
        cmocka_unit_test(test_shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
