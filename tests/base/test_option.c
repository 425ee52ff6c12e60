/* Laws of option tables: what is accepted becomes canonical, what is refused is named with its
 * place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/option.h"

static const struct hy_option table[] = {
    {"steps", HY_OPT_INT, .def = 100, .min = 1, .max = 1e9, .help = "optimizer steps"},
    {"lr", HY_OPT_REAL, .def = 1e-3, .min = 0, .max = 10, .help = "learning rate"},
    {"shuffle", HY_OPT_BOOL, .def = 1, .help = "shuffles"},
    {"schedule", HY_OPT_CHOICE, .text = "cosine", .choices = "cosine|constant", .help = "schedule"},
    {"path", HY_OPT_PATH, .required = 1, .help = "the corpus"},
    {"note", HY_OPT_STRING, .help = "free text"},
    {"timeout", HY_OPT_DURATION, .def = 0, .min = 0, .max = 1e9, .help = "time limit"},
    {"pairs", HY_OPT_INTS, .text = "4, 8, 16", .min = 1, .max = 64, .help = "pair counts"},
    {"rates", HY_OPT_REALS, .def = 0.5, .min = 0, .max = 1, .help = "rates"},
    {0},
};

static int resolve(const char *json, char **canonical, struct hy_err *e)
{
    struct hy_value *given, *out = NULL;
    assert_int_equal(hy_value_from_json(json, "file.json", &given, e), 0);
    static const char *const ignore[] = {"task", NULL};
    const int rc = hy_options_resolve(table, given, "section train", ignore, &out, e);
    if (!rc)
        *canonical = hy_value_to_json(out, 0);
    hy_value_free(given);
    hy_value_free(out);
    return rc;
}

static void defaults_fill_the_table_in_its_order(void **state)
{
    (void)state;
    struct hy_err e;
    char *json;
    assert_int_equal(resolve("{\"path\":\"x\",\"task\":\"text\"}", &json, &e), 0);
    assert_string_equal(json,
                        "{\"steps\":100,\"lr\":0.001,\"shuffle\":true,\"schedule\":\"cosine\","
                        "\"path\":\"x\",\"note\":null,\"timeout\":0,\"pairs\":[4,8,16],"
                        "\"rates\":[0.5]}");
    free(json);
}

static void accepted_values_take_their_exact_type(void **state)
{
    (void)state;
    struct hy_err e;
    char *json;
    assert_int_equal(resolve("{\"path\":\"x\",\"steps\":2e3,\"lr\":1,\"timeout\":\"1.5h\","
                             "\"pairs\":8,\"rates\":[0,1],\"note\":\"n\",\"shuffle\":false,"
                             "\"schedule\":\"constant\"}",
                             &json, &e),
                     0);
    assert_string_equal(json,
                        "{\"steps\":2000,\"lr\":1,\"shuffle\":false,\"schedule\":\"constant\","
                        "\"path\":\"x\",\"note\":\"n\",\"timeout\":5400,\"pairs\":[8],"
                        "\"rates\":[0,1]}");
    free(json);
}

static void refused_values_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"{\"path\":\"x\",\"stpes\":1}", "did you mean 'steps'?"},
        {"{\"path\":\"x\",\"tsak\":1}", "did you mean 'task'?"},
        {"{\"path\":\"x\",\"zzzzzz\":1}", "valid: steps, lr, shuffle"},
        {"{\"path\":\"x\",\"steps\":0}", "steps in section train must be between 1 and 1000000000"},
        {"{\"path\":\"x\",\"steps\":1.5}", "steps in section train must be an integer"},
        {"{\"path\":\"x\",\"steps\":\"1\"}", "must be an integer"},
        {"{\"path\":\"x\",\"lr\":null}", "lr in section train must be a number"},
        {"{\"path\":\"x\",\"shuffle\":1}", "must be true or false"},
        {"{\"path\":\"x\",\"schedule\":\"cosin\"}", "did you mean 'cosine'?"},
        {"{\"path\":\"x\",\"timeout\":\"2 hours\"}", "2h"},
        {"{\"path\":\"x\",\"timeout\":\"h\"}", "2h"},
        {"{\"path\":\"x\",\"pairs\":[]}", "must be a list of integers"},
        {"{\"path\":\"x\",\"pairs\":[1,65]}", "not 65"},
        {"{\"path\":null}", "path in section train must be a path"},
        {"{}", "needs 'path' (the corpus)"},
        {"[]", "must be a map"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hy_err e;
        char *json = NULL;
        assert_int_equal(resolve(cases[i].json, &json, &e), HY_E_USAGE);
        if (!strstr(e.text, cases[i].says))
            fail_msg("%s: '%s' does not say '%s'", cases[i].json, e.text, cases[i].says);
        assert_memory_equal(e.text, "file.json: ", 11);
    }
}

static void not_a_number_is_out_of_every_bound(void **state)
{
    (void)state;
    struct hy_value *given = hy_value_map(), *out = NULL;
    struct hy_err e;
    hy_value_set(given, "path", hy_value_string("x"), NULL);
    hy_value_set(given, "lr", hy_value_from_scalar(".nan"), NULL);
    assert_int_equal(hy_options_resolve(table, given, "x", NULL, &out, &e), HY_E_USAGE);
    assert_null(out);
    hy_value_free(given);
}

static void nearest_counts_a_transposition_once_and_gives_up_when_far(void **state)
{
    (void)state;
    static const char *const names[] = {"gated_deltanet", "deltanet", "retnet", "lr"};
    assert_string_equal(hy_nearest("retent", names, 4), "retnet");
    assert_string_equal(hy_nearest("gated_delta", names, 4), "gated_deltanet");
    assert_string_equal(hy_nearest("rl", names, 4), "lr");
    assert_null(hy_nearest("softmax", names, 4));
    assert_null(hy_nearest("x", names, 4));
    assert_null(hy_nearest("", names, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_the_table_in_its_order),
        cmocka_unit_test(accepted_values_take_their_exact_type),
        cmocka_unit_test(refused_values_are_named),
        cmocka_unit_test(not_a_number_is_out_of_every_bound),
        cmocka_unit_test(nearest_counts_a_transposition_once_and_gives_up_when_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
