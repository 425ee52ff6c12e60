#include "core/base/row.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a row of each type carries: the fields that are written, and that a reader insists on. */
enum {
    STEP = 1,
    STEPS = 2,
    NAME = 4,
    TASK = 8,
    SPLIT = 16,
    SLICE = 32,
    VALUE = 64,
    TEXT = 128 /* may be absent; stands in for VALUE where both are named */
};

static const struct kind {
    const char *name;
    unsigned fields;
} kinds[] = {
    [HY_ROW_HISTORY] = {"history", STEP | NAME | VALUE},
    [HY_ROW_SLICE] = {"slice", TASK | SPLIT | SLICE | NAME | VALUE},
    [HY_ROW_FACT] = {"fact", NAME | VALUE | TEXT},
    [HY_ROW_PROGRESS] = {"progress", STEP | STEPS | VALUE},
    [HY_ROW_END] = {"end", NAME | TEXT},
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds, STRING_COUNT = 5 };

/* The string fields of a row, in the order in which they are written. */
static const struct {
    unsigned field;
    const char *key;
    size_t offset;
} strings[STRING_COUNT] = {
    {TASK, "task", offsetof(struct hy_row, task)},
    {SPLIT, "split", offsetof(struct hy_row, split)},
    {SLICE, "slice", offsetof(struct hy_row, slice)},
    {NAME, "name", offsetof(struct hy_row, name)},
    {TEXT, "text", offsetof(struct hy_row, text)},
};

static const char **string_at(struct hy_row *row, int i)
{
    return (const char **)((char *)row + strings[i].offset);
}

/* Length of the UTF-8 sequence at s, 0 where the bytes are none. */
static int sequence_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    const int length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (int i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    const int overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    const int surrogate = s[0] == 0xed && s[1] > 0x9f;
    const int too_large = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : length;
}

/* A child's last words may be any bytes: what is no UTF-8 becomes U+FFFD, so that every line is
 * JSON. */
static void encode_string(const char *text, struct hy_buf *out)
{
    const unsigned char *s = (const unsigned char *)text;
    hy_buf_text(out, "\"");
    while (*s) {
        const int length = sequence_length(s);
        if (!length)
            hy_buf_text(out, "\xef\xbf\xbd");
        else if (*s == '"' || *s == '\\')
            hy_buf_printf(out, "\\%c", *s);
        else if (*s < 0x20)
            hy_buf_printf(out, "\\u%04x", *s);
        else
            hy_buf_add(out, s, (size_t)length);
        s += length ? length : 1;
    }
    hy_buf_text(out, "\"");
}

static void encode_value(double value, struct hy_buf *out)
{
    if (!isfinite(value)) {
        hy_buf_text(out, "null");
        return;
    }
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    hy_buf_text(out, text);
}

void hy_row_encode(const struct hy_row *row, struct hy_buf *out)
{
    struct hy_row copy = *row;
    const unsigned fields = kinds[row->type].fields;
    hy_buf_printf(out, "{\"row\":\"%s\"", kinds[row->type].name);
    if (fields & STEP)
        hy_buf_printf(out, ",\"step\":%" PRId64, row->step);
    if (fields & STEPS)
        hy_buf_printf(out, ",\"steps\":%" PRId64, row->steps);
    for (int i = 0; i < STRING_COUNT; i++) {
        const char *text = *string_at(&copy, i);
        if (!(fields & strings[i].field) || (strings[i].field == TEXT && !text))
            continue;
        hy_buf_printf(out, ",\"%s\":", strings[i].key);
        encode_string(text ? text : "", out);
    }
    if ((fields & VALUE) && !((fields & TEXT) && row->text)) {
        hy_buf_text(out, ",\"value\":");
        encode_value(row->value, out);
    }
    hy_buf_text(out, "}\n");
}

static int fail_line(const char *line, const char *reason, struct hy_err *e)
{
    const char *more = strlen(line) > 60 ? "..." : "";
    return hy_fail(e, HY_E_ENV, "not a row (%s): %.60s%s", reason, line, more);
}

/* Fills the row's numbers; its strings still belong to root. NULL, or what is wrong. */
static const char *read_fields(json_t *root, struct hy_row *row)
{
    const char *type = json_string_value(json_object_get(root, "row"));
    int k = 0;
    while (type && k < KIND_COUNT && strcmp(type, kinds[k].name) != 0)
        k++;
    if (!type || k == KIND_COUNT)
        return "its type is unknown";
    const unsigned fields = kinds[k].fields;
    row->type = (enum hy_row_type)k;

    json_t *step = json_object_get(root, "step"), *steps = json_object_get(root, "steps");
    if (((fields & STEP) && !json_is_integer(step)) ||
        ((fields & STEPS) && !json_is_integer(steps)))
        return "step or steps is missing or no integer";
    row->step = fields & STEP ? json_integer_value(step) : 0;
    row->steps = fields & STEPS ? json_integer_value(steps) : 0;

    for (int i = 0; i < STRING_COUNT; i++) {
        const char *text = json_string_value(json_object_get(root, strings[i].key));
        if (!(fields & strings[i].field))
            continue;
        if (!text && strings[i].field != TEXT)
            return "a text field is missing";
        *string_at(row, i) = text;
    }
    if ((fields & VALUE) && !((fields & TEXT) && row->text)) {
        json_t *value = json_object_get(root, "value");
        if (!json_is_number(value) && !json_is_null(value))
            return "value is missing or no number";
        row->value = json_is_null(value) ? NAN : json_number_value(value);
    }
    return NULL;
}

/* Moves the row's strings into one block of their own. */
static int own_strings(struct hy_row *row, void **memory)
{
    size_t size = 1;
    for (int i = 0; i < STRING_COUNT; i++)
        size += *string_at(row, i) ? strlen(*string_at(row, i)) + 1 : 0;
    char *at = malloc(size);
    if (!at)
        return 0;
    *memory = at;
    for (int i = 0; i < STRING_COUNT; i++) {
        const char **text = string_at(row, i);
        if (!*text)
            continue;
        const size_t length = strlen(*text) + 1;
        memcpy(at, *text, length);
        *text = at;
        at += length;
    }
    return 1;
}

int hy_row_decode(const char *line, struct hy_row *row, void **memory, struct hy_err *e)
{
    json_error_t error;
    json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return fail_line(line, error.text, e);
    struct hy_row found = {0};
    int rc = 0;
    const char *reason = read_fields(root, &found);
    if (reason)
        rc = fail_line(line, reason, e);
    else if (!own_strings(&found, memory))
        rc = hy_fail_memory(e);
    else
        *row = found;
    json_decref(root);
    return rc;
}
