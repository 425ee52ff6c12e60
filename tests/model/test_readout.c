/* Laws of the readout: what it predicts comes from the last token's state and a position alone, and
 * a model learns through it; models of other tasks do not have it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/trial/trial.h"
#include "tests/support/config.h"
#include "tests/support/model_kit.h"

enum { BATCH = 2, TOKENS = 21 };

static void open_kit(struct kit *k, const char *variant, int readout)
{
    kit_init(k, hy_variant_find(variant), NULL, "LF", 1);
    k->spec.readout = readout;
}

static int32_t token(int sequence, int t)
{
    return kit_token(5, sequence * 1000 + t);
}

/* Logits [BATCH, TOKENS, SMALL_VOCAB]. bump: added to the last token. */
static void parallel_logits(struct kit *k, int bump, float *logits)
{
    struct hy_model_ends ends;
    struct hy_graph *g = kit_graph(k, HY_EVAL, BATCH, TOKENS, 0, NULL, &ends, NULL, 7);
    int32_t *tokens = hy_data(ends.tokens, 0);
    for (int i = 0; i < BATCH * TOKENS; i++)
        tokens[i] = token(i / TOKENS, i % TOKENS);
    tokens[BATCH * TOKENS - 1] = (tokens[BATCH * TOKENS - 1] + bump) % SMALL_VOCAB;
    hy_graph_run(g, NULL);
    memcpy(logits, hy_data(ends.logits, 0), sizeof(float) * BATCH * TOKENS * SMALL_VOCAB);
    hy_graph_free(g);
}

static double distance(const float *a, const float *b)
{
    double worst = 0;
    for (int c = 0; c < SMALL_VOCAB; c++)
        worst = fmax(worst, fabs((double)a[c] - (double)b[c]));
    return worst;
}

static void it_knows_the_last_state_and_a_position(void **state)
{
    (void)state;
    static float all[BATCH][TOKENS][SMALL_VOCAB], other[BATCH][TOKENS][SMALL_VOCAB];
    struct kit k;
    open_kit(&k, "gated_deltanet", 1);
    parallel_logits(&k, 0, all[0][0]);
    parallel_logits(&k, 1, other[0][0]);
    for (int t = 0; t < TOKENS; t++) {
        assert_true(distance(all[0][t], other[0][t]) == 0); /* another sequence's last token */
        assert_true(distance(all[1][t], other[1][t]) > 1e-3);
        assert_true(!t || distance(all[0][0], all[0][t]) > 1e-3);
    }
    kit_release(&k);
}

/* A cached graph has nothing but the state: after the last token it says of position 0 what the
 * whole sequence's graph says of it. */
static void it_needs_nothing_but_the_state(void **state)
{
    (void)state;
    static float all[BATCH][TOKENS][SMALL_VOCAB];
    struct hy_model_ends ends;
    struct hy_slab cache;
    struct kit k;
    open_kit(&k, "gated_deltanet", 1);
    parallel_logits(&k, 0, all[0][0]);
    hy_slab_init(&cache, 1);
    struct hy_graph *g = kit_graph(&k, HY_CACHED, BATCH, 1, TOKENS, &cache, &ends, NULL, 7);
    for (int t = 0; t < TOKENS; t++) {
        for (int b = 0; b < BATCH; b++)
            ((int32_t *)hy_data(ends.tokens, 0))[b] = token(b, t);
        g->position = t;
        hy_graph_run(g, NULL);
    }
    const float *logits = hy_data(ends.logits, 0);
    for (int b = 0; b < BATCH; b++)
        assert_true(distance(logits + b * SMALL_VOCAB, all[b][0]) < 1e-4);
    hy_graph_free(g);
    hy_slab_release(&cache);
    kit_release(&k);
}

static int64_t parameters(int readout, int *entries)
{
    struct hy_model_ends ends;
    struct hy_tensor *weights;
    struct kit k;
    open_kit(&k, "gla", readout);
    hy_graph_free(kit_graph(&k, HY_TRAIN, BATCH, TOKENS, 0, NULL, &ends, &weights, 7));
    const int64_t count = k.params.count, d = k.spec.d_model;
    *entries = 0;
    for (int i = 0; i < k.params.entry_count; i++)
        *entries += !strncmp(k.params.entries[i].name, "model.readout.", 14);
    kit_release(&k);
    return count - readout * (2 * d * d + 3 * d);
}

static void other_models_do_without_it(void **state)
{
    (void)state;
    int with, without;
    assert_int_equal(parameters(1, &with), parameters(0, &without));
    assert_int_equal(with, 5);
    assert_int_equal(without, 0);
}

