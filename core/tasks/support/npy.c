#include "core/tasks/support/npy.h"

#include <string.h>

static const char magic[] = "\x93NUMPY";
enum { MAGIC = sizeof magic - 1, VERSION = MAGIC, LENGTH = VERSION + 2 };

/* The header's text is the literal of a Python dictionary:
 *     {'descr': '<u2', 'fortran_order': False, 'shape': (1000,), } */
struct text {
    const unsigned char *bytes;
    int64_t at, end;
    struct hy_err *e;
};

int hy_npy_is(const unsigned char *bytes, int64_t size)
{
    return size >= MAGIC && !memcmp(bytes, magic, MAGIC);
}

static int damaged(const struct text *x, const char *what)
{
    return hy_fail(x->e, HY_E_USAGE, "byte %lld: the .npy header is damaged: %s", (long long)x->at,
                   what);
}

/* The next character that is no blank, 0 at the end. */
static int peek(struct text *x)
{
    while (x->at < x->end && (x->bytes[x->at] == ' ' || x->bytes[x->at] == '\n'))
        x->at++;
    return x->at < x->end ? x->bytes[x->at] : 0;
}

/* Passes c if it comes next. */
static int pass(struct text *x, int c)
{
    const int found = peek(x) == c;
    x->at += found;
    return found;
}

static int read_string(struct text *x, char *out, size_t room)
{
    const int quote = peek(x);
    size_t length = 0;
    if (quote != '\'' && quote != '"')
        return damaged(x, "a quoted string was expected");
    for (x->at++; x->at < x->end && x->bytes[x->at] != quote; x->at++) {
        if (length + 1 == room)
            return damaged(x, "a string is too long; only arrays of plain numbers are read");
        out[length++] = (char)x->bytes[x->at];
    }
    out[length] = 0;
    return pass(x, quote) ? HY_OK : damaged(x, "a string has no end");
}

/* (1000,) */
static int read_shape(struct text *x, int64_t *count)
{
    int64_t n = 0;
    if (!pass(x, '('))
        return damaged(x, "'(' was expected");
    if (peek(x) < '0' || peek(x) > '9')
        return damaged(x, "a shape of one dimension was expected");
    for (; x->at < x->end && x->bytes[x->at] >= '0' && x->bytes[x->at] <= '9'; x->at++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, x->bytes[x->at] - '0', &n))
            return damaged(x, "the shape is too large");
    pass(x, ',');
    *count = n;
    return pass(x, ')') ? HY_OK : damaged(x, "the array must have one dimension");
}

/* True or False; which one says nothing about one dimension. */
static int read_truth(struct text *x)
{
    static const char *const words[] = {"True", "False"};
    peek(x);
    for (int i = 0; i < 2; i++) {
        const int64_t length = (int64_t)strlen(words[i]);
        if (x->end - x->at < length || memcmp(x->bytes + x->at, words[i], (size_t)length) != 0)
            continue;
        x->at += length;
        return HY_OK;
    }
    return damaged(x, "True or False was expected");
}

static int read_entry(struct text *x, struct hy_npy *out, int *seen)
{
    static const char *const keys[] = {"descr", "shape", "fortran_order"};
    char key[16];
    int which = 0, rc = read_string(x, key, sizeof key);
    while (!rc && which < 3 && strcmp(key, keys[which]) != 0)
        which++;
    if (!rc && (which == 3 || *seen & 1 << which))
        rc = damaged(x, "its keys are not descr, shape and fortran_order");
    if (!rc && !pass(x, ':'))
        rc = damaged(x, "':' was expected");
    if (rc)
        return rc;
    *seen |= 1 << which;
    if (which == 2)
        return read_truth(x);
    return which ? read_shape(x, &out->count) : read_string(x, out->type, sizeof out->type);
}

static int read_dictionary(struct text *x, struct hy_npy *out)
{
    int seen = 0, rc = pass(x, '{') ? HY_OK : damaged(x, "'{' was expected");
    while (!rc && !pass(x, '}')) {
        rc = read_entry(x, out, &seen);
        if (!rc && !pass(x, ',') && peek(x) != '}')
            rc = damaged(x, "',' or '}' was expected");
    }
    if (!rc && seen != 7)
        rc = damaged(x, "it must have descr, shape and fortran_order");
    if (!rc && peek(x))
        rc = damaged(x, "something follows the dictionary");
    return rc;
}

int hy_npy_read(const unsigned char *bytes, int64_t size, struct hy_npy *out, struct hy_err *e)
{
    const int wide = size > VERSION && bytes[VERSION] > 1; /* the length's field */
    struct text x = {bytes, VERSION, LENGTH + (wide ? 4 : 2), e};
    struct hy_npy read = {.count = 0};
    if (size < x.end)
        return damaged(&x, "the file ends within it");
    if (bytes[VERSION] < 1 || bytes[VERSION] > 3)
        return damaged(&x, "its version must be 1, 2 or 3");
    x.at = LENGTH;
    int64_t length = 0;
    for (int i = wide ? 3 : 1; i >= 0; i--)
        length = length << 8 | bytes[LENGTH + i];
    if (length > size - x.end)
        return damaged(&x, "it is longer than the file");
    x.at = x.end;
    read.begin = x.end += length;
    const int rc = read_dictionary(&x, &read);
    if (!rc)
        *out = read;
    return rc;
}
