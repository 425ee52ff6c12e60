/* value.h - a tree of settings: what a sweep file, a run's configuration and its JSON text are made
 * of.
 *
 * Every value remembers where it was written, so that a bad one is reported at its place. YAML is
 * read by runner/plan/sweep.c, JSON by hy_value_from_json(); both give the same tree. A tree is
 * owned by whoever made its root and freed whole with hy_value_free(). Maps keep the order in which
 * keys were set. */
#ifndef HY_BASE_VALUE_H
#define HY_BASE_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

enum hy_value_type { HY_V_NULL, HY_V_BOOL, HY_V_INT, HY_V_REAL, HY_V_STRING, HY_V_LIST, HY_V_MAP };

/* Finding a key is linear, so those who read what others wrote refuse maps of more keys. */
enum { HY_MAX_KEYS = 16384 };

struct hy_mark {
    const char *file; /* borrowed for the program's life; NULL: the command line or a default */
    int line, column; /* from 1 */
};

struct hy_value {
    enum hy_value_type type;
    struct hy_mark mark;
    int64_t integer; /* INT, BOOL (0 or 1) */
    double real;     /* REAL, and INT as a double */
    char *string; /* STRING: its bytes; REAL and INT: the digits as written, NULL when computed */
    size_t count; /* LIST, MAP: entries */
    char **keys;  /* MAP: count names */
    struct hy_value **items;   /* LIST, MAP: count values, owned */
    struct hy_mark *key_marks; /* MAP: where each key was written */
};

/* Constructors: a new value without a mark, NULL when memory is out. Strings are copied. */
struct hy_value *hy_value_null(void);
struct hy_value *hy_value_bool(int truth);
struct hy_value *hy_value_int(int64_t integer);
struct hy_value *hy_value_real(double real);
struct hy_value *hy_value_string(const char *string);
struct hy_value *hy_value_list(void);
struct hy_value *hy_value_map(void);
struct hy_value *hy_value_copy(const struct hy_value *v);
void hy_value_free(struct hy_value *v); /* accepts NULL */

/* Looks key up in a map; NULL where absent (or where map is NULL or no map). */
const struct hy_value *hy_value_get(const struct hy_value *map, const char *key);
/* Takes item (freed on failure too). Setting an existing key replaces its value, keeping its place.
 */
int hy_value_set(struct hy_value *map, const char *key, struct hy_value *item, struct hy_err *e);
int hy_value_append(struct hy_value *list, struct hy_value *item, struct hy_err *e);
/* Removes key if present; 1 when it was there. */
int hy_value_remove(struct hy_value *map, const char *key);

/* Follows a dotted path ("train.lr") through maps; NULL where absent. */
const struct hy_value *hy_value_at(const struct hy_value *root, const char *path);
/* Sets a dotted path, making maps (marked as item is) on the way. Takes item. Fails where a step is
 * no map. */
int hy_value_put(struct hy_value *root, const char *path, struct hy_value *item, struct hy_err *e);

/* Reads the scalar text of YAML 1.2's core schema: null, true/false, integers, floats (1e-3 is
 * one), else a string. Used for plain YAML scalars and --set values. NULL when memory is out. */
struct hy_value *hy_value_from_scalar(const char *text);

/* Structural equality, marks apart; 3 and 3.0 are equal. */
int hy_value_equal(const struct hy_value *a, const struct hy_value *b);

/* Canonical JSON, malloc'd: no spaces, keys sorted when sorted != 0, numbers normalised (3e6,
 * 3000000 and 3000000.0 are all 3000000), shortest digits that read back equal. NULL when memory is
 * out. */
char *hy_value_to_json(const struct hy_value *v, int sorted);
/* Parses JSON; name stands in error messages and must outlive the value. */
int hy_value_from_json(const char *text, const char *name, struct hy_value **out, struct hy_err *e);

/* "file:line:column: " or "" into text; returns text. */
const char *hy_mark_text(struct hy_mark mark, char *text, size_t size);
/* Puts the mark, where it has a place, in front of the message already in *e; returns e's code. */
int hy_mark_wrap(struct hy_mark mark, struct hy_err *e);

#endif