static int resolve(const char *data, int seed, struct hy_config *c, struct hy_err *e)
{
    char text[1024];
    snprintf(
        text, sizeof text,
        "{\"model\": {\"d_model\": 32, \"layers\": 2, \"heads\": 2, \"mlp\": 32,"
        "   \"init_std\": 0.1}, \"mixer\": {\"variant\": \"gated_deltanet\", \"ratio\": \"1:1\"},"
        " \"data\": {%s}, \"train\": {\"steps\": 300, \"batch\": 16, \"seq_len\": 5,"
        "   \"lr\": 0.005, \"seed\": %d}}",
        data, seed);
    return config_from_json(text, c, e);
}

#define COMPRESS "{\"task\": \"mad_compress\", \"vocab\": 5, \"examples\": 64}"

/* What the members of a gang say at their ends. */
struct record {
    char end[2][16];
    double recall[2];
};

static void note(void *context, const struct hy_row *row)
{
    struct record *r = context;
    if (row->type == HY_ROW_END)
        snprintf(r->end[row->member], sizeof r->end[0], "%s", row->name);
    if (row->type == HY_ROW_FACT && !strcmp(row->name, "recall_test"))
        r->recall[row->member] = row->value;
}

static struct record run(const struct hy_trial_order *orders, int count)
{
    struct record r = {0};
    struct hy_err e = {0};
    if (hy_trial_run(orders, count, &(struct hy_trial_io){.emit = note, .context = &r}, &e))
        fail_msg("%s", e.text);
    return r;
}

/* Also evaluates longer sequences than it trains on: positions are not learnt. */
static void small_models_learn_to_compress_alone_or_in_a_gang(void **state)
{
    (void)state;
    static const char data[] = "\"train\": [" COMPRESS "], \"eval\": [" COMPRESS
                               ", {\"task\": \"mad_compress\", \"seq_len\": 9}]";
    static const double chance = 1.0 / 4;
    char checkpoint[] = "readout_XXXXXX";
    struct hy_config c[2];
    struct hy_err e;
    close(mkstemp(checkpoint));
    unlink(checkpoint);
    if (resolve(data, 0, &c[0], &e) || resolve(data, 1, &c[1], &e))
        fail_msg("%s", e.text);
    const struct hy_trial_order gang[] = {{.config = &c[0]}, {.config = &c[1]}};
    const struct hy_trial_order half = {.config = &c[1], .checkpoint = checkpoint, .until = 150},
                                rest = {.config = &c[1], .checkpoint = checkpoint};
    const struct record together = run(gang, 2), paused = run(&half, 1), resumed = run(&rest, 1);
    for (int r = 0; r < 2; r++) {
        assert_string_equal(together.end[r], "done");
        assert_true(together.recall[r] > 3 * chance);
    }
    assert_string_equal(paused.end[0], "paused");
    assert_string_equal(resumed.end[0], "done");
    assert_true(resumed.recall[0] == together.recall[1]);
    unlink(checkpoint);
    for (int r = 0; r < 2; r++)
        hy_config_release(&c[r]);
}

static void its_tasks_are_mixed_with_no_other(void **state)
{
    (void)state;
    static const char mqar[] = "{\"task\": \"mqar\", \"vocab\": 8, \"pairs\": 1}";
    char mixtures[3][256];
    snprintf(mixtures[0], sizeof mixtures[0], "\"train\": [" COMPRESS ", %s]", mqar);
    snprintf(mixtures[1], sizeof mixtures[1], "\"train\": [%s, " COMPRESS "]", mqar);
    snprintf(mixtures[2], sizeof mixtures[2], "\"train\": [" COMPRESS "], \"eval\": [%s]", mqar);
    for (int i = 0; i < 3; i++) {
        struct hy_config c;
        struct hy_err e;
        assert_int_equal(resolve(mixtures[i], 0, &c, &e), HY_E_USAGE);
        assert_non_null(
            strstr(e.text, "task mad_compress is predicted from the last token's state"));
        assert_non_null(strstr(e.text, "beside task mqar"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_knows_the_last_state_and_a_position),
        cmocka_unit_test(it_needs_nothing_but_the_state),
        cmocka_unit_test(other_models_do_without_it),
        cmocka_unit_test(small_models_learn_to_compress_alone_or_in_a_gang),
        cmocka_unit_test(its_tasks_are_mixed_with_no_other),
    };
    return cmocka_run_group_tests_name("the readout", tests, NULL, NULL);
}
