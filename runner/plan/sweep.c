#include "runner/plan/sweep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "core/base/buf.h"
#include "runner/plan/matrix.h"

/* ---- YAML ---- */

/* What no sweep needs, but a file can be made to have. */
enum { MAX_DEPTH = 32, MAX_BYTES = 16 << 20 };

struct reader {
    yaml_parser_t parser;
    const char *name; /* of the file, for marks; NULL: marks stay empty */
    struct hy_err *e;
};

static struct hy_mark mark_of(const struct reader *r, yaml_mark_t at)
{
    return (struct hy_mark){r->name, (int)at.line + 1, (int)at.column + 1};
}

static int fail_at(struct reader *r, yaml_mark_t at, const char *text)
{
    return hy_fail(r->e, HY_E_USAGE, "%s:%zu:%zu: %s", r->name, at.line + 1, at.column + 1, text);
}

static int next_event(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return HY_OK;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return hy_fail_memory(r->e);
    char text[256];
    snprintf(text, sizeof text, "not YAML: %s%s%s", r->parser.context ? r->parser.context : "",
             r->parser.context ? ", " : "", r->parser.problem ? r->parser.problem : "bad text");
    yaml_mark_t at = r->parser.problem_mark;
    if (r->parser.error == YAML_READER_ERROR)
        at = r->parser.mark;
    return fail_at(r, at, text);
}

/* Anchors and tags would make a file that reads differently from how it looks. */
static int check_plain(struct reader *r, const yaml_event_t *event, const yaml_char_t *anchor,
                       const yaml_char_t *tag)
{
    if (anchor)
        return fail_at(r, event->start_mark, "anchors (&name) are not supported here");
    if (tag)
        return fail_at(r, event->start_mark, "tags (!name) are not supported here");
    return HY_OK;
}

static int read_scalar(struct reader *r, const yaml_event_t *event, struct hy_value **out)
{
    const char *text = (const char *)event->data.scalar.value;
    const int rc = check_plain(r, event, event->data.scalar.anchor, event->data.scalar.tag);
    if (rc)
        return rc;
    if (strlen(text) != event->data.scalar.length)
        return fail_at(r, event->start_mark, "a value must not hold the character 0");
    const int plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    *out = plain ? hy_value_from_scalar(text) : hy_value_string(text);
    return *out ? HY_OK : hy_fail_memory(r->e);
}

static int read_node(struct reader *r, const yaml_event_t *event, int depth, struct hy_value **out);

static int read_list(struct reader *r, const yaml_event_t *start, int depth, struct hy_value *list)
{
    int rc =
        check_plain(r, start, start->data.sequence_start.anchor, start->data.sequence_start.tag);
    while (!rc) {
        yaml_event_t event;
        struct hy_value *item = NULL;
        rc = next_event(r, &event);
        if (rc)
            break;
        const int end = event.type == YAML_SEQUENCE_END_EVENT;
        if (!end)
            rc = read_node(r, &event, depth + 1, &item);
        yaml_event_delete(&event);
        if (end)
            break;
        if (!rc)
            rc = hy_value_append(list, item, r->e);
    }
    return rc;
}

static int read_key(struct reader *r, const yaml_event_t *event, const struct hy_value *map,
                    char **out)
{
    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(r, event->start_mark, "a key must be a plain word");
    int rc = check_plain(r, event, event->data.scalar.anchor, event->data.scalar.tag);
    if (rc)
        return rc;
    const char *key = (const char *)event->data.scalar.value;
    if (strlen(key) != event->data.scalar.length)
        return fail_at(r, event->start_mark, "a key must not hold the character 0");
    if (map->count == HY_MAX_KEYS)
        return fail_at(r, event->start_mark, "a map of more than 16384 keys");
    if (hy_value_get(map, key)) {
        char text[300];
        snprintf(text, sizeof text, "duplicate key '%.200s'", key);
        return fail_at(r, event->start_mark, text);
    }
    *out = strdup(key);
    return *out ? HY_OK : hy_fail_memory(r->e);
}

