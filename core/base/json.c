#include "core/base/json.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"

enum { DEEPEST = 256 };

struct parser {
    const char *text, *at, *end, *name;
    int depth;
    struct hy_err *e;
};

static struct hy_value *parse_value(struct parser *p);

/* Says what is wrong where the parser stands; NULL. */
static void *fail(struct parser *p, const char *reason)
{
    int line = 1, column = 1;
    for (const char *s = p->text; s < p->at; s++) {
        line += *s == '\n';
        column = *s == '\n' ? 1 : column + 1;
    }
    hy_fail(p->e, HY_E_USAGE, "%s:%d:%d: not JSON: %s", p->name, line, column, reason);
    return NULL;
}

static void *fail_memory(struct parser *p)
{
    hy_fail_memory(p->e);
    return NULL;
}

static void skip_blanks(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

/* Takes the character c, blanks before it too; 0 where another stands there. */
static int take(struct parser *p, char c)
{
    skip_blanks(p);
    if (p->at == p->end || *p->at != c)
        return 0;
    p->at++;
    return 1;
}

static int take_word(struct parser *p, const char *word)
{
    const size_t length = strlen(word);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length) != 0)
        return 0;
    p->at += length;
    return 1;
}

/* The number of \uXXXX, whose \u is taken; -1 where there is none. */
static long take_hex(struct parser *p)
{
    long code = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        if (p->at == p->end || !isxdigit((unsigned char)*p->at))
            return -1;
        const int c = tolower((unsigned char)*p->at);
        code = code * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return code;
}

static void add_code(struct hy_buf *out, long code)
{
    char bytes[4];
    const int length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const int heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = length - 1; i > 0; i--, code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)(heads[length] | code);
    hy_buf_add(out, bytes, (size_t)length);
}

/* What follows a backslash; 0 where it is no escape. */
static int take_escape(struct parser *p, struct hy_buf *out)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *known = p->at < p->end && *p->at ? strchr(names, *p->at) : NULL;
    if (known) {
        p->at++;
        hy_buf_add(out, &meant[known - names], 1);
        return 1;
    }
    if (!take_word(p, "u"))
        return 0;
    long code = take_hex(p);
    if (code >= 0xd800 && code < 0xdc00) {
        const long low = take_word(p, "\\u") ? take_hex(p) : -1;
        code =
            low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : -1;
    }
    if (code <= 0 || (code >= 0xdc00 && code < 0xe000))
        return 0;
    add_code(out, code);
    return 1;
}

/* A string, malloc'd, whose opening quote is taken. */
static char *take_string(struct parser *p)
{
    struct hy_buf out = {0};
    hy_buf_text(&out, "");
    const char *reason = "a string does not end";
    while (p->at < p->end) {
        const int length = hy_utf8_length(p->at, p->end);
        if (*p->at == '"') {
            p->at++;
            if (!hy_buf_failed(&out))
                return out.data;
            hy_buf_release(&out);
            return fail_memory(p);
        }
        if (!length || (unsigned char)*p->at < 0x20) {
            reason = length ? "a control character in a string" : "a string that is no UTF-8";
            break;
        }
        if (*p->at != '\\') {
            hy_buf_add(&out, p->at, (size_t)length);
            p->at += length;
        } else if (p->at++, !take_escape(p, &out)) {
            reason = "an escape that means no character";
            break;
        }
    }
    hy_buf_release(&out);
    return fail(p, reason);
}

static const char *skip_digits(const struct parser *p, const char *s)
{
    while (s < p->end && *s >= '0' && *s <= '9')
        s++;
    return s;
}

static struct hy_value *parse_number(struct parser *p)
{
    const char *s = p->at + (*p->at == '-'), *digits = s;
    int real = 0;
    s = skip_digits(p, s);
    int bad = s == digits || (*digits == '0' && s - digits > 1);
    if (s < p->end && *s == '.') {
        const char *fraction = ++s;
        s = skip_digits(p, s);
        bad |= s == fraction;
        real = 1;
    }
    if (s < p->end && (*s == 'e' || *s == 'E')) {
        s++;
        s += s < p->end && (*s == '+' || *s == '-');
        const char *exponent = s;
        s = skip_digits(p, s);
        bad |= s == exponent;
        real = 1;
    }
    char text[400];
    if (bad || (size_t)(s - p->at) >= sizeof text)
        return fail(p, "no value begins like this");
    memcpy(text, p->at, (size_t)(s - p->at));
    text[s - p->at] = '\0';
    errno = 0;
    const double as_real = strtod(text, NULL);
    if (real && isinf(as_real))
        return fail(p, "a number that no double holds");
    const int64_t as_integer = real ? 0 : strtoll(text, NULL, 10);
    if (!real && errno == ERANGE)
        return fail(p, "an integer that 64 bits do not hold");
    p->at = s;
    return real ? hy_value_real(as_real) : hy_value_int(as_integer);
}

