/* What a child writes on its pipe: no row, or one that is the same once written and read again; and
 * the JSON under it, whose reader refuses or reads what its writer writes. */
#include <math.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/row.h"
#include "tests/fuzz/fuzz.h"

static void check_json(const char *text, size_t size)
{
    struct hy_value *once, *twice;
    struct hy_err e = {0};
    if (hy_json_parse(text, size, "input", &once, &e)) {
        fuzz_require(!strncmp(e.text, "input:", 6), "an error names the place");
        return;
    }
    char *json = hy_value_to_json(once, 0);
    fuzz_require(json && !hy_value_from_json(json, "again", &twice, &e), "what is written is JSON");
    fuzz_require(hy_value_equal(once, twice), "what is written reads back");
    free(json);
    hy_value_free(once);
    hy_value_free(twice);
}

static int same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static void check_row(const char *line)
{
    struct hy_row once, twice;
    struct hy_buf text = {0};
    struct hy_err e = {0};
    void *memory = NULL, *again = NULL;
    if (hy_row_decode(line, &once, &memory, &e)) {
        fuzz_require(e.text[0], "an error says what is wrong");
        return;
    }
    hy_row_encode(&once, &text);
    fuzz_require(memchr(text.data, '\n', text.size) == text.data + text.size - 1,
                 "a row is one line");
    text.data[text.size - 1] = 0;
    fuzz_require(!hy_row_decode(text.data, &twice, &again, &e), "what is written is a row");
    fuzz_require(once.type == twice.type && once.step == twice.step && once.steps == twice.steps &&
                     same_text(once.name, twice.name) && same_text(once.task, twice.task) &&
                     same_text(once.split, twice.split) && same_text(once.slice, twice.slice) &&
                     same_text(once.text, twice.text) &&
                     same_text(once.component, twice.component) &&
                     (once.value == twice.value || (isnan(once.value) && isnan(twice.value))),
                 "a row reads back");
    free(memory);
    free(again);
    hy_buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = strndup((const char *)data, size);
    check_json((const char *)data, size);
    check_row(line);
    free(line);
    return 0;
}
