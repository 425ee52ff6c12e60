/* Laws of model.match: the count is that of the model that is built, no neighbour is nearer, the
 * solved configuration is the one that a person would have written. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/trial/trial.h"
#include "tests/support/config.h"

/* model and mixer: the entries of these sections, as JSON without the braces. */
static int resolve(const char *model, const char *mixer, struct hy_config *out, struct hy_err *e)
{
    char text[1024];
    snprintf(text, sizeof text,
             "{\"model\": {\"layers\": 4, %s}, \"mixer\": {%s},"
             " \"data\": {\"train\": [{\"task\": \"mqar\", \"vocab\": 64, \"pairs\": [4]}]},"
             " \"train\": {\"batch\": 2, \"seq_len\": 64}, \"eval\": {\"contexts\": [64, 512]}}",
             model, mixer);
    return config_from_json(text, out, e);
}

static struct hy_config resolved(const char *model, const char *mixer)
{
    struct hy_config c;
    struct hy_err e = {0};
    if (resolve(model, mixer, &c, &e))
        fail_msg("%s; %s: %s", model, mixer, e.text);
    return c;
}

static struct hy_estimate estimated(const struct hy_config *c)
{
    struct hy_estimate estimate;
    struct hy_err e = {0};
    if (hy_trial_estimate(c, &estimate, &e))
        fail_msg("%s", e.text);
    return estimate;
}

static double answer(const struct hy_config *c, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "model.match.%s", name);
    return hy_value_at(c->tree, path)->real;
}

/* Every variant and kind of layout, every target and size. */
static void what_is_reached_is_what_the_model_has(void **state)
{
    (void)state;
    static const char *const ratios[] = {"pure", "3:1", "full"};
    static const struct {
        const char *match;
        double wanted;
    } targets[] = {
        {"\"params\": \"300k\", \"by\": \"mlp\"", 300000},
        {"\"params\": \"0.3M\", \"by\": \"d_model\"", 300000},
        {"\"flops\": \"2M\", \"by\": \"mlp\"", 2e6},
        {"\"cache_bytes\": \"512Ki\"", 524288},
    };
    for (int v = 0; hy_variants[v]; v++)
        for (size_t i = 0; i < 12; i++) {
            char model[256], mixer[128];
            const int by_mlp = strstr(targets[i / 3].match, "mlp") != NULL;
            const int bytes = strstr(targets[i / 3].match, "bytes") != NULL;
            if ((by_mlp && hy_variants[v]->no_mlp) || (bytes && i % 3 == 0))
                continue;
            snprintf(model, sizeof model, "%s \"match\": {%s, \"tolerance\": 1}",
                     by_mlp ? "\"d_model\": 64," : "", targets[i / 3].match);
            snprintf(mixer, sizeof mixer, "\"variant\": \"%s\", \"ratio\": \"%s\"",
                     hy_variants[v]->name, ratios[i % 3]);
            struct hy_config c = resolved(model, mixer);
            const struct hy_estimate e = estimated(&c);
            const double reached = answer(&c, "reached"), wanted = targets[i / 3].wanted;
            const double counted = bytes          ? (double)e.cache_bytes
                                   : wanted > 1e6 ? e.flops_per_token
                                                  : (double)e.params;
            if (!(fabs(reached - counted) <= 1e-9 * counted))
                fail_msg("%s %s: reached %g, but the model has %g", model, mixer, reached, counted);
            assert_true(fabs(answer(&c, "residual") - (reached / wanted - 1)) < 1e-12);
            hy_config_release(&c);
        }
}

static void no_neighbour_is_nearer(void **state)
{
    (void)state;
    for (int wanted = 200000; wanted < 400000; wanted += 26417) {
        char model[128];
        snprintf(model, sizeof model, "\"d_model\": 64, \"match\": {\"params\": %d}", wanted);
        struct hy_config c = resolved(model, "\"variant\": \"gla\"");
        const double away = fabs(answer(&c, "residual")) * wanted;
        assert_int_equal(c.model.d_model, 64);
        for (int side = -8; side <= 8; side += 16) {
            c.model.mlp += side;
            assert_true(fabs((double)estimated(&c).params - wanted) >= away - 1e-6);
            c.model.mlp -= side;
        }
        hy_config_release(&c);
    }
}

