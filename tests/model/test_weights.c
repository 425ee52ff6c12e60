/* Weights from files and folders of any origin: what is taken, under which names, in which numbers;
 * what cannot be is refused and leaves no trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/model/weights.h"

static char folder[64];
static struct hy_slab params; /* "m.a" [2, 2], "m.b" [3] */

static int enter_folder(void **state)
{
    (void)state;
    struct hy_err e;
    strcpy(folder, "weights_XXXXXX");
    hy_slab_init(&params, 2);
    return !mkdtemp(folder) || chdir(folder) ||
           hy_slab_add(&params, &(struct hy_entry){.name = "m.a", .rank = 2, .dims = {2, 2}}, &e) !=
               0 ||
           hy_slab_add(&params, &(struct hy_entry){.name = "m.b", .rank = 1, .dims = {3}}, &e) !=
               1 ||
           hy_slab_allocate(&params, &e);
}

static int leave_folder(void **state)
{
    (void)state;
    char command[96];
    hy_slab_release(&params);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("..") || system(command);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void write_tensors(const char *path, const struct hy_st_tensor *tensors, size_t count)
{
    struct hy_err e;
    assert_int_equal(hy_st_write(path, tensors, count, NULL, 0, &e), HY_OK);
}

static const float ones[] = {1, 2, 3, 4};
static const float fives[] = {5, 6, 7};

/* Takes into replica 1; the report's names, "initialised|unused", or the error. */
static const char *take(const char *path, struct hy_weights_order order, const char *map)
{
    static char text[1024];
    struct hy_err e = {0};
    struct hy_weights w = {0};
    struct hy_weights_report report = {0};
    struct hy_value *names = NULL;
    if (map)
        assert_int_equal(hy_value_from_json(map, "map", &names, &e), HY_OK);
    order.map = names;
    for (int64_t i = 0; i < 2 * params.count; i++)
        params.data[i] = -1;
    int rc = hy_weights_open(path, &w, &e);
    if (!rc)
        rc = hy_weights_take(&w, &order, &params, 1, &report, &e);
    if (rc) {
        assert_int_equal(rc, HY_E_USAGE);
        for (int64_t i = 0; i < 2 * params.count; i++)
            assert_true(params.data[i] == -1);
        snprintf(text, sizeof text, "%s", e.text);
    } else {
        for (int64_t i = 0; i < params.count; i++)
            assert_true(params.data[i] == -1);
        snprintf(text, sizeof text, "%s|%s",
                 report.initialised ? report.initialised_names.data : "",
                 report.unused ? report.unused_names.data : "");
    }
    hy_value_free(names);
    hy_weights_report_release(&report);
    hy_weights_close(&w);
    return text;
}

static void refused(const char *path, struct hy_weights_order order, const char *map,
                    const char *says)
{
    const char *text = take(path, order, map);
    if (!strstr(text, says))
        fail_msg("'%s' does not say '%s'", text, says);
}

static void weights_are_matched_by_name(void **state)
{
    (void)state;
    const struct hy_st_tensor tensors[] = {{"m.a", HY_ST_F32, 2, {2, 2}, ones},
                                           {"other", HY_ST_F32, 1, {3}, fives},
                                           {"optimizer.m", HY_ST_F32, 1, {3}, fives}};
    const hy_real *data = params.data + params.count;
    write_tensors("x.safetensors", tensors, 3);
    assert_string_equal(take("x.safetensors", (struct hy_weights_order){0}, NULL), "m.b|other");
    assert_true(data[0] == 1 && data[3] == 4 && data[4] == -1);
    assert_string_equal(take("x.safetensors", (struct hy_weights_order){0}, "{\"m.b\": \"other\"}"),
                        "|");
    assert_true(data[3] == 4 && data[4] == 5 && data[6] == 7);
    assert_string_equal(
        take("x.safetensors", (struct hy_weights_order){0}, "{\"m.b\": \"other\", \"m.a\": null}"),
        "m.a|m.a");
    refused("x.safetensors", (struct hy_weights_order){.strict = 1}, NULL,
            "lacks 1 of the model's weights: m.b");
    refused("x.safetensors", (struct hy_weights_order){.strict = 1},
            "{\"m.a\": \"none\", \"m.b\": \"other\"}", "lacks 1 of the model's weights: m.a");
    refused("x.safetensors", (struct hy_weights_order){0}, "{\"*\": null}",
            "no weight of the model's names");
    refused("x.safetensors", (struct hy_weights_order){0}, "{\"m.b\": \"m.a\"}",
            "m.a has shape [2, 2], but the model's m.b has [3]");
}

static void one_star_stands_for_the_same_text(void **state)
{
    (void)state;
    const struct hy_st_tensor tensors[] = {{"n.layer_a.w", HY_ST_F32, 2, {2, 2}, ones},
                                           {"n.layer_b.w", HY_ST_F32, 1, {3}, fives}};
    write_tensors("x.safetensors", tensors, 2);
    assert_string_equal(
        take("x.safetensors", (struct hy_weights_order){.strict = 1}, "{\"m.*\": \"n.layer_*.w\"}"),
        "|");
    /* A prefix, which names a model of several in one slab, is taken off first. */
    assert_string_equal(take("x.safetensors", (struct hy_weights_order){.prefix = "m."},
                             "{\"*\": \"n.layer_*.w\"}"),
                        "|");
}

static int is_upper(void *context, const char *name, char out[HY_NAME_SIZE])
{
    assert_null(context);
    snprintf(out, HY_NAME_SIZE, "upper.%s", name);
    return strcmp(name, "m.b") != 0;
}

static void names_of_another_program_are_translated(void **state)
{
    (void)state;
    const struct hy_st_tensor tensors[] = {{"upper.m.a", HY_ST_F32, 2, {2, 2}, ones},
                                           {"upper.m.b", HY_ST_F32, 1, {3}, fives}};
    write_tensors("x.safetensors", tensors, 2);
    assert_string_equal(take("x.safetensors", (struct hy_weights_order){.rename = is_upper}, NULL),
                        "m.b|upper.m.b");
}

/* Every half-precision number, against its definition. */
static void numbers_of_other_widths_are_taken_exactly(void **state)
{
    (void)state;
    for (int bits = 0; bits < 0x7c00; bits++) {
        const int exponent = bits >> 10;
        double value = (bits & 1023) / 1024.0 + (exponent ? 1 : 0);
        for (int i = exponent ? exponent : 1; i > 15; i--)
            value *= 2;
        for (int i = exponent ? exponent : 1; i < 15; i++)
            value /= 2;
        assert_true(hy_half_value((uint16_t)bits) == value);
        assert_true(hy_half_value((uint16_t)(bits | 0x8000)) == -value);
    }
    assert_true(hy_half_value(0x7c00) > 1e300 && hy_half_value(0xfc00) < -1e300);
    assert_true(hy_half_value(0x7e00) != hy_half_value(0x7e00));

    const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7bff}, bf16[] = {0x3f80, 0xc000, 0x4049};
    const struct hy_st_tensor tensors[] = {{"m.a", HY_ST_F16, 2, {2, 2}, half},
                                           {"m.b", HY_ST_BF16, 1, {3}, bf16}};
    const hy_real *data = params.data + params.count;
    write_tensors("x.safetensors", tensors, 2);
    assert_string_equal(take("x.safetensors", (struct hy_weights_order){.strict = 1}, NULL), "|");
    assert_true(data[0] == 1 && data[1] == -2 && data[2] == (hy_real)0x1p-24 && data[3] == 65504);
    assert_true(data[4] == 1 && data[5] == -2 && data[6] == (hy_real)3.140625);

    const int32_t whole[] = {1, 2, 3};
    const struct hy_st_tensor integers = {"m.b", HY_ST_I32, 1, {3}, whole};
    write_tensors("x.safetensors", &integers, 1);
    refused("x.safetensors", (struct hy_weights_order){0}, NULL, "m.b holds integers, not weights");
}