static struct hy_value *parse_list(struct parser *p)
{
    struct hy_value *list = hy_value_list();
    if (!list)
        return fail_memory(p);
    if (take(p, ']'))
        return list;
    do {
        struct hy_value *item = parse_value(p);
        if (!item || hy_value_append(list, item, p->e))
            goto fail;
    } while (take(p, ','));
    if (take(p, ']'))
        return list;
    fail(p, "a list goes on with , or ends with ]");
fail:
    hy_value_free(list);
    return NULL;
}

/* One entry of a map; 0 after a failure. */
static int parse_entry(struct parser *p, struct hy_value *map)
{
    char *key = NULL;
    struct hy_value *item = NULL;
    if (!take(p, '"'))
        fail(p, "a key is missing");
    else if (map->count == HY_MAX_KEYS)
        fail(p, "a map of more than 16384 keys");
    else if ((key = take_string(p)) && hy_value_get(map, key))
        fail(p, "a key that is there already");
    else if (key && !take(p, ':'))
        fail(p, ": is missing behind a key");
    else if (key)
        item = parse_value(p);
    const int good = item && !hy_value_set(map, key, item, p->e);
    free(key);
    return good;
}

static struct hy_value *parse_map(struct parser *p)
{
    struct hy_value *map = hy_value_map();
    if (!map)
        return fail_memory(p);
    if (take(p, '}'))
        return map;
    do {
        if (!parse_entry(p, map))
            goto fail;
    } while (take(p, ','));
    if (take(p, '}'))
        return map;
    fail(p, "a map goes on with , or ends with }");
fail:
    hy_value_free(map);
    return NULL;
}

static struct hy_value *parse_text(struct parser *p)
{
    char *text = take_string(p);
    if (!text)
        return NULL;
    struct hy_value *v = hy_value_string(text);
    free(text);
    return v ? v : fail_memory(p);
}

static struct hy_value *parse_value(struct parser *p)
{
    struct hy_value *v = NULL;
    skip_blanks(p);
    if (p->at == p->end)
        return fail(p, "the text ends where a value should stand");
    if (p->depth == DEEPEST)
        return fail(p, "too many levels");
    p->depth++;
    if (take(p, '{'))
        v = parse_map(p);
    else if (take(p, '['))
        v = parse_list(p);
    else if (take(p, '"'))
        v = parse_text(p);
    else if (*p->at == '-' || isdigit((unsigned char)*p->at))
        v = parse_number(p);
    else if (take_word(p, "true") || take_word(p, "false"))
        v = hy_value_bool(p->at[-2] == 'u');
    else if (take_word(p, "null"))
        v = hy_value_null();
    else
        return fail(p, "no value begins like this");
    p->depth--;
    if (v)
        v->mark.file = p->name;
    return v;
}

int hy_json_parse(const char *text, size_t length, const char *name, struct hy_value **out,
                  struct hy_err *e)
{
    struct hy_err unseen = {0};
    struct parser p = {
        .text = text, .at = text, .end = text + length, .name = name, .e = e ? e : &unseen};
    p.e->code = HY_OK;
    struct hy_value *v = parse_value(&p);
    skip_blanks(&p);
    if (v && p.at != p.end) {
        hy_value_free(v);
        v = fail(&p, "something follows the value");
    }
    if (!v)
        return p.e->code ? (int)p.e->code : hy_fail_memory(p.e);
    *out = v;
    return HY_OK;
}

void hy_json_quote(const char *text, struct hy_buf *out)
{
    const char *const end = text + strlen(text);
    hy_buf_text(out, "\"");
    for (const char *s = text; s < end;) {
        const int length = hy_utf8_length(s, end);
        if (!length)
            hy_buf_text(out, HY_UTF8_UNKNOWN);
        else if (*s == '"' || *s == '\\')
            hy_buf_printf(out, "\\%c", *s);
        else if (length == 1 && (unsigned char)*s < 0x20)
            hy_buf_printf(out, "\\u%04x", (unsigned)*s);
        else
            hy_buf_add(out, s, (size_t)length);
        s += length ? length : 1;
    }
    hy_buf_text(out, "\"");
}