static int read_map(struct reader *r, const yaml_event_t *start, int depth, struct hy_value *map)
{
    int rc = check_plain(r, start, start->data.mapping_start.anchor, start->data.mapping_start.tag);
    while (!rc) {
        yaml_event_t event;
        char *key = NULL;
        struct hy_value *item = NULL;
        rc = next_event(r, &event);
        if (rc)
            break;
        const int end = event.type == YAML_MAPPING_END_EVENT;
        const struct hy_mark mark = mark_of(r, event.start_mark);
        if (!end)
            rc = read_key(r, &event, map, &key);
        yaml_event_delete(&event);
        if (end)
            break;
        if (!rc)
            rc = next_event(r, &event);
        if (!rc) {
            rc = read_node(r, &event, depth + 1, &item);
            yaml_event_delete(&event);
        }
        if (!rc)
            rc = hy_value_set(map, key, item, r->e);
        if (!rc)
            map->key_marks[map->count - 1] = mark;
        free(key);
    }
    return rc;
}

static int read_node(struct reader *r, const yaml_event_t *event, int depth, struct hy_value **out)
{
    struct hy_value *v = NULL;
    int rc;
    if (depth > MAX_DEPTH)
        return fail_at(r, event->start_mark, "nested more than 32 levels deep");
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        rc = read_scalar(r, event, &v);
        break;
    case YAML_SEQUENCE_START_EVENT:
        v = hy_value_list();
        rc = v ? read_list(r, event, depth, v) : hy_fail_memory(r->e);
        break;
    case YAML_MAPPING_START_EVENT:
        v = hy_value_map();
        rc = v ? read_map(r, event, depth, v) : hy_fail_memory(r->e);
        break;
    case YAML_ALIAS_EVENT:
        return fail_at(r, event->start_mark, "aliases (*name) are not supported here");
    default:
        return fail_at(r, event->start_mark, "expected a value");
    }
    if (rc) {
        hy_value_free(v);
        return rc;
    }
    v->mark = mark_of(r, event->start_mark);
    *out = v;
    return HY_OK;
}

/* The events around the one document of a stream. */
static int expect(struct reader *r, yaml_event_type_t type, const char *otherwise)
{
    yaml_event_t event;
    int rc = next_event(r, &event);
    if (rc)
        return rc;
    if (event.type != type)
        rc = fail_at(r, event.start_mark, otherwise);
    yaml_event_delete(&event);
    return rc;
}

static int read_yaml(const char *text, size_t size, const char *name, struct hy_value **out,
                     struct hy_err *e)
{
    struct reader r = {.name = name, .e = e};
    struct hy_value *root = NULL;
    yaml_event_t event;
    if (!yaml_parser_initialize(&r.parser))
        return hy_fail_memory(e);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    int rc = expect(&r, YAML_STREAM_START_EVENT, "not YAML");
    if (!rc)
        rc = expect(&r, YAML_DOCUMENT_START_EVENT, "there is nothing here");
    if (!rc)
        rc = next_event(&r, &event);
    if (!rc) {
        rc = read_node(&r, &event, 0, &root);
        yaml_event_delete(&event);
    }
    if (!rc)
        rc = expect(&r, YAML_DOCUMENT_END_EVENT, "expected the end");
    if (!rc)
        rc = expect(&r, YAML_STREAM_END_EVENT, "only one document is expected");
    yaml_parser_delete(&r.parser);
    if (rc)
        hy_value_free(root);
    else
        *out = root;
    return rc;
}

/* ---- Values set on the command line ---- */

static void mark_all(struct hy_value *v, struct hy_mark mark)
{
    v->mark = mark;
    for (size_t i = 0; i < v->count; i++) {
        mark_all(v->items[i], mark);
        if (v->key_marks)
            v->key_marks[i] = mark;
    }
}

/* "path=value" into sets. */
static int read_set(const char *text, struct hy_value *sets, struct hy_err *e)
{
    const struct hy_mark mark = {.file = "--set"};
    const char *equals = strchr(text, '=');
    struct hy_value *value = NULL;
    if (!equals || equals == text)
        return hy_fail(e, HY_E_USAGE, "--set %s: expected path=value, such as train.lr=1e-3", text);
    if (equals[1]) {
        const int rc = read_yaml(equals + 1, strlen(equals + 1), "--set", &value, e);
        if (rc)
            return rc;
    } else if (!(value = hy_value_null())) {
        return hy_fail_memory(e);
    }
    mark_all(value, mark);
    char *path = strndup(text, (size_t)(equals - text));
    if (!path) {
        hy_value_free(value);
        return hy_fail_memory(e);
    }
    int rc = HY_OK;
    if (!strcmp(path, "matrix") || !strncmp(path, "matrix.", 7)) {
        hy_value_free(value);
        rc = hy_fail(e, HY_E_USAGE, "--set %s: set the key itself; it wins over the matrix", text);
    } else {
        rc = hy_value_set(sets, path, value, e);
    }
    free(path);
    return rc;
}

