/* Laws of the scans: how a sequence is cut - into chunks, into runs, into single tokens - changes
 * nothing; and what does not fit is refused. In double, where equal means equal to 1e-12. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ops/scan/delta_scan.h"
#include "core/ops/scan/gated_scan.h"
#include "tests/support/sequences.h"

enum { BATCH = 2, TOKENS = 45, HEADS = 4, KEY = 11, VALUE = 10 };
enum { KEYS = HEADS * KEY, VALUES = HEADS * VALUE };
enum decay { NONE, CONSTANT, BY_HEAD, BY_CHANNEL };

static const struct variant {
    int delta;
    enum decay decay;
    int key_heads; /* heads / key_heads heads share q and k */
} variants[] = {
    {0, CONSTANT, 4},   {0, BY_HEAD, 4},  {0, BY_CHANNEL, 4}, {1, NONE, 4},       {1, BY_HEAD, 4},
    {1, BY_CHANNEL, 4}, {0, CONSTANT, 1}, {0, BY_HEAD, 2},    {0, BY_CHANNEL, 2}, {1, BY_HEAD, 2},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* A graph of one scan over tokens [first, first + tokens) of the same two long sequences. */
struct scan {
    struct hy_graph *graph;
    struct hy_tensor *q, *k, *v, *decay, *beta, *h0, *o, *ht;
};

static void fill(struct hy_tensor *t, int first, int tokens, double lo, double hi, uint32_t purpose)
{
    fill_part(t, (struct part){first, tokens, TOKENS}, lo, hi, purpose);
}

static struct hy_tensor *leaf(struct scan *s, const char *name, int64_t rows, int64_t cols)
{
    return hy_graph_leaf(s->graph, name, rows, cols, -1, 1);
}

/* cache: the state lives there and is updated in place; else it comes in by h0 and leaves by ht. */
static struct scan open_scan(const struct variant *variant, enum hy_mode mode, int first,
                             int tokens, int chunk, struct hy_slab *cache)
{
    const struct hy_shape shape = {.replicas = 1, .batch = BATCH, .tokens = tokens, .mode = mode};
    const struct hy_scan attr = {HEADS, KEY, VALUE, 0.4, chunk, variant->key_heads};
    const int64_t rows = (int64_t)BATCH * tokens, read = (int64_t)variant->key_heads * KEY;
    struct scan s = {.graph = hy_graph_new(&shape, NULL, NULL, cache)};
    struct hy_err e;
    assert_non_null(s.graph);
    s.q = leaf(&s, "q", rows, read);
    s.k = leaf(&s, "k", rows, read);
    s.v = leaf(&s, "v", rows, VALUES);
    if (variant->decay != NONE)
        s.decay = leaf(&s, "decay", variant->decay == CONSTANT ? 1 : rows,
                       variant->decay == BY_CHANNEL ? KEYS : HEADS);
    if (variant->delta)
        s.beta = leaf(&s, "beta", rows, HEADS);
    if (cache) {
        const struct hy_entry entry = {
            .name = "state", .rank = 2, .dims = {(int64_t)BATCH * KEYS, VALUE}};
        s.ht = s.h0 = hy_graph_state(s.graph, &entry);
        if (!cache->data)
            assert_int_equal(hy_slab_allocate(cache, &e), HY_OK);
    } else {
        s.h0 = leaf(&s, "h0", (int64_t)BATCH * KEYS, VALUE);
    }
    s.o = variant->delta
              ? hy_delta_scan(s.graph, s.q, s.k, s.v, s.beta, s.decay, &attr, s.h0, &s.ht)
              : hy_gated_scan(s.graph, s.q, s.k, s.v, s.decay, &attr, s.h0, &s.ht);
    hy_graph_keep(s.o);
    if (!cache)
        hy_graph_keep(s.ht);
    if (mode == HY_TRAIN) {
        struct hy_tensor *dy[2] = {hy_graph_input(s.graph, "do", HY_REAL, rows, VALUES),
                                   hy_graph_input(s.graph, "dht", HY_REAL, s.ht->rows, VALUE)};
        struct hy_tensor *y[2] = {s.o, s.ht};
        assert_int_equal(hy_graph_backward(s.graph, 2, y, dy, &e), HY_OK);
    }
    if (hy_graph_plan(s.graph, &e))
        fail_msg("%s", e.text);
    fill(s.q, first, tokens, -1, 1, 0);
    fill(s.k, first, tokens, -0.5, 0.5, 1);
    fill(s.v, first, tokens, -1, 1, 2);
    fill(s.decay, first, tokens, -0.4, 0, 3);
    fill(s.beta, first, tokens, 0, 1, 4);
    if (mode == HY_TRAIN) {
        fill(s.o->grad, first, tokens, -1, 1, 5);
        fill(s.ht->grad, 0, TOKENS, -1, 1, 6);
    }
    return s;
}

/* Of two runs in training: values, and the gradients of all but q and k. */
static void assert_same_but_keys(const struct scan *x, const struct scan *y)
{
    assert_same(x->o, y->o);
    assert_same(x->ht, y->ht);
    assert_same(x->v->grad, y->v->grad);
    assert_same(x->h0->grad, y->h0->grad);
    if (x->decay)
        assert_same(x->decay->grad, y->decay->grad);
    if (x->beta)
        assert_same(x->beta->grad, y->beta->grad);
}

static void test_chunks_change_nothing(void **state)
{
    static const int chunks[] = {1, 7, 8, 20, TOKENS, 1000};
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct scan whole = open_scan(&variants[i], HY_TRAIN, 0, TOKENS, 0, NULL);
        fill(whole.h0, 0, TOKENS, -1, 1, 7);
        hy_graph_run(whole.graph, NULL);
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            struct scan s = open_scan(&variants[i], HY_TRAIN, 0, TOKENS, chunks[c], NULL);
            fill(s.h0, 0, TOKENS, -1, 1, 7);
            hy_graph_run(s.graph, NULL);
            assert_same_but_keys(&s, &whole);
            assert_same(s.q->grad, whole.q->grad);
            assert_same(s.k->grad, whole.k->grad);
            hy_graph_free(s.graph);
        }
        hy_graph_free(whole.graph);
    }
}

