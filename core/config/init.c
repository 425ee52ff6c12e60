/* Section init: weights that come from another run, or from a folder. */
#include "core/config/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/weights.h"

const struct hy_option hy_init_options[] = {
    {"strict", HY_OPT_BOOL, .max = 1,
     .help = "refuse weights that the source lacks, or that have no place in the model"},
    {"weights", HY_OPT_BOOL, .quiet = 1, .def = 1, .max = 1,
     .help = "false: the source is a teacher, or a reference, and its weights are not taken"},
    {0},
};

/* from: settings or a folder; map: names. The canonical tree has for settings: source, the source
 * run's tree, and follows, which of `followed` it takes from the run. */
static const char *const own_keys[] = {"from", "map", "source", "follows", NULL};

/* Runs that differ in these alone are compared: their sources may differ in them likewise. */
static const struct {
    const char *path, *name;
} followed[] = {{"train.seed", "seed"}, {"train.lr", "lr"}};

/* Sections that a run has for itself. */
static const char *const apart[] = {"init", "matrix", "recipe", "select", "stages"};

/* Lays settings over a document: `{train.steps: 3, model: {layers: 4}}`. */
static int lay_over(struct hy_value *document, const char *path, const struct hy_value *settings,
                    struct hy_err *e)
{
    int rc = HY_OK;
    for (size_t i = 0; !rc && i < settings->count; i++) {
        const struct hy_value *item = settings->items[i];
        char full[512];
        const int size =
            snprintf(full, sizeof full, "%s%s%s", path, *path ? "." : "", settings->keys[i]);
        if (size >= (int)sizeof full || !*settings->keys[i])
            rc = hy_fail(e, HY_E_USAGE, "%sinit.from: '%.80s' is no setting",
                         hy_place_of(item).text, settings->keys[i]);
        else if (item->type == HY_V_MAP && item->count)
            rc = lay_over(document, full, item, e);
        else
            rc = hy_value_put(document, full, hy_value_copy(item), e);
        if (rc && settings->key_marks)
            hy_mark_wrap(settings->key_marks[i].file ? settings->key_marks[i] : item->mark, e);
    }
    return rc;
}

/* *out: the settings of the source run. */
static int source_of(const struct hy_value *tree, const struct hy_value *from,
                     struct hy_value **out, struct hy_err *e)
{
    struct hy_value *document = hy_value_copy(tree);
    if (!document)
        return hy_fail_memory(e);
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        hy_value_remove(document, apart[i]);
    if (hy_value_get(document, "eval"))
        hy_value_remove((struct hy_value *)hy_value_get(document, "eval"), "components");
    const int rc = lay_over(document, "", from, e);
    if (rc)
        hy_value_free(document);
    else
        *out = document;
    return rc;
}

/* Which settings the source has of its run: the others were laid over. */
static int add_follows(const struct hy_value *from, struct hy_value *section, struct hy_err *e)
{
    struct hy_value *given = hy_value_map(), *follows = hy_value_map();
    int rc = given && follows ? lay_over(given, "", from, e) : hy_fail_memory(e);
    for (size_t i = 0; !rc && i < sizeof followed / sizeof *followed; i++)
        if (!hy_value_at(given, followed[i].path))
            rc = hy_value_set(follows, followed[i].name, hy_value_bool(1), e);
    hy_value_free(given);
    if (rc) {
        hy_value_free(follows);
        return rc;
    }
    return hy_value_set(section, "follows", follows, e);
}

static int read_source(const struct hy_value *settings, const struct hy_value *from,
                       struct hy_config *c, struct hy_value *section, struct hy_err *e)
{
    struct hy_config *source = calloc(1, sizeof *source);
    if (!source)
        return hy_fail_memory(e);
    if (hy_config_resolve(settings, source, e)) {
        const int rc = hy_err_wrap(e, "%sthe source run of init.from", hy_place_of(from).text);
        free(source);
        return rc;
    }
    c->init.source = source;
    if (source->select.method)
        return hy_fail(e, HY_E_USAGE,
                       "%sthe source run of init.from selects its layers, so that nobody knows yet "
                       "which layers' weights it has: export it (hylas export), and start from the "
                       "folder",
                       hy_place_of(from).text);
    if (source->data.train[0].task->trains_nothing)
        return hy_fail(e, HY_E_USAGE, "%sthe source run of init.from trains nothing: task %s",
                       hy_place_of(from).text, source->data.train[0].task->name);
    return hy_value_set(section, "source", hy_value_copy(source->tree), e);
}

static int read_from(const struct hy_value *tree, const struct hy_value *from, struct hy_config *c,
                     struct hy_value *section, struct hy_err *e)
{
    struct hy_value *settings = NULL;
    int rc = source_of(tree, from, &settings, e);
    if (!rc)
        rc = read_source(settings, from, c, section, e);
    if (!rc)
        rc = add_follows(from, section, e);
    hy_value_free(settings);
    return rc;
}

static int read_folder(const struct hy_value *from, struct hy_config *c, struct hy_value *section,
                       struct hy_err *e)
{
    c->init.folder = strdup(from->string);
    return c->init.folder ? hy_value_set(section, "from", hy_value_copy(from), e)
                          : hy_fail_memory(e);
}

