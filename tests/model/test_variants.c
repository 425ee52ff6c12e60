/* What single variants promise beyond the laws that all obey. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/ops/lower_bound.h"
#include "tests/support/model_kit.h"

/* Checks the parameters of a two-layer model of `name` against "name rows x ..." lines. */
static void check_parameters(const char *name, const char *const *want)
{
    struct kit k;
    struct hy_model_ends ends;
    kit_init(&k, hy_variant_find(name), NULL, "LL", 1);
    hy_graph_free(kit_graph(&k, HY_EVAL, 1, 4, 0, NULL, &ends, NULL, 1));
    for (; *want; want++) {
        char found[256] = "";
        const size_t size = strcspn(*want, " ");
        for (int i = 0; i < k.params.entry_count; i++) {
            const struct hy_entry *entry = &k.params.entries[i];
            if (strlen(entry->name) != size || strncmp(entry->name, *want, size))
                continue;
            int at = snprintf(found, sizeof found, "%s", entry->name);
            for (int d = 0; d < entry->rank; d++)
                at += snprintf(found + at, sizeof found - (size_t)at, " %lld",
                               (long long)entry->dims[d]);
        }
        assert_string_equal(found, *want);
    }
    kit_release(&k);
}

/* Names and dims of flash-linear-attention 0.5.2, for d_model 32 and 2 heads. */
static void parameters_are_called_as_in_the_public_reference(void **state)
{
    (void)state;
    check_parameters("hgrn", (const char *[]){"model.lower_bounds 2 32",
                                              "model.layers.1.attn.i_proj.weight 32 32",
                                              "model.layers.1.attn.f_proj.weight 32 32",
                                              "model.layers.1.attn.g_proj.weight 32 32",
                                              "model.layers.1.attn.g_norm.weight 32",
                                              "model.layers.1.attn.o_proj.weight 32 32", NULL});
    check_parameters("hgrn2", (const char *[]){"model.lower_bounds 2 32",
                                               "model.layers.0.attn.q_proj.weight 32 32",
                                               "model.layers.0.attn.f_proj.weight 32 32",
                                               "model.layers.0.attn.i_proj.weight 32 32",
                                               "model.layers.0.attn.g_norm.weight 32", NULL});
    check_parameters("deltanet", (const char *[]){"model.layers.0.attn.b_proj.weight 2 32",
                                                  "model.layers.0.attn.q_conv1d.weight 32 1 4",
                                                  "model.layers.0.attn.v_conv1d.weight 32 1 4",
                                                  "model.layers.0.attn.o_norm.weight 16", NULL});
    check_parameters("gated_deltanet",
                     (const char *[]){"model.layers.0.attn.k_conv1d.weight 32 1 4",
                                      "model.layers.0.attn.v_conv1d.weight 64 1 4",
                                      "model.layers.0.attn.a_proj.weight 2 32",
                                      "model.layers.0.attn.A_log 2",
                                      "model.layers.0.attn.o_norm.weight 32", NULL});
    check_parameters("kda", (const char *[]){"model.layers.0.attn.A_log 2",
                                             "model.layers.0.attn.dt_bias 32",
                                             "model.layers.0.attn.f_proj.0.weight 16 32",
                                             "model.layers.0.attn.f_proj.1.weight 32 16",
                                             "model.layers.0.attn.g_proj.0.weight 16 32",
                                             "model.layers.0.attn.g_proj.1.weight 32 16",
                                             "model.layers.0.attn.g_proj.1.bias 32",
                                             "model.layers.0.attn.o_norm.weight 16", NULL});
    check_parameters(
        "mamba2", (const char *[]){"model.layers.0.attn.in_proj.weight 385 32",
                                   "model.layers.0.attn.conv1d.weight 320 1 4",
                                   "model.layers.0.attn.conv1d.bias 320",
                                   "model.layers.0.attn.A_log 1", "model.layers.0.attn.dt_bias 1",
                                   "model.layers.0.attn.D 1", "model.layers.0.attn.norm.weight 64",
                                   "model.layers.0.attn.out_proj.weight 32 64", NULL});
    check_parameters("log_linear_mamba2",
                     (const char *[]){"model.layers.0.attn.in_proj.weight 400 32",
                                      "model.layers.0.attn.A_log 1", "model.layers.0.attn.L 1 15",
                                      NULL});
    check_parameters("log_linear_gated_deltanet",
                     (const char *[]){"model.layers.1.attn.a_proj.weight 2 32",
                                      "model.layers.1.attn.l_proj.weight 30 32",
                                      "model.layers.1.attn.L 2 15", NULL});
}

static void bounds_begin_at_the_layers_share_of_the_depth(void **state)
{
    enum { LAYERS = 5 };
    (void)state;
    for (int layer = 0; layer < LAYERS; layer++) {
        const struct hy_shape shape = {.replicas = 1, .batch = 1, .tokens = 1, .mode = HY_EVAL};
        struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, NULL);
        struct hy_err e;
        struct hy_tensor *logits = hy_graph_input(g, "logits", HY_REAL, LAYERS, 3);
        struct hy_tensor *bound = hy_lower_bound(g, logits, layer);
        hy_graph_keep(bound);
        assert_int_equal(hy_graph_plan(g, &e), HY_OK);
        memset(logits->data, 0, LAYERS * 3 * sizeof(hy_real));
        hy_graph_run(g, NULL);
        for (int c = 0; c < 3; c++)
            assert_float_equal(hy_real_data(bound, 0)[c], (double)layer / LAYERS, 1e-6);
        hy_graph_free(g);
    }
}

