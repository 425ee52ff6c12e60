/* Values as text: scalars of YAML's core schema, JSON out. */
#include "core/base/value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/json.h"

static int is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(text, *words))
            return 1;
    return 0;
}

static const char *skip_sign(const char *s)
{
    return s + (*s == '+' || *s == '-');
}

static const char *skip_digits(const char *s)
{
    return s + strspn(s, "0123456789");
}

static int is_integer(const char *s)
{
    if (!strncmp(s, "0x", 2))
        return s[2] && !s[2 + strspn(s + 2, "0123456789abcdefABCDEF")];
    if (!strncmp(s, "0o", 2))
        return s[2] && !s[2 + strspn(s + 2, "01234567")];
    s = skip_sign(s);
    return *s && !*skip_digits(s);
}

static int is_real(const char *s)
{
    static const char *const special[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL};
    if (is_one_of(skip_sign(s), special))
        return 1;
    s = skip_sign(s);
    const char *end = skip_digits(s);
    size_t digits = (size_t)(end - s);
    if (*end == '.') {
        const char *fraction = end + 1;
        end = skip_digits(fraction);
        digits += (size_t)(end - fraction);
    }
    if (!digits)
        return 0;
    if (*end == 'e' || *end == 'E') {
        const char *exponent = skip_sign(end + 1);
        end = skip_digits(exponent);
        if (end == exponent)
            return 0;
    }
    return !*end;
}

static double real_of(const char *text)
{
    const char *name = skip_sign(text);
    if (name[0] == '.' && strchr("iI", name[1]))
        return *text == '-' ? -INFINITY : INFINITY;
    if (name[0] == '.' && strchr("nN", name[1]))
        return NAN;
    return strtod(text, NULL);
}

struct hy_value *hy_value_from_scalar(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const truths[] = {"true", "True", "TRUE", NULL};
    static const char *const falsehoods[] = {"false", "False", "FALSE", NULL};
    if (is_one_of(text, nulls))
        return hy_value_null();
    if (is_one_of(text, truths) || is_one_of(text, falsehoods))
        return hy_value_bool(is_one_of(text, truths));
    struct hy_value *v = NULL;
    if (is_integer(text)) {
        const int base = text[0] != '0' ? 10 : text[1] == 'x' ? 16 : text[1] == 'o' ? 8 : 10;
        errno = 0;
        const int64_t integer = strtoll(base == 8 ? text + 2 : text, NULL, base);
        v = errno ? hy_value_real(strtod(text, NULL)) : hy_value_int(integer);
    } else if (is_real(text)) {
        v = hy_value_real(real_of(text));
    } else {
        return hy_value_string(text);
    }
    if (v && !(v->string = strdup(text))) {
        hy_value_free(v);
        return NULL;
    }
    return v;
}

static void write_real(double x, struct hy_buf *out)
{
    if (!isfinite(x)) {
        hy_buf_text(out, "null");
        return;
    }
    /* Below 2^53 every integer is exact, so that an integral real and the integer read the same. */
    if (x == rint(x) && fabs(x) <= 0x1p53) {
        hy_buf_printf(out, "%" PRId64, (int64_t)x);
        return;
    }
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    hy_buf_text(out, text);
}

static int by_name(const void *a, const void *b, void *keys)
{
    char **names = keys;
    return strcmp(names[*(const size_t *)a], names[*(const size_t *)b]);
}

static void write_value(const struct hy_value *v, int sorted, struct hy_buf *out);

static void write_map(const struct hy_value *v, int sorted, struct hy_buf *out)
{
    size_t *order = malloc((v->count + 1) * sizeof *order);
    if (!order) {
        out->failed = 1;
        return;
    }
    for (size_t i = 0; i < v->count; i++)
        order[i] = i;
    if (sorted && v->count)
        qsort_r(order, v->count, sizeof *order, by_name, v->keys);
    hy_buf_text(out, "{");
    for (size_t i = 0; i < v->count; i++) {
        if (i)
            hy_buf_text(out, ",");
        hy_json_quote(v->keys[order[i]], out);
        hy_buf_text(out, ":");
        write_value(v->items[order[i]], sorted, out);
    }
    hy_buf_text(out, "}");
    free(order);
}

static void write_value(const struct hy_value *v, int sorted, struct hy_buf *out)
{
    switch (v->type) {
    case HY_V_NULL:
        hy_buf_text(out, "null");
        break;
    case HY_V_BOOL:
        hy_buf_text(out, v->integer ? "true" : "false");
        break;
    case HY_V_INT:
        hy_buf_printf(out, "%" PRId64, v->integer);
        break;
    case HY_V_REAL:
        write_real(v->real, out);
        break;
    case HY_V_STRING:
        hy_json_quote(v->string, out);
        break;
    case HY_V_LIST:
        hy_buf_text(out, "[");
        for (size_t i = 0; i < v->count; i++) {
            if (i)
                hy_buf_text(out, ",");
            write_value(v->items[i], sorted, out);
        }
        hy_buf_text(out, "]");
        break;
    case HY_V_MAP:
        write_map(v, sorted, out);
        break;
    }
}

char *hy_value_to_json(const struct hy_value *v, int sorted)
{
    struct hy_buf out = {0};
    write_value(v, sorted, &out);
    if (hy_buf_failed(&out)) {
        hy_buf_release(&out);
        return NULL;
    }
    return out.data;
}

int hy_value_from_json(const char *text, const char *name, struct hy_value **out, struct hy_err *e)
{
    return hy_json_parse(text, strlen(text), name, out, e);
}