static void the_key_is_that_of_the_solved_configuration(void **state)
{
    (void)state;
    char model[64], keys[2][HY_HASH_TEXT];
    const char *mixer = "\"variant\": \"retnet\", \"ratio\": \"3:1\"";
    struct hy_config c = resolved("\"match\": {\"params\": 200000, \"by\": \"d_model\","
                                  " \"tolerance\": 0.5}",
                                  mixer);
    snprintf(model, sizeof model, "\"d_model\": %d", c.model.d_model);
    struct hy_config written = resolved(model, mixer);
    assert_int_equal(written.model.mlp, c.model.mlp); /* follows the width */
    assert_int_equal(hy_config_key(&c, NULL, keys[0], NULL), 0);
    assert_int_equal(hy_config_key(&written, NULL, keys[1], NULL), 0);
    assert_string_equal(keys[0], keys[1]);

    struct hy_config again;
    assert_int_equal(hy_config_resolve(c.tree, &again, NULL), 0);
    assert_true(hy_value_equal(c.tree, again.tree));
    hy_config_release(&again);
    hy_config_release(&written);
    hy_config_release(&c);
}

static void widths_keep_dividing(void **state)
{
    (void)state;
    /* Three heads that rotate, in steps of eight. */
    struct hy_config c = resolved("\"heads\": 3, \"match\": {\"cache_bytes\": \"768Ki\"}",
                                  "\"variant\": \"softmax\", \"ratio\": \"full\"");
    assert_int_equal(c.model.d_model % 24, 0);
    hy_config_release(&c);
}

static void without_an_mlp_the_width_is_chosen(void **state)
{
    (void)state;
    struct hy_config c = resolved("\"match\": {\"params\": \"1M\", \"tolerance\": 0.3}",
                                  "\"variant\": \"mamba2\", \"ratio\": \"pure\"");
    assert_string_equal(hy_value_at(c.tree, "model.match.by")->string, "d_model");
    hy_config_release(&c);
}

static void heads_divide_the_width(void **state)
{
    (void)state;
    struct hy_config c =
        resolved("\"d_model\": 64, \"match\": {\"state_bytes\": \"4Ki\", \"by\": \"heads\"}",
                 "\"variant\": \"gla\", \"ratio\": \"pure\"");
    assert_int_equal(c.model.heads, 8); /* 4 layers, 8 heads of 4 x 8, 4 bytes each */
    assert_true(answer(&c, "reached") == 4096);
    hy_config_release(&c);
}

static void what_cannot_be_reached_is_refused_with_key_value_and_bound(void **state)
{
    (void)state;
    static const struct {
        const char *model, *says;
    } cases[] = {
        {"\"match\": {\"params\": 1000}",
         "no mlp reaches model.match.params 1000 within 5 %: the nearest, mlp 8, gives "},
        {"\"match\": {\"params\": 1000}", "mlp goes from 8 to 1048576 in steps of 8"},
        {"\"match\": {\"params\": \"200G\"}", "mlp 1048576, gives "},
        {"\"d_model\": 64, \"match\": {\"state_bytes\": 1, \"by\": \"heads\"}",
         "heads divide d_model"},
        {"\"match\": {\"params\": 1000, \"flops\": 5}", "has one target of params, flops"},
        {"\"match\": {\"by\": \"mlp\"}", "not 0"},
        {"\"match\": {\"state_bytes\": \"1Mi\", \"by\": \"mlp\"}",
         "mlp does not change state_bytes"},
        {"\"match\": {\"parms\": 1000}", "did you mean 'params'?"},
        {"\"match\": {\"params\": \"5 apples\"}", "a number such as 200000, 1.5M, 64Ki"},
        {"\"match\": {\"params\": -5}", "params in model.match must be at least 0"},
        {"\"match\": {\"params\": \"1M\", \"by\": \"width\"}", "valid: auto, mlp, d_model, heads"},
        {"\"match\": 5", "model.match must be a map"},
        {"\"d_model\": 66, \"match\": {\"params\": \"1M\"}", "66 is not a multiple of heads 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hy_config c;
        struct hy_err e = {0};
        assert_int_equal(resolve(cases[i].model, "\"variant\": \"gla\"", &c, &e), HY_E_USAGE);
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_reached_is_what_the_model_has),
        cmocka_unit_test(no_neighbour_is_nearer),
        cmocka_unit_test(the_key_is_that_of_the_solved_configuration),
        cmocka_unit_test(widths_keep_dividing),
        cmocka_unit_test(without_an_mlp_the_width_is_chosen),
        cmocka_unit_test(heads_divide_the_width),
        cmocka_unit_test(what_cannot_be_reached_is_refused_with_key_value_and_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
