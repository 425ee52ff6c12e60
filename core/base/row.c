#include "core/base/row.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"

/* What a row of each type carries: the fields that are written, and that a reader insists on. */
enum {
    STEP = 1,
    STEPS = 2,
    NAME = 4,
    TASK = 8,
    SPLIT = 16,
    SLICE = 32,
    VALUE = 64,
    TEXT = 128,      /* may be absent; stands in for VALUE where both are named */
    COMPONENT = 256, /* may be absent */
    OPTIONAL = TEXT | COMPONENT
};

static const struct kind {
    const char *name;
    unsigned fields;
} kinds[] = {
    [HY_ROW_HISTORY] = {"history", STEP | NAME | VALUE},
    [HY_ROW_SLICE] = {"slice", TASK | SPLIT | SLICE | COMPONENT | NAME | VALUE},
    [HY_ROW_FACT] = {"fact", NAME | VALUE | TEXT},
    [HY_ROW_PROGRESS] = {"progress", STEP | STEPS | VALUE},
    [HY_ROW_END] = {"end", NAME | TEXT},
    [HY_ROW_LAYER] = {"layer", STEP | TASK | SPLIT | NAME | VALUE},
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds, STRING_COUNT = 6 };

/* The string fields of a row, in the order in which they are written. */
static const struct {
    unsigned field;
    const char *key;
    size_t offset;
} strings[STRING_COUNT] = {
    {TASK, "task", offsetof(struct hy_row, task)},
    {SPLIT, "split", offsetof(struct hy_row, split)},
    {SLICE, "slice", offsetof(struct hy_row, slice)},
    {COMPONENT, "component", offsetof(struct hy_row, component)},
    {NAME, "name", offsetof(struct hy_row, name)},
    {TEXT, "text", offsetof(struct hy_row, text)},
};

static const char **string_at(struct hy_row *row, int i)
{
    return (const char **)((char *)row + strings[i].offset);
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

/* An end may have an empty reason; an empty component is none. */
static int is_absent(unsigned field, const char *text)
{
    return (field == TEXT && !text) || (field == COMPONENT && !(text && *text));
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
        if (!(fields & strings[i].field) || is_absent(strings[i].field, text))
            continue;
        hy_buf_printf(out, ",\"%s\":", strings[i].key);
        hy_json_quote(text ? text : "", out);
    }
    if ((fields & VALUE) && !((fields & TEXT) && row->text)) {
        hy_buf_text(out, ",\"value\":");
        encode_value(row->value, out);
    }
    if (row->member)
        hy_buf_printf(out, ",\"member\":%d", row->member);
    hy_buf_text(out, "}\n");
}

static int fail_line(const char *line, const char *reason, struct hy_err *e)
{
    const char *more = strlen(line) > 60 ? "..." : "";
    return hy_fail(e, HY_E_ENV, "not a row (%s): %.60s%s", reason, line, more);
}

static const char *text_of(const struct hy_value *root, const char *key)
{
    const struct hy_value *v = hy_value_get(root, key);
    return v && v->type == HY_V_STRING ? v->string : NULL;
}

/* Fills the row's numbers; its strings still belong to root. NULL, or what is wrong. */
static const char *read_fields(const struct hy_value *root, struct hy_row *row)
{
    const char *type = text_of(root, "row");
    int k = 0;
    while (type && k < KIND_COUNT && strcmp(type, kinds[k].name) != 0)
        k++;
    if (!type || k == KIND_COUNT)
        return "its type is unknown";
    const unsigned fields = kinds[k].fields;
    row->type = (enum hy_row_type)k;

    const struct hy_value *step = hy_value_get(root, "step"), *steps = hy_value_get(root, "steps");
    if (((fields & STEP) && !(step && step->type == HY_V_INT)) ||
        ((fields & STEPS) && !(steps && steps->type == HY_V_INT)))
        return "step or steps is missing or no integer";
    row->step = fields & STEP ? step->integer : 0;
    row->steps = fields & STEPS ? steps->integer : 0;

    const struct hy_value *member = hy_value_get(root, "member");
    if (member && !(member->type == HY_V_INT && member->integer > 0 && member->integer <= INT_MAX))
        return "member is no positive integer";
    row->member = member ? (int)member->integer : 0;

    for (int i = 0; i < STRING_COUNT; i++) {
        const char *text = text_of(root, strings[i].key);
        if (!(fields & strings[i].field))
            continue;
        if (!text && !(strings[i].field & OPTIONAL))
            return "a text field is missing";
        /* Were it passed over, a part's score would stand as the model's. */
        if (!text && strings[i].field == COMPONENT && hy_value_get(root, "component"))
            return "component is no text";
        *string_at(row, i) = is_absent(strings[i].field, text) ? NULL : text;
    }
    if ((fields & VALUE) && !((fields & TEXT) && row->text)) {
        const struct hy_value *value = hy_value_get(root, "value");
        if (!value ||
            (value->type != HY_V_INT && value->type != HY_V_REAL && value->type != HY_V_NULL))
            return "value is missing or no number";
        row->value = value->type == HY_V_NULL ? NAN : value->real;
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
    struct hy_value *root;
    struct hy_err why;
    if (hy_value_from_json(line, "row", &root, &why))
        return fail_line(line, why.text, e);
    struct hy_row found = {0};
    int rc = 0;
    const char *reason = read_fields(root, &found);
    if (reason)
        rc = fail_line(line, reason, e);
    else if (!own_strings(&found, memory))
        rc = hy_fail_memory(e);
    else
        *row = found;
    hy_value_free(root);
    return rc;
}