/* map: names to names or null, each with one '*' at most. */
static int read_map(const struct hy_value *map, struct hy_config *c, struct hy_value *section,
                    struct hy_err *e)
{
    if (!map || map->type == HY_V_NULL)
        return HY_OK;
    if (map->type != HY_V_MAP)
        return hy_fail(e, HY_E_USAGE,
                       "%sinit.map is a map from names of the model's weights to names in the "
                       "source, or to null",
                       hy_place_of(map).text);
    for (size_t i = 0; i < map->count; i++) {
        const struct hy_value *to = map->items[i];
        const char *names[] = {map->keys[i], to->type == HY_V_STRING ? to->string : ""};
        for (int k = 0; k < 2; k++)
            if ((to->type != HY_V_STRING && to->type != HY_V_NULL) ||
                strchr(names[k], '*') != strrchr(names[k], '*') ||
                (k && strchr(names[1], '*') && !strchr(names[0], '*')))
                return hy_fail(
                    e, HY_E_USAGE,
                    "%sinit.map: %.80s is mapped to a name or to null; '*' stands once in "
                    "either, for the same text",
                    hy_place_of(to).text, map->keys[i]);
    }
    const int rc = hy_value_set(section, "map", hy_value_copy(map), e);
    if (!rc)
        c->init.map = hy_value_get(section, "map");
    return rc;
}

int hy_config_takes_weights(const struct hy_config *c)
{
    return c->init.takes && (c->init.source || c->init.folder);
}

/* What a loss is tolerated against, where the run starts from nothing: the same run of full layers.
 */
static int make_reference(struct hy_value **out, struct hy_err *e)
{
    struct hy_value *init = hy_value_map();
    int rc = init ? hy_value_put(init, "from.mixer.ratio", hy_value_string("full"), e)
                  : hy_fail_memory(e);
    if (!rc)
        rc = hy_value_set(init, "weights", hy_value_bool(0), e);
    if (rc)
        hy_value_free(init);
    else
        *out = init;
    return rc;
}

static int read_init(const struct hy_value *tree, const struct hy_value *given, struct hy_config *c,
                     struct hy_err *e)
{
    const struct hy_value *from = hy_value_get(given, "from"), *source, *follows;
    struct hy_value *section = NULL;
    int rc = hy_options_resolve(hy_init_options, given, "section init", own_keys, &section, e);
    if (rc)
        return rc;
    c->init.strict = hy_get_bool(section, "strict");
    c->init.takes = hy_get_bool_or(section, "weights", 1);
    if ((source = hy_value_get(given, "source"))) {
        rc = read_source(source, source, c, section, e);
        if (!rc && (follows = hy_value_get(given, "follows")))
            rc = hy_value_set(section, "follows", hy_value_copy(follows), e);
    } else if (from && from->type == HY_V_MAP)
        rc = read_from(tree, from, c, section, e);
    else if (from && from->type == HY_V_STRING)
        rc = read_folder(from, c, section, e);
    else if (from && from->type != HY_V_NULL)
        rc = hy_fail(e, HY_E_USAGE,
                     "%sinit.from is a map of settings, laid over this file's, or a folder",
                     hy_place_of(from).text);
    if (!rc)
        rc = read_map(hy_value_get(given, "map"), c, section, e);
    if (rc || (!c->init.source && !c->init.folder)) {
        hy_value_free(section);
        c->init.map = NULL;
        return rc;
    }
    return hy_value_set(c->tree, "init", section, e);
}

int hy_config_read_init(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    const struct hy_value *given = hy_value_get(tree, "init");
    struct hy_value *made = NULL;
    int rc = HY_OK;
    if (given && given->type == HY_V_NULL)
        given = NULL;
    if (!given && c->select.method && c->select.budget < 0) {
        rc = make_reference(&made, e);
        given = made;
    }
    if (!rc && given)
        rc = read_init(tree, given, c, e);
    hy_value_free(made);
    return rc;
}

/* The hash of a folder's files. */
static int hash_folder(const struct hy_config *c, struct hy_value *known, char text[HY_HASH_TEXT],
                       struct hy_err *e)
{
    const struct hy_value *seen = hy_value_get(known, c->init.folder);
    if (seen) {
        memcpy(text, seen->string, HY_HASH_TEXT);
        return HY_OK;
    }
    int rc = hy_weights_hash(c->init.folder, text, e);
    if (rc)
        return hy_mark_wrap(hy_value_at(c->tree, "init.from")->mark, e);
    return known ? hy_value_set(known, c->init.folder, hy_value_string(text), e) : HY_OK;
}

int hy_config_add_init(const struct hy_config *c, struct hy_value *known, struct hy_value *map,
                       struct hy_err *e)
{
    char text[HY_HASH_TEXT];
    if (!c->init.source && !c->init.folder)
        return HY_OK;
    struct hy_value *init = hy_value_map();
    int rc = init ? HY_OK : hy_fail_memory(e);
    if (!rc)
        rc = c->init.source ? hy_config_key(c->init.source, known, text, e)
                            : hash_folder(c, known, text, e);
    if (!rc)
        rc = hy_value_set(init, c->init.source ? "source" : "content", hy_value_string(text), e);
    if (!rc && c->init.map)
        rc = hy_value_set(init, "map", hy_value_copy(c->init.map), e);
    if (!rc && !c->init.takes)
        rc = hy_value_set(init, "weights", hy_value_bool(0), e);
    if (rc) {
        hy_value_free(init);
        return rc;
    }
    return hy_value_set(map, "init", init, e);
}