/* The largest gradient of the bounds after one step's backward pass. */
static double pull_on_bounds(const char *name, const char *layout)
{
    struct kit k;
    struct hy_model_ends ends;
    struct hy_tensor *weights;
    double largest = 0;
    kit_init(&k, hy_variant_find(name), NULL, layout, 1);
    struct hy_graph *g = kit_graph(&k, HY_TRAIN, 1, 8, 0, NULL, &ends, &weights, 1);
    for (int i = 0; i < 8; i++) {
        ((int32_t *)hy_data(ends.tokens, 0))[i] = kit_token(1, i);
        ((int32_t *)hy_data(ends.labels, 0))[i] = kit_token(2, i);
        hy_real_data(weights, 0)[i] = 1;
    }
    hy_graph_run(g, NULL);
    const struct hy_entry *entry = &k.params.entries[hy_slab_find(&k.params, "model.lower_bounds")];
    for (int64_t i = 0; i < entry->count; i++)
        largest = fmax(largest, fabs((double)k.grads.data[entry->offset + i]));
    hy_graph_free(g);
    kit_release(&k);
    return largest;
}

static void bounds_are_learned_by_all_layers_but_the_first(void **state)
{
    (void)state;
    assert_true(pull_on_bounds("hgrn", "LL") > 1e-4);
    assert_true(pull_on_bounds("hgrn2", "FL") > 1e-4);
    assert_true(pull_on_bounds("hgrn", "LF") == 0);
}

/* The log decays that a layer's constant holds. */
static void fixed_decays(const char *name, int layer, double *decays)
{
    struct kit k;
    struct hy_model_ends ends;
    int seen = 0;
    kit_init(&k, hy_variant_find(name), NULL, "LLLL", 1);
    struct hy_graph *g = kit_graph(&k, HY_EVAL, 1, 4, 0, NULL, &ends, NULL, 1);
    for (int i = 0; i < g->op_count; i++)
        if (!strcmp(g->ops[i]->kind->name, "constant") && seen++ == layer) {
            g->ops[i]->kind->forward(g->ops[i], 0);
            for (int h = 0; h < 2; h++)
                decays[h] = (double)hy_real_data(g->ops[i]->out[0], 0)[h];
        }
    assert_int_equal(seen, 4);
    hy_graph_free(g);
    kit_release(&k);
}

static void fixed_decays_are_the_papers(void **state)
{
    double decays[2];
    (void)state;
    fixed_decays("retnet", 3, decays);
    assert_float_equal(decays[0], log(1 - 1. / 32), 1e-7);
    assert_float_equal(decays[1], log(1 - 1. / 64), 1e-7);
    fixed_decays("lightning", 0, decays);
    assert_float_equal(decays[0], 0, 1e-7);
    assert_float_equal(decays[1], -4, 1e-6);
    fixed_decays("lightning", 3, decays);
    assert_float_equal(decays[1], -1, 1e-6);
}

static void a_mamba_block_has_no_mlp_and_its_neighbours_have(void **state)
{
    struct kit k;
    struct hy_model_ends ends;
    (void)state;
    kit_init(&k, hy_variant_find("mamba2"), NULL, "LF", 1);
    hy_graph_free(kit_graph(&k, HY_EVAL, 1, 4, 0, NULL, &ends, NULL, 1));
    assert_int_equal(hy_slab_find(&k.params, "model.layers.0.mlp.up_proj.weight"), -1);
    assert_int_equal(hy_slab_find(&k.params, "model.layers.0.mlp_norm.weight"), -1);
    assert_true(hy_slab_find(&k.params, "model.layers.1.mlp.up_proj.weight") >= 0);
    kit_release(&k);
}

static void widths_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        const char *variant, *options, *says;
    } bad[] = {
        {"deltanet", "{\"expand_k\": 0.1}", "expand_k 0.1 times d_model 32 is 3.2"},
        {"kda", "{\"expand_v\": 0.09375}", "is 3, not a multiple of heads 2"},
        {"hgrn2", "{\"expand_ratio\": 12}", "expand_ratio 12 does not divide d_model 32; 8 does"},
        {"mamba2", "{\"head_width\": 24}", "head_width 24 does not divide the inner width 64; 16"},
        {"mamba2", "{\"head_width\": 16, \"groups\": 3}",
         "groups 3 does not divide the 4 heads; 2"},
        {"gated_softmax", "{\"kv_heads\": 3}", "kv_heads 3 does not divide heads 2"},
        {"sliding_window", "{\"kv_heads\": 4}", "kv_heads 4 does not divide heads 2"},
        {"retnet", "{\"expand_k\": 0.0625}", "even key width, not 1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct kit k;
        struct hy_err e = {0};
        const struct hy_variant *v = hy_variant_find(bad[i].variant);
        kit_init(&k, v, bad[i].options, v->full ? "F" : "L", 1);
        const struct hy_mixer m = hy_model_mixer(&k.spec, 0, NULL);
        assert_int_equal(hy_kind_check(hy_model_kind(&k.spec, 0), &m, &e), HY_E_USAGE);
        if (!strstr(e.text, bad[i].says))
            fail_msg("%s %s says: %s", v->name, bad[i].options, e.text);
        kit_release(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_called_as_in_the_public_reference),
        cmocka_unit_test(bounds_begin_at_the_layers_share_of_the_depth),
        cmocka_unit_test(bounds_are_learned_by_all_layers_but_the_first),
        cmocka_unit_test(fixed_decays_are_the_papers),
        cmocka_unit_test(a_mamba_block_has_no_mlp_and_its_neighbours_have),
        cmocka_unit_test(widths_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests_name("single variants", tests, NULL, NULL);
}