static void test_a_cut_sequence_equals_the_whole(void **state)
{
    static const int cuts[] = {1, 8, 29, TOKENS - 1};
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct scan whole = open_scan(&variants[i], HY_EVAL, 0, TOKENS, 0, NULL);
        hy_graph_run(whole.graph, NULL);
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
            const int cut = cuts[c], rest = TOKENS - cut;
            struct scan first = open_scan(&variants[i], HY_EVAL, 0, cut, 0, NULL);
            struct scan second = open_scan(&variants[i], HY_EVAL, cut, rest, 0, NULL);
            hy_graph_run(first.graph, NULL);
            memcpy(second.h0->data, first.ht->data, sizeof(hy_real) * BATCH * KEYS * VALUE);
            hy_graph_run(second.graph, NULL);
            assert_rows(first.o, (struct part){0, cut, TOKENS}, whole.o);
            assert_rows(second.o, (struct part){cut, rest, TOKENS}, whole.o);
            assert_same(second.ht, whole.ht);
            hy_graph_free(first.graph);
            hy_graph_free(second.graph);
        }
        hy_graph_free(whole.graph);
    }
}

static void test_decoding_in_a_cache_equals_the_whole(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct hy_slab cache;
        struct scan whole = open_scan(&variants[i], HY_EVAL, 0, TOKENS, 0, NULL);
        hy_graph_run(whole.graph, NULL);
        hy_slab_init(&cache, 1);
        for (int t = 0, tokens = 9; t < TOKENS; t += tokens, tokens = 1) {
            struct scan step = open_scan(&variants[i], HY_CACHED, t, tokens, 0, &cache);
            hy_graph_run(step.graph, NULL);
            assert_rows(step.o, (struct part){t, tokens, TOKENS}, whole.o);
            hy_graph_free(step.graph);
        }
        assert_close(cache.data, whole.ht->data, (int64_t)BATCH * KEYS * VALUE);
        hy_slab_release(&cache);
        hy_graph_free(whole.graph);
    }
}

/* to's head h gets what is in from's head h / sharing. */
static void copy_heads(const struct hy_tensor *from, const struct hy_tensor *to)
{
    const int64_t sharing = to->cols / from->cols;
    for (int64_t row = 0; row < to->rows; row++)
        for (int64_t c = 0; c < to->cols; c++)
            ((hy_real *)to->data)[row * to->ld + c] =
                ((hy_real *)from->data)[row * from->ld + c / KEY / sharing * KEY + c % KEY];
}

