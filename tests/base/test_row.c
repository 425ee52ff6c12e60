/* Rows survive the trip through text; a bad line is refused with its beginning. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/row.h"

/* Encodes and decodes; checks that the line is one line. */
static struct hy_row travel(const struct hy_row *row, void **memory)
{
    struct hy_buf line = {0};
    struct hy_row back;
    struct hy_err e = {0};
    hy_row_encode(row, &line);
    assert_int_equal(line.data[line.size - 1], '\n');
    line.data[line.size - 1] = 0;
    assert_null(strchr(line.data, '\n'));
    if (hy_row_decode(line.data, &back, memory, &e))
        fail_msg("%s: %s", line.data, e.text);
    hy_buf_release(&line);
    return back;
}

static void every_type_survives(void **state)
{
    (void)state;
    const struct hy_row rows[] = {
        {.type = HY_ROW_HISTORY, .step = 100, .name = "train.loss", .value = 0.1},
        {.type = HY_ROW_SLICE,
         .task = "mqar",
         .split = "test",
         .slice = "pairs=8",
         .name = "accuracy",
         .value = 1.0 / 3},
        {.type = HY_ROW_SLICE,
         .task = "mqar",
         .split = "test",
         .slice = "",
         .component = "window",
         .name = "accuracy",
         .value = 0.5},
        {.type = HY_ROW_FACT, .name = "params", .value = 115008},
        {.type = HY_ROW_FACT, .name = "host", .text = "n01"},
        {.type = HY_ROW_PROGRESS, .step = (int64_t)1 << 60, .steps = 7, .value = -1e-300},
        {.type = HY_ROW_END, .name = "done"},
        {.type = HY_ROW_END, .name = "failed", .text = "out of memory"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *memory;
        const struct hy_row back = travel(&rows[i], &memory);
        const char *const *sent[] = {&rows[i].name,  &rows[i].task, &rows[i].split,
                                     &rows[i].slice, &rows[i].text, &rows[i].component};
        const char *const *got[] = {&back.name,  &back.task, &back.split,
                                    &back.slice, &back.text, &back.component};
        assert_int_equal(back.type, rows[i].type);
        assert_int_equal(back.step, rows[i].step);
        assert_int_equal(back.steps, rows[i].steps);
        assert_true(back.value == rows[i].value);
        for (int k = 0; k < 6; k++) {
            assert_int_equal(!*sent[k], !*got[k]);
            if (*sent[k])
                assert_string_equal(*got[k], *sent[k]);
        }
        free(memory);
    }
}

static void without_a_component_it_is_the_whole_model(void **state)
{
    (void)state;
    struct hy_row row = {.type = HY_ROW_SLICE,
                         .task = "mqar",
                         .split = "test",
                         .slice = "",
                         .component = "",
                         .name = "accuracy",
                         .value = 1};
    struct hy_buf line = {0};
    hy_row_encode(&row, &line);
    assert_string_equal(line.data, "{\"row\":\"slice\",\"task\":\"mqar\",\"split\":\"test\","
                                   "\"slice\":\"\",\"name\":\"accuracy\",\"value\":1}\n");
    hy_buf_release(&line);
    void *memory;
    assert_null(travel(&row, &memory).component);
    free(memory);
    row.component = "linear";
    hy_row_encode(&row, &line);
    assert_non_null(strstr(line.data, "\"slice\":\"\",\"component\":\"linear\",\"name\""));
    hy_buf_release(&line);
    /* Only scores are of components. */
    row.type = HY_ROW_HISTORY;
    hy_row_encode(&row, &line);
    assert_null(strstr(line.data, "component"));
    hy_buf_release(&line);
}

static void what_is_not_finite_is_null_and_comes_back_as_nan(void **state)
{
    (void)state;
    const double values[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        struct hy_row row = {.type = HY_ROW_HISTORY, .name = "x", .value = values[i]};
        struct hy_buf line = {0};
        hy_row_encode(&row, &line);
        assert_non_null(strstr(line.data, "\"value\":null"));
        hy_buf_release(&line);
        void *memory;
        row = travel(&row, &memory);
        assert_true(isnan(row.value));
        free(memory);
    }
}

static void hostile_text_stays_data(void **state)
{
    (void)state;
    const char *const texts[] = {"a \"quote\", a \\ and a\ttab\nand line", "\x01\x1f", "gl\xc3\xa4",
                                 "\xf0\x9f\x90\x8d", ""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct hy_row row = {.type = HY_ROW_END, .name = "failed", .text = texts[i]};
        void *memory;
        const struct hy_row back = travel(&row, &memory);
        assert_string_equal(back.text, texts[i]);
        free(memory);
    }
}

static void bytes_that_are_no_utf8_are_replaced(void **state)
{
    (void)state;
    const char *const texts[] = {"\xff",         "\xc3",         "\xc0\x80",
                                 "\xed\xa0\x80", "\xe0\x80\x80", "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[16];
        snprintf(text, sizeof text, "<%s>", texts[i]);
        const struct hy_row row = {.type = HY_ROW_FACT, .name = "x", .text = text};
        void *memory;
        const struct hy_row back = travel(&row, &memory);
        assert_memory_equal(back.text, "<\xef\xbf\xbd", 4);
        free(memory);
    }
}

static void a_line_that_is_no_row_is_refused(void **state)
{
    (void)state;
    const char *const lines[] = {
        "",
        "loss is 3",
        "[]",
        "{\"row\":\"hystory\",\"step\":1,\"name\":\"x\",\"value\":1}",
        "{\"row\":\"history\",\"step\":1.5,\"name\":\"x\",\"value\":1}",
        "{\"row\":\"history\",\"step\":1,\"name\":\"x\"}",
        "{\"row\":\"history\",\"step\":1,\"name\":7,\"value\":1}",
        "{\"row\":\"history\",\"step\":1,\"name\":\"x\",\"value\":\"1\"}",
        "{\"row\":\"slice\",\"task\":\"mqar\",\"split\":\"test\",\"name\":\"x\",\"value\":1}",
        "{\"row\":\"slice\",\"task\":\"mqar\",\"split\":\"test\",\"slice\":\"\",\"component\":1,"
        "\"name\":\"x\",\"value\":1}",
        "{\"row\":\"end\",\"name\":\"done\"} trailing",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct hy_row row = {.step = 42};
        void *memory = NULL;
        struct hy_err e = {0};
        assert_int_equal(hy_row_decode(lines[i], &row, &memory, &e), HY_E_ENV);
        char beginning[41];
        snprintf(beginning, sizeof beginning, "%s", lines[i]);
        assert_non_null(strstr(e.text, beginning));
        assert_int_equal(row.step, 42);
        assert_null(memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_survives),
        cmocka_unit_test(without_a_component_it_is_the_whole_model),
        cmocka_unit_test(what_is_not_finite_is_null_and_comes_back_as_nan),
        cmocka_unit_test(hostile_text_stays_data),
        cmocka_unit_test(bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(a_line_that_is_no_row_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