/* ---- The file ---- */

static int read_file(const char *path, struct hy_buf *out, struct hy_err *e)
{
    char piece[4096];
    size_t size;
    FILE *file = fopen(path, "rb");
    if (!file)
        return hy_fail_errno(e, HY_E_USAGE, "cannot read sweep file %s", path);
    while (out->size <= MAX_BYTES && (size = fread(piece, 1, sizeof piece, file)) > 0)
        hy_buf_add(out, piece, size);
    const int failed = ferror(file);
    int rc = HY_OK;
    if (failed)
        rc = hy_fail_errno(e, HY_E_USAGE, "cannot read sweep file %s", path);
    else if (hy_buf_failed(out))
        rc = hy_fail_memory(e);
    else if (out->size > MAX_BYTES)
        rc = hy_fail(e, HY_E_USAGE, "sweep file %s is larger than 16 MiB", path);
    else if (!out->size)
        rc = hy_fail(e, HY_E_USAGE, "sweep file %s is empty", path);
    fclose(file);
    return rc;
}

/* Gives the document a name where it has none: the file's, without its ending. */
static int ensure_name(struct hy_value *document, const char *path, struct hy_err *e)
{
    if (hy_value_get(document, "name"))
        return HY_OK;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *name = strdup(base);
    if (!name)
        return hy_fail_memory(e);
    char *dot = strrchr(name, '.');
    if (dot && dot != name)
        *dot = 0;
    const int rc = hy_value_set(document, "name", hy_value_string(name), e);
    free(name);
    return rc;
}

/* The name becomes part of file names. */
static int take_name(const struct hy_value *document, struct hy_sweep *s, struct hy_err *e)
{
    const struct hy_value *name = hy_value_get(document, "name");
    char place[512];
    hy_mark_text(name->mark, place, sizeof place);
    if (!name->string)
        return hy_fail(e, HY_E_USAGE, "%sname must be a string", place);
    if (!*name->string || *name->string == '.' || strpbrk(name->string, "/\n"))
        return hy_fail(e, HY_E_USAGE, "%sname '%s' cannot name a file", place, name->string);
    s->name = strdup(name->string);
    return s->name ? HY_OK : hy_fail_memory(e);
}

int hy_sweep_load(const char *path, const char *const *sets, size_t set_count, struct hy_sweep *out,
                  struct hy_err *e)
{
    struct hy_sweep s = {0};
    struct hy_buf text = {0};
    struct hy_value *document = NULL, *values = hy_value_map();
    int rc = values ? HY_OK : hy_fail_memory(e);
    for (size_t i = 0; !rc && i < set_count; i++)
        rc = read_set(sets[i], values, e);
    if (!rc)
        rc = read_file(path, &text, e);
    if (!rc)
        rc = read_yaml(text.data, text.size, path, &document, e);
    if (!rc && document->type != HY_V_MAP)
        rc = hy_fail(e, HY_E_USAGE, "%s: a sweep file is a map of sections", path);
    if (!rc)
        rc = ensure_name(document, path, e);
    const struct hy_value *name = hy_value_get(values, "name");
    if (!rc && name)
        rc = hy_matrix_set(document, "name", name, name->mark, e);
    if (!rc)
        rc = take_name(document, &s, e);
    if (!rc)
        rc = hy_matrix_expand(document, values, &s, e);
    for (size_t i = 0; i < set_count; i++)
        hy_buf_printf(&text, "# --set %s\n", sets[i]);
    if (!rc && hy_buf_failed(&text))
        rc = hy_fail_memory(e);
    if (!rc) {
        s.text = text.data;
        text = (struct hy_buf){0};
        *out = s;
    } else {
        hy_sweep_release(&s);
    }
    hy_value_free(document);
    hy_value_free(values);
    hy_buf_release(&text);
    return rc;
}

void hy_sweep_release(struct hy_sweep *s)
{
    for (size_t i = 0; i < s->cell_count; i++)
        hy_value_free(s->cells[i]);
    for (size_t i = 0; i < s->axis_count; i++)
        free(s->axes[i]);
    free(s->cells);
    free(s->axes);
    free(s->text);
    free(s->name);
    *s = (struct hy_sweep){0};
}