static void assert_summed(const struct hy_tensor *sum, const struct hy_tensor *parts)
{
    const int64_t sharing = parts->cols / sum->cols;
    for (int64_t row = 0; row < sum->rows; row++)
        for (int64_t c = 0; c < sum->cols; c++) {
            const hy_real got = ((hy_real *)sum->data)[row * sum->ld + c];
            const hy_real *part = (hy_real *)parts->data + row * parts->ld;
            hy_real want = 0;
            for (int64_t i = 0; i < sharing; i++)
                want += part[(c / KEY * sharing + i) * KEY + c % KEY];
            assert_close(&got, &want, 1);
        }
}

static void test_shared_keys_are_as_good_as_copies(void **state)
{
    static const int chunks[] = {0, 7, 24, 1000};
    (void)state;
    for (int i = 0; i < VARIANTS; i++)
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            struct variant each = variants[i];
            if (each.key_heads == HEADS)
                continue;
            struct scan shared = open_scan(&each, HY_TRAIN, 0, TOKENS, chunks[c], NULL);
            each.key_heads = HEADS;
            struct scan own = open_scan(&each, HY_TRAIN, 0, TOKENS, chunks[c], NULL);
            copy_heads(shared.q, own.q);
            copy_heads(shared.k, own.k);
            fill(shared.h0, 0, TOKENS, -1, 1, 7);
            fill(own.h0, 0, TOKENS, -1, 1, 7);
            hy_graph_run(shared.graph, NULL);
            hy_graph_run(own.graph, NULL);
            assert_same_but_keys(&shared, &own);
            assert_summed(shared.q->grad, own.q->grad);
            assert_summed(shared.k->grad, own.k->grad);
            hy_graph_free(shared.graph);
            hy_graph_free(own.graph);
        }
}

static void test_no_token_sees_a_later_one(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct scan s = open_scan(&variants[i], HY_EVAL, 0, TOKENS, 0, NULL);
        hy_real before[TOKENS * VALUES];
        hy_graph_run(s.graph, NULL);
        memcpy(before, s.o->data, sizeof before);
        for (int t = TOKENS - 1; t > 0; t--) {
            ((hy_real *)s.q->data)[t * s.q->cols] += 1;
            ((hy_real *)s.k->data)[t * s.k->cols] += 1;
            ((hy_real *)s.v->data)[t * VALUES] += 1;
            hy_graph_run(s.graph, NULL);
            assert_memory_equal(before, s.o->data, sizeof(hy_real) * (size_t)t * VALUES);
        }
        hy_graph_free(s.graph);
    }
}

static void test_shapes_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        struct hy_scan scan;
        int decay_rows, decay_cols;
        const char *says;
    } bad[] = {
        {{2, 3, 4, 1, 0, 0}, 5, 2, "decay is [5, 2], not [6, 2]"},
        {{2, 3, 4, 1, 0, 0}, 6, 5, "decay is [6, 5], not [6, 6]"},
        {{2, 3, 5, 1, 0, 0}, 6, 2, "v is [6, 8], not [6, 10]"},
        {{3, 3, 4, 1, 0, 0}, 6, 3, "q is [6, 6], not [6, 9]"},
        {{2, 3, 4, 1, -1, 0}, 6, 2, "in chunks of -1"},
        {{0, 3, 4, 1, 0, 0}, 6, 2, "0 heads"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct hy_shape shape = {.replicas = 1, .batch = 2, .tokens = 3, .mode = HY_EVAL};
        struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, NULL);
        struct hy_tensor *keys = hy_graph_leaf(g, "k", 6, 6, -1, 1);
        struct hy_tensor *values = hy_graph_leaf(g, "v", 6, 8, -1, 1);
        struct hy_tensor *decay =
            hy_graph_leaf(g, "decay", bad[i].decay_rows, bad[i].decay_cols, -1, 0);
        struct hy_err e = {0};
        assert_null(hy_gated_scan(g, keys, keys, values, decay, &bad[i].scan, NULL, NULL));
        assert_int_equal(hy_graph_plan(g, &e), HY_E_USAGE);
        if (!strstr(e.text, bad[i].says) || !strstr(e.text, "gated_scan"))
            fail_msg("case %zu says: %s", i, e.text);
        hy_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_change_nothing),
        cmocka_unit_test(test_a_cut_sequence_equals_the_whole),
        cmocka_unit_test(test_decoding_in_a_cache_equals_the_whole),
        cmocka_unit_test(test_shared_keys_are_as_good_as_copies),
        cmocka_unit_test(test_no_token_sees_a_later_one),
        cmocka_unit_test(test_shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
