#include "core/base/option.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/log.h"

static size_t smallest(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Damerau-Levenshtein distance (adjacent transpositions count once); `none` when memory is out. */
static size_t distance(const char *a, const char *b, size_t none)
{
    const size_t n = strlen(a), m = strlen(b), width = m + 1;
    size_t *d = malloc((n + 1) * width * sizeof *d);
    if (!d)
        return none;
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            size_t *at = d + i * width + j;
            if (!i || !j) {
                *at = i + j;
                continue;
            }
            const size_t change = at[-(ptrdiff_t)width - 1] + (a[i - 1] != b[j - 1]);
            *at = smallest(change, 1 + smallest(at[-1], at[-(ptrdiff_t)width]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                *at = smallest(*at, 1 + at[-2 * (ptrdiff_t)width - 2]);
        }
    }
    const size_t result = d[n * width + m];
    free(d);
    return result;
}

const char *hy_nearest(const char *word, const char *const *names, size_t count)
{
    const size_t length = strlen(word), limit = length / 3 > 2 ? length / 3 : 2;
    const char *nearest = NULL;
    /* A distance as large as the word itself keeps nothing of it. */
    size_t best = smallest(limit + 1, length);
    for (size_t i = 0; i < count; i++) {
        const size_t d = distance(word, names[i], best);
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    return nearest;
}

static size_t table_size(const struct hy_option *table)
{
    size_t n = 0;
    while (table && table[n].type != HY_OPT_END)
        n++;
    return n;
}

int hy_refuse_name(struct hy_mark mark, const char *what, const char *word,
                   const char *const *names, size_t count, struct hy_err *e)
{
    char place[512];
    hy_mark_text(mark, place, sizeof place);
    const char *near = hy_nearest(word, names, count);
    if (near)
        return hy_fail(e, HY_E_USAGE, "%sunknown %s '%s'; did you mean '%s'?", place, what, word,
                       near);
    struct hy_buf list = {0};
    for (size_t i = 0; i < count; i++)
        hy_buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
    hy_fail(e, HY_E_USAGE, "%sunknown %s '%s'; valid: %s", place, what, word,
            list.size ? list.data : "none");
    hy_buf_release(&list);
    return HY_E_USAGE;
}

int hy_refuse_plugin(struct hy_mark mark, const char *what, const char *word,
                     const void *const *table, struct hy_err *e)
{
    size_t count = 0;
    while (table[count])
        count++;
    const char **names = malloc((count + 1) * sizeof *names);
    if (!names)
        return hy_fail_memory(e);
    for (size_t i = 0; i < count; i++)
        names[i] = *(const char *const *)table[i];
    const int rc = hy_refuse_name(mark, what, word, names, count, e);
    free(names);
    return rc;
}

static int refuse_key(const struct hy_option *table, const char *const *ignore, const char *key,
                      struct hy_mark mark, const char *where, struct hy_err *e)
{
    size_t count = table_size(table);
    size_t total = count;
    for (const char *const *name = ignore; name && *name; name++)
        total++;
    const char **names = malloc((total + 1) * sizeof *names);
    if (!names)
        return hy_fail_memory(e);
    for (size_t i = 0; i < count; i++)
        names[i] = table[i].key;
    for (; count < total; count++)
        names[count] = ignore[count - table_size(table)];
    char what[128];
    snprintf(what, sizeof what, "key in %s:", where);
    const int rc = hy_refuse_name(mark, what, key, names, total, e);
    free(names);
    return rc;
}

static const char *type_text(enum hy_option_type type)
{
    switch (type) {
    case HY_OPT_INT:
        return "an integer";
    case HY_OPT_REAL:
        return "a number";
    case HY_OPT_BOOL:
        return "true or false";
    case HY_OPT_DURATION:
        return "seconds or a duration such as 90s, 15m, 2h, 1d";
    case HY_OPT_AMOUNT:
        return "a number such as 200000, 1.5M, 64Ki";
    case HY_OPT_INTS:
        return "a list of integers";
    case HY_OPT_REALS:
        return "a list of numbers";
    case HY_OPT_STRINGS:
        return "a list of names";
    case HY_OPT_PATH:
        return "a path";
    default:
        return "a string";
    }
}

/* One value against one row of the table. */
struct check {
    const struct hy_option *option;
    const char *where;
    struct hy_mark mark;
    struct hy_err *e;
};

static int wrong_type(const struct check *c)
{
    char place[512];
    const char *word = c->option->type == HY_OPT_INT ? c->option->text : NULL;
    return hy_fail(c->e, HY_E_USAGE, "%s%s in %s must be %s%s%s",
                   hy_mark_text(c->mark, place, sizeof place), c->option->key, c->where,
                   type_text(c->option->type), word ? " or " : "", word ? word : "");
}

static int in_bounds(const struct check *c, double x)
{
    const struct hy_option *o = c->option;
    if (x >= o->min && x <= o->max)
        return HY_OK;
    char place[512], range[64];
    if (isinf(o->max) || o->max >= 1e15)
        snprintf(range, sizeof range, "at least %.10g", o->min);
    else
        snprintf(range, sizeof range, "between %.10g and %.10g", o->min, o->max);
    return hy_fail(c->e, HY_E_USAGE, "%s%s in %s must be %s, not %.10g",
                   hy_mark_text(c->mark, place, sizeof place), o->key, c->where, range, x);
}

static int read_number(const struct check *c, const struct hy_value *v, int integer,
                       struct hy_value **out)
{
    /* 1e3 is a fine number of steps. */
    const int whole = v->type == HY_V_INT ||
                      (v->type == HY_V_REAL && v->real == rint(v->real) && fabs(v->real) <= 0x1p53);
    if ((v->type != HY_V_INT && v->type != HY_V_REAL) || (integer && !whole))
        return wrong_type(c);
    const int rc = in_bounds(c, v->real);
    if (rc)
        return rc;
    if (integer)
        *out = hy_value_int(v->type == HY_V_INT ? v->integer : (int64_t)v->real);
    else
        *out = hy_value_real(v->real);
    return *out ? HY_OK : hy_fail_memory(c->e);
}

struct unit {
    const char *name; /* NULL ends a table */
    double size;
};

/* A number, or one with a unit behind it. */
static int read_scaled(const struct check *c, const struct hy_value *v, const struct unit *units,
                       double *out)
{
    *out = v->real;
    if (v->type == HY_V_INT || v->type == HY_V_REAL)
        return in_bounds(c, *out);
    if (v->type != HY_V_STRING)
        return wrong_type(c);
    char *end;
    *out = strtod(v->string, &end);
    while (units->name && strcmp(units->name, end) != 0)
        units++;
    if (end == v->string || !units->name)
        return wrong_type(c);
    *out *= units->size;
    return in_bounds(c, *out);
}

static int read_duration(const struct check *c, const struct hy_value *v, struct hy_value **out)
{
    static const struct unit units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {0}};
    double seconds;
    const int rc = read_scaled(c, v, units, &seconds);
    if (rc)
        return rc;
    *out = hy_value_real(seconds);
    return *out ? HY_OK : hy_fail_memory(c->e);
}

static int read_amount(const struct check *c, const struct hy_value *v, struct hy_value **out)
{
    static const struct unit units[] = {{"k", 1e3},     {"M", 1e6},     {"G", 1e9}, {"Ki", 0x1p10},
                                        {"Mi", 0x1p20}, {"Gi", 0x1p30}, {0}};
    double amount;
    const int rc = read_scaled(c, v, units, &amount);
    if (rc)
        return rc;
    *out = hy_value_int(llround(amount));
    return *out ? HY_OK : hy_fail_memory(c->e);
}

/* A string that looks like a number is given as its digits; NULL where v is something else. */
static const char *word_of(const struct hy_value *v)
{
    return v->type == HY_V_STRING || v->type == HY_V_INT || v->type == HY_V_REAL ? v->string : NULL;
}

static int read_word(const struct check *c, const struct hy_value *v, struct hy_value **out)
{
    const char *word = word_of(v);
    if (!word)
        return wrong_type(c);
    *out = hy_value_string(word);
    return *out ? HY_OK : hy_fail_memory(c->e);
}

static int read_list(const struct check *c, const struct hy_value *v, struct hy_value **out)
{
    const enum hy_option_type type = c->option->type;
    struct hy_value *list = hy_value_list();
    if (!list)
        return hy_fail_memory(c->e);
    const size_t count = v->type == HY_V_LIST ? v->count : 1;
    int rc = count ? HY_OK : wrong_type(c);
    for (size_t i = 0; !rc && i < count; i++) {
        const struct hy_value *entry = v->type == HY_V_LIST ? v->items[i] : v;
        struct hy_value *item = NULL;
        struct check at = *c;
        at.mark = entry->mark;
        rc = type == HY_OPT_STRINGS ? read_word(&at, entry, &item)
                                    : read_number(&at, entry, type == HY_OPT_INTS, &item);
        if (!rc)
            item->mark = entry->mark;
        if (!rc)
            rc = hy_value_append(list, item, c->e);
    }
    if (rc)
        hy_value_free(list);
    else
        *out = list;
    return rc;
}

enum { MAX_CHOICES = 32 };

/* Cuts "a|b|c" (in text, changed) into names. */
static size_t cut_choices(char *text, const char **names)
{
    size_t count = 0;
    char *rest = NULL;
    for (char *name = strtok_r(text, "|", &rest); name && count < MAX_CHOICES;
         name = strtok_r(NULL, "|", &rest))
        names[count++] = name;
    return count;
}

static int read_choice(const struct check *c, const char *word, struct hy_value **out)
{
    const char *names[MAX_CHOICES];
    char *text = strdup(c->option->choices);
    if (!text)
        return hy_fail_memory(c->e);
    const size_t count = cut_choices(text, names);
    size_t i = 0;
    while (i < count && strcmp(word, names[i]) != 0)
        i++;
    int rc = HY_OK;
    if (i == count) {
        char what[128];
        snprintf(what, sizeof what, "%s in %s:", c->option->key, c->where);
        rc = hy_refuse_name(c->mark, what, word, names, count, c->e);
    } else if (!(*out = hy_value_string(word))) {
        rc = hy_fail_memory(c->e);
    }
    free(text);
    return rc;
}

static int read_value(const struct check *c, const struct hy_value *v, struct hy_value **out)
{
    const char *word = word_of(v);
    switch (c->option->type) {
    case HY_OPT_INT:
        if (word && c->option->text && !strcmp(word, c->option->text)) {
            *out = hy_option_default(c->option);
            break;
        }
        return read_number(c, v, 1, out);
    case HY_OPT_REAL:
        return read_number(c, v, 0, out);
    case HY_OPT_BOOL:
        if (v->type != HY_V_BOOL)
            return wrong_type(c);
        *out = hy_value_bool((int)v->integer);
        break;
    case HY_OPT_CHOICE:
        return word ? read_choice(c, word, out) : wrong_type(c);
    case HY_OPT_STRING:
    case HY_OPT_PATH:
        if (v->type == HY_V_NULL && !c->option->text && !c->option->required)
            *out = hy_value_null();
        else if (word)
            *out = hy_value_string(word);
        else
            return wrong_type(c);
        break;
    case HY_OPT_DURATION:
        return read_duration(c, v, out);
    case HY_OPT_AMOUNT:
        return read_amount(c, v, out);
    case HY_OPT_STRINGS:
        if (v->type == HY_V_NULL && !c->option->required) {
            *out = hy_value_null();
            break;
        }
        return read_list(c, v, out);
    case HY_OPT_INTS:
    case HY_OPT_REALS:
        return read_list(c, v, out);
    case HY_OPT_END:
        break;
    }
    return *out ? HY_OK : hy_fail_memory(c->e);
}

/* The default list: "4, 8, 16", or the single number def. */
static struct hy_value *default_list(const struct hy_option *o)
{
    struct hy_value *list = hy_value_list();
    const char *at = o->text;
    while (list) {
        char *end = NULL;
        const double x = at ? strtod(at, &end) : o->def;
        struct hy_value *item =
            o->type == HY_OPT_INTS ? hy_value_int((int64_t)x) : hy_value_real(x);
        if (hy_value_append(list, item, NULL)) {
            hy_value_free(list);
            return NULL;
        }
        at = end ? end + strspn(end, ", ") : NULL;
        if (!at || !*at)
            break;
    }
    return list;
}

struct hy_value *hy_option_default(const struct hy_option *o)
{
    switch (o->type) {
    case HY_OPT_INT:
    case HY_OPT_AMOUNT:
        return hy_value_int((int64_t)o->def);
    case HY_OPT_REAL:
    case HY_OPT_DURATION:
        return hy_value_real(o->def);
    case HY_OPT_BOOL:
        return hy_value_bool(o->def != 0);
    case HY_OPT_INTS:
    case HY_OPT_REALS:
        return default_list(o);
    default:
        return o->text ? hy_value_string(o->text) : hy_value_null();
    }
}

static int is_ignored(const char *const *ignore, const char *key)
{
    for (; ignore && *ignore; ignore++)
        if (!strcmp(*ignore, key))
            return 1;
    return 0;
}

static int check_keys(const struct hy_option *table, const struct hy_value *given,
                      const char *where, const char *const *ignore, struct hy_err *e)
{
    for (size_t i = 0; given && i < given->count; i++) {
        const char *key = given->keys[i];
        const struct hy_option *o = table;
        while (o && o->type != HY_OPT_END && strcmp(o->key, key) != 0)
            o++;
        if ((!o || o->type == HY_OPT_END) && !is_ignored(ignore, key))
            return refuse_key(table, ignore, key, given->key_marks[i], where, e);
    }
    return HY_OK;
}

static int is_default(const struct hy_option *o, const struct hy_value *v)
{
    struct hy_value *usual = hy_option_default(o);
    const int same = usual && hy_value_equal(usual, v);
    hy_value_free(usual);
    return same;
}

int hy_options_resolve(const struct hy_option *table, const struct hy_value *given,
                       const char *where, const char *const *ignore, struct hy_value **out,
                       struct hy_err *e)
{
    char place[512];
    if (given && given->type == HY_V_NULL)
        given = NULL; /* a section's name with nothing under it */
    if (given && given->type != HY_V_MAP)
        return hy_fail(e, HY_E_USAGE, "%s%s must be a map of keys to values",
                       hy_mark_text(given->mark, place, sizeof place), where);
    int rc = check_keys(table, given, where, ignore, e);
    if (rc)
        return rc;
    struct hy_value *map = hy_value_map();
    if (!map)
        return hy_fail_memory(e);
    if (given)
        map->mark = given->mark;
    for (const struct hy_option *o = table; !rc && o && o->type != HY_OPT_END; o++) {
        const struct hy_value *v = hy_value_get(given, o->key);
        struct hy_value *item = NULL;
        if (v) {
            const struct check c = {o, where, v->mark, e};
            rc = read_value(&c, v, &item);
            if (!rc)
                item->mark = v->mark;
        } else if (o->required) {
            rc = hy_fail(e, HY_E_USAGE, "%s%s needs '%s' (%s)",
                         hy_mark_text(map->mark, place, sizeof place), where, o->key, o->help);
        } else if (o->quiet) {
            continue;
        } else {
            item = hy_option_default(o);
        }
        if (!rc && o->quiet && is_default(o, item))
            hy_value_free(item);
        else if (!rc)
            rc = hy_value_set(map, o->key, item, e);
    }
    if (rc)
        hy_value_free(map);
    else
        *out = map;
    return rc;
}

static const struct hy_value *demand(const struct hy_value *options, const char *key)
{
    const struct hy_value *v = hy_value_get(options, key);
    if (!v) {
        hy_error("bug: no option '%s' in a resolved map", key);
        abort();
    }
    return v;
}

int64_t hy_get_int(const struct hy_value *options, const char *key)
{
    return demand(options, key)->integer;
}

double hy_get_real(const struct hy_value *options, const char *key)
{
    return demand(options, key)->real;
}

int hy_get_bool(const struct hy_value *options, const char *key)
{
    return demand(options, key)->integer != 0;
}

const char *hy_get_string(const struct hy_value *options, const char *key)
{
    return demand(options, key)->string;
}

const struct hy_value *hy_get_list(const struct hy_value *options, const char *key)
{
    return demand(options, key);
}

int64_t hy_get_int_or(const struct hy_value *options, const char *key, int64_t def)
{
    return hy_value_get(options, key) ? hy_get_int(options, key) : def;
}

double hy_get_real_or(const struct hy_value *options, const char *key, double def)
{
    return hy_value_get(options, key) ? hy_get_real(options, key) : def;
}

int hy_get_bool_or(const struct hy_value *options, const char *key, int def)
{
    return hy_value_get(options, key) ? hy_get_bool(options, key) : def;
}

const char *hy_get_string_or(const struct hy_value *options, const char *key, const char *def)
{
    return hy_value_get(options, key) ? hy_get_string(options, key) : def;
}
