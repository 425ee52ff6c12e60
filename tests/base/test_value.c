/* Laws of value trees: scalars, JSON, paths. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <xxhash.h>

#include "core/base/hash.h"
#include "core/base/value.h"

static void check_scalar(const char *text, enum hy_value_type type, const char *json)
{
    struct hy_value *v = hy_value_from_scalar(text);
    assert_non_null(v);
    assert_int_equal(v->type, type);
    char *got = hy_value_to_json(v, 1);
    assert_string_equal(got, json);
    free(got);
    hy_value_free(v);
}

static void scalars_follow_the_core_schema(void **state)
{
    (void)state;
    check_scalar("1e-3", HY_V_REAL, "0.001");
    check_scalar("1E3", HY_V_REAL, "1000");
    check_scalar(".5", HY_V_REAL, "0.5");
    check_scalar("2.", HY_V_REAL, "2");
    check_scalar("-12", HY_V_INT, "-12");
    check_scalar("0x10", HY_V_INT, "16");
    check_scalar("0o17", HY_V_INT, "15");
    check_scalar("017", HY_V_INT, "17");
    check_scalar("true", HY_V_BOOL, "true");
    check_scalar("False", HY_V_BOOL, "false");
    check_scalar("~", HY_V_NULL, "null");
    check_scalar("", HY_V_NULL, "null");
    check_scalar("yes", HY_V_STRING, "\"yes\"");
    check_scalar("3:1", HY_V_STRING, "\"3:1\"");
    check_scalar("1e", HY_V_STRING, "\"1e\"");
    check_scalar(".", HY_V_STRING, "\".\"");
    check_scalar("1.2.3", HY_V_STRING, "\"1.2.3\"");
    check_scalar("-", HY_V_STRING, "\"-\"");
    check_scalar("inf", HY_V_STRING, "\"inf\"");
    check_scalar("-.inf", HY_V_REAL, "null");
    check_scalar("99999999999999999999", HY_V_REAL, "1e+20");
}

static void equal_numbers_have_one_spelling(void **state)
{
    (void)state;
    check_scalar("3e6", HY_V_REAL, "3000000");
    check_scalar("3000000.0", HY_V_REAL, "3000000");
    check_scalar("3000000", HY_V_INT, "3000000");
    check_scalar("-0.0", HY_V_REAL, "0");
    check_scalar("0.1", HY_V_REAL, "0.1");
    check_scalar("0.30000000000000004", HY_V_REAL, "0.30000000000000004");
    check_scalar("1e300", HY_V_REAL, "1e+300");
}

static void json_returns_what_it_was_made_of(void **state)
{
    (void)state;
    const char *text = "{\"b\":[1,2.5,\"x\\\"\\\\\\u0001\\u00e9\"],\"a\":{\"n\":null,\"t\":true}}";
    struct hy_value *v, *again;
    struct hy_err e;
    assert_int_equal(hy_value_from_json(text, "here", &v, &e), 0);
    char *json = hy_value_to_json(v, 1);
    assert_string_equal(
        json, "{\"a\":{\"n\":null,\"t\":true},\"b\":[1,2.5,\"x\\\"\\\\\\u0001\xc3\xa9\"]}");
    assert_int_equal(hy_value_from_json(json, "here", &again, &e), 0);
    assert_true(hy_value_equal(v, again));
    free(json);
    hy_value_free(v);
    hy_value_free(again);
}

static void bad_json_names_its_place(void **state)
{
    (void)state;
    struct hy_value *v = NULL;
    struct hy_err e;
    assert_int_equal(hy_value_from_json("{\n \"a\": }", "cfg", &v, &e), HY_E_USAGE);
    assert_non_null(strstr(e.text, "cfg:2:"));
    assert_int_equal(hy_value_from_json("{\"a\":1,\"a\":2}", "cfg", &v, &e), HY_E_USAGE);
    assert_null(v);
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "[1,]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "+1",
        "tru",
        "nullx",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\n\"",
        "\"\xff\"",
        "\"\xc3\"",
        "1 2",
        "9223372036854775808",
        "1e999",
        "NaN",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct hy_value *v = NULL;
        struct hy_err e = {0};
        if (hy_value_from_json(texts[i], "cfg", &v, &e) != HY_E_USAGE || v)
            fail_msg("%s is taken for JSON", texts[i]);
        assert_non_null(strstr(e.text, "cfg:1:"));
    }
    char deep[1001];
    memset(deep, '[', 1000);
    deep[1000] = 0;
    struct hy_value *v = NULL;
    assert_int_equal(hy_value_from_json(deep, "cfg", &v, NULL), HY_E_USAGE);
}

static void json_of_every_kind_is_read(void **state)
{
    (void)state;
    struct hy_value *v;
    struct hy_err e;
    const char *text = " {\"x\" : [ -0, 10, -1.5e+3, 1E2, true , false, null, {}, [] ],\t\"y\":"
                       "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\udc0d\"}\r\n";
    assert_int_equal(hy_value_from_json(text, "cfg", &v, &e), HY_OK);
    const struct hy_value *x = hy_value_get(v, "x");
    assert_int_equal(x->count, 9);
    assert_int_equal(x->items[1]->integer, 10);
    assert_true(x->items[2]->real == -1500 && x->items[3]->type == HY_V_REAL);
    assert_true(x->items[4]->integer == 1 && x->items[5]->integer == 0);
    assert_int_equal(x->items[7]->type, HY_V_MAP);
    assert_string_equal(hy_value_get(v, "y")->string, "\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x90\x8d");
    hy_value_free(v);
}

static void names_hash_as_the_library_does(void **state)
{
    (void)state;
    char text[100];
    for (size_t size = 0; size < sizeof text; size++) {
        text[size] = (char)(size * 37);
        assert_int_equal(hy_hash32(text, size), XXH32(text, size, 0));
    }
}

static void paths_make_sections_but_never_replace_values(void **state)
{
    (void)state;
    struct hy_value *root = hy_value_map();
    struct hy_err e;
    assert_int_equal(hy_value_put(root, "a.b.c", hy_value_int(1), &e), 0);
    assert_int_equal(hy_value_put(root, "a.b.d", hy_value_int(2), &e), 0);
    assert_int_equal(hy_value_put(root, "a.b.c", hy_value_int(3), &e), 0);
    assert_int_equal(hy_value_at(root, "a.b.c")->integer, 3);
    assert_null(hy_value_at(root, "a.x.c"));
    assert_null(hy_value_at(root, "a.b.c.d"));
    assert_int_equal(hy_value_put(root, "a.b.c.d", hy_value_int(4), &e), HY_E_USAGE);
    assert_non_null(strstr(e.text, "a.b.c.d"));
    hy_value_free(root);
}

static void removing_and_setting_keeps_the_other_entries(void **state)
{
    (void)state;
    struct hy_value *map = hy_value_map();
    char key[16];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 9; i++) {
            snprintf(key, sizeof key, "k%d", i);
            assert_int_equal(hy_value_set(map, key, hy_value_int(i), NULL), 0);
        }
        for (int i = 0; i < 9; i += 2) {
            snprintf(key, sizeof key, "k%d", i);
            assert_int_equal(hy_value_remove(map, key), 1);
            assert_int_equal(hy_value_remove(map, key), 0);
        }
        assert_int_equal(map->count, 4);
        assert_int_equal(hy_value_get(map, "k7")->integer, 7);
    }
    struct hy_value *copy = hy_value_copy(map);
    assert_true(hy_value_equal(map, copy));
    hy_value_set(copy, "k7", hy_value_real(7.0), NULL);
    assert_true(hy_value_equal(map, copy));
    hy_value_set(copy, "k7", hy_value_real(7.5), NULL);
    assert_false(hy_value_equal(map, copy));
    hy_value_free(map);
    hy_value_free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_follow_the_core_schema),
        cmocka_unit_test(equal_numbers_have_one_spelling),
        cmocka_unit_test(json_returns_what_it_was_made_of),
        cmocka_unit_test(bad_json_names_its_place),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(json_of_every_kind_is_read),
        cmocka_unit_test(names_hash_as_the_library_does),
        cmocka_unit_test(paths_make_sections_but_never_replace_values),
        cmocka_unit_test(removing_and_setting_keeps_the_other_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