static void a_folder_is_one_file_or_what_its_index_names(void **state)
{
    (void)state;
    char whole[HY_HASH_TEXT], sharded[HY_HASH_TEXT];
    struct hy_err e;
    const struct hy_st_tensor tensors[] = {{"m.a", HY_ST_F32, 2, {2, 2}, ones},
                                           {"m.b", HY_ST_F32, 1, {3}, fives}};
    assert_int_equal(system("mkdir one two"), 0);
    write_file("one/config.json", "{}");
    write_file("two/config.json", "{}");
    refused("one", (struct hy_weights_order){0}, NULL, "holds neither model.safetensors nor");
    write_tensors("one/model.safetensors", tensors, 2);
    write_tensors("two/first.safetensors", tensors, 1);
    write_tensors("two/second.safetensors", tensors + 1, 1);
    write_file("two/model.safetensors.index.json",
               "{\"weight_map\": {\"m.a\": \"first.safetensors\", \"m.b\": \"second.safetensors\", "
               "\"m.c\": \"first.safetensors\"}}");
    assert_string_equal(take("one", (struct hy_weights_order){.strict = 1}, NULL), "|");
    assert_string_equal(take("two", (struct hy_weights_order){.strict = 1}, NULL), "|");
    assert_int_equal(hy_weights_hash("one", whole, &e), HY_OK);
    assert_int_equal(hy_weights_hash("two", sharded, &e), HY_OK);
    assert_string_not_equal(whole, sharded);

    static const struct {
        const char *index, *says;
    } wrong[] = {
        {"{\"weight_map\": {\"m.a\": \"../one/model.safetensors\"}}",
         "m.a lies in no file of that"},
        {"{\"weight_map\": {\"m.a\": 3}}", "m.a lies in no file of that"},
        {"{\"weight_map\": {\"m.a\": \"third.safetensors\"}}", "third.safetensors"},
        {"{\"weight_map\": {}}", "has no weight_map"},
        {"[1, 2]", "has no weight_map"},
        {"{\"weight_map\": {\"m.a\"", "two/model.safetensors.index.json"},
        {"", "two/model.safetensors.index.json"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_file("two/model.safetensors.index.json", wrong[i].index);
        refused("two", (struct hy_weights_order){0}, NULL, wrong[i].says);
    }
    write_file("x.gguf", "GGUF\3and so on");
    refused("x.gguf", (struct hy_weights_order){0}, NULL, "is a GGUF file");
    refused("none", (struct hy_weights_order){0}, NULL, "cannot read none");
    assert_int_equal(unlink("one/config.json"), 0);
    assert_int_equal(hy_weights_hash("one", whole, &e), HY_E_USAGE);
    assert_non_null(strstr(e.text, "one/config.json"));
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, enter_folder, leave_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(weights_are_matched_by_name),
        LAW(one_star_stands_for_the_same_text),
        LAW(names_of_another_program_are_translated),
        LAW(numbers_of_other_widths_are_taken_exactly),
        LAW(a_folder_is_one_file_or_what_its_index_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
