/* What identifies a run: its key, and the names that people give it. */
#include "core/config/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"

void hy_config_variant(const struct hy_config *c, char *text, size_t size)
{
    const struct hy_layout *l = &c->layers.layout;
    int named = hy_layout_count(l, HY_LINEAR) || c->select.method ? HY_LINEAR : HY_FULL;
    for (int i = 0; i < l->layers && named == HY_FULL; i++)
        named = l->kinds[i];
    hy_kind_title(&c->layers.kinds[named], text, size);
}

int hy_config_full_layers(const struct hy_config *c)
{
    int full = 0;
    for (int i = 0; i < c->layers.layout.layers && !c->select.method; i++)
        full += hy_kind_is_full(&c->layers.kinds[c->layers.layout.kinds[i]]);
    return full;
}

struct hy_layout_text hy_config_layout(const struct hy_config *c)
{
    return hy_model_layout_text(c->layers.kinds, &c->layers.layout);
}

void hy_config_ratio(const struct hy_config *c, char *text, size_t size)
{
    const int full = hy_config_full_layers(c), linear = c->layers.layout.layers - full;
    const struct hy_value *ratio = hy_value_at(c->tree, "mixer.ratio");
    if (c->select.method)
        snprintf(text, size, "selected");
    else if (!full || !linear)
        snprintf(text, size, "%s", full ? "full" : "pure");
    else if (ratio)
        snprintf(text, size, "%s", ratio->string);
    else if (linear % full == 0)
        snprintf(text, size, "%d:1", linear / full);
    else
        snprintf(text, size, "%d:%d", linear, full);
}

const char *hy_config_placement(const struct hy_config *c)
{
    const int full = hy_config_full_layers(c);
    const struct hy_value *placement = hy_value_at(c->tree, "mixer.placement");
    if (c->select.method)
        return c->select.method->name;
    if (!full || full == c->layers.layout.layers)
        return "";
    if (hy_value_at(c->tree, "layers.pattern"))
        return "pattern";
    return placement ? placement->string : "list";
}

/* " form=soft": what of its options a selection has that is not their default. */
static void add_unusual(const struct hy_config *c, const struct hy_option *table, char *text,
                        size_t size)
{
    /* Told apart, or a number of steps, which is settled by the rest of the file. */
    static const char *const apart[] = {"method", "tolerance", "budget",
                                        "align",  "steps",     "repair"};
    for (const struct hy_option *o = table; o->type != HY_OPT_END; o++) {
        const struct hy_value *v = hy_value_get(c->select.options, o->key);
        struct hy_value *usual = hy_option_default(o);
        int told = !v || !usual || hy_value_equal(v, usual);
        for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
            told |= !strcmp(o->key, apart[i]);
        char *json = told ? NULL : hy_value_to_json(v, 0);
        const size_t used = strlen(text);
        if (json)
            snprintf(text + used, size - used, " %s=%s", o->key,
                     v->type == HY_V_STRING ? v->string : json);
        free(json);
        hy_value_free(usual);
    }
}

/* "gates (2 full form=soft)". */
static void selection_title(const struct hy_config *c, char *text, size_t size)
{
    if (c->select.budget >= 0)
        snprintf(text, size, "%s (%d full", c->select.method->name, c->select.budget);
    else
        snprintf(text, size, "%s (%.40s", c->select.method->name,
                 hy_get_string(c->select.options, "tolerance"));
    add_unusual(c, hy_select_options, text, size);
    add_unusual(c, c->select.method->options, text, size);
    const size_t used = strlen(text);
    snprintf(text + used, size - used, ")");
}

/* Its name; NULL: the stages have none. */
static const char *recipe_of(const struct hy_config *c)
{
    const struct hy_value *name = hy_value_at(c->tree, "recipe.name");
    return name ? name->string : NULL;
}

void hy_config_title(const struct hy_config *c, char *text, size_t size)
{
    char variant[128], ratio[32], selection[192];
    const char *placement = hy_config_placement(c);
    const char *recipe = recipe_of(c);
    const int usual = !*placement || !strcmp(placement, "interleave");
    hy_config_variant(c, variant, sizeof variant);
    hy_config_ratio(c, ratio, sizeof ratio);
    if (c->select.method) {
        selection_title(c, selection, sizeof selection);
        snprintf(text, size, "%s %s%s lr=%g seed=%lld", variant, selection,
                 hy_config_takes_weights(c) ? " from weights" : "", c->train.lr,
                 (long long)c->train.seed);
    } else if (hy_value_get(c->tree, "layers"))
        snprintf(text, size, "%s %s%s%s lr=%g seed=%lld", variant, hy_config_layout(c).text,
                 recipe ? " " : "", recipe ? recipe : "", c->train.lr, (long long)c->train.seed);
    else
        snprintf(text, size, "%s %s%s%s%s%s lr=%g seed=%lld", variant, ratio, usual ? "" : " ",
                 usual ? "" : placement, recipe ? " " : "", recipe ? recipe : "", c->train.lr,
                 (long long)c->train.seed);
}

/* {variant, options...}. */
static struct hy_value *branch_identity(const struct hy_branch *branch)
{
    struct hy_value *map = hy_value_copy(branch->options);
    if (map && hy_value_set(map, "variant", hy_value_string(branch->variant->name), NULL)) {
        hy_value_free(map);
        return NULL;
    }
    return map;
}

/* Of an ordinary kind its branch's; else {parallel: [branches], combine, share}. */
static int kind_identity(const struct hy_kind *k, struct hy_value **out, struct hy_err *e)
{
    if (k->branch_count == 1) {
        *out = branch_identity(&k->branches[0]);
        return *out ? HY_OK : hy_fail_memory(e);
    }
    struct hy_value *map = hy_value_map(), *list = hy_value_list();
    int rc = map && list ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < k->branch_count; i++)
        rc = hy_value_append(list, branch_identity(&k->branches[i]), e);
    if (!rc)
        rc = hy_value_set(map, "combine", hy_value_int(k->combine), e);
    if (!rc)
        rc = hy_value_set(map, "shares", hy_value_bool(k->shares), e);
    if (!rc) {
        rc = hy_value_set(map, "parallel", list, e);
        list = NULL;
    }
    hy_value_free(list);
    if (rc)
        hy_value_free(map);
    else
        *out = map;
    return rc;
}

/* Sets map[key] to a kind's identity, null where no layer is of that kind. */
static int add_kind(const struct hy_config *c, int kind, const char *key, struct hy_value *map,
                    struct hy_err *e)
{
    const struct hy_kind *k = &c->layers.kinds[kind];
    struct hy_value *identity = NULL;
    if (!hy_layout_count(&c->layers.layout, kind))
        return hy_value_set(map, key, hy_value_null(), e);
    const int rc = kind_identity(k, &identity, e);
    return rc ? rc : hy_value_set(map, key, identity, e);
}

/* The layers, in which further kinds are called a, b, ... in the order in which they come: their
 * names change no result. */
static int add_layers(const struct hy_config *c, struct hy_value *map, struct hy_err *e)
{
    const struct hy_layout *l = &c->layers.layout;
    struct hy_layout_text layout = hy_config_layout(c);
    struct hy_value *kinds = hy_value_map();
    char names[HY_MAX_KINDS] = {0}, next = 'a';
    int rc = kinds ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < l->layers; i++) {
        const int kind = l->kinds[i];
        if (kind < HY_FURTHER)
            continue;
        if (!names[kind]) {
            const char key[] = {names[kind] = next++, 0};
            rc = add_kind(c, kind, key, kinds, e);
            if (!rc)
                rc = hy_value_set((struct hy_value *)hy_value_get(kinds, key), "mlp",
                                  hy_value_bool(c->layers.kinds[kind].has_mlp), e);
        }
        layout.text[i] = names[kind];
    }
    if (!rc)
        rc = hy_value_set(map, "layout", hy_value_string(layout.text), e);
    if (!rc)
        rc = add_kind(c, HY_LINEAR, "linear", map, e);
    if (!rc)
        rc = add_kind(c, HY_FULL, "full", map, e);
    if (!rc && kinds->count) {
        rc = hy_value_set(map, "kinds", kinds, e);
        kinds = NULL;
    }
    hy_value_free(kinds);
    return rc;
}

/* The hash of what the source's options point to. */
static int content_of(const struct hy_source *s, struct hy_value *known, char text[HY_HASH_TEXT],
                      struct hy_err *e)
{
    struct hy_buf id = {0};
    char *options = hy_value_to_json(s->options, 1);
    if (options)
        hy_buf_printf(&id, "%s %s", s->task->name, options);
    free(options);
    int rc = id.data && !hy_buf_failed(&id) ? HY_OK : hy_fail_memory(e);
    const struct hy_value *seen = rc ? NULL : hy_value_get(known, id.data);
    if (seen) {
        memcpy(text, seen->string, HY_HASH_TEXT);
    } else if (!rc) {
        rc = s->task->content(s->options, text, e);
        if (!rc && known)
            rc = hy_value_set(known, id.data, hy_value_string(text), e);
    }
    hy_buf_release(&id);
    return rc;
}

/* {task, share or seq_len, options..., content}. */
static int source_identity(const struct hy_source *s, double weights, struct hy_value *known,
                           struct hy_value **out, struct hy_err *e)
{
    char content[HY_HASH_TEXT];
    struct hy_value *map = hy_value_copy(s->options);
    int rc = map ? HY_OK : hy_fail_memory(e);
    for (const char *const *key = s->task->not_in_key; !rc && key && *key; key++)
        hy_value_remove(map, *key);
    if (!rc)
        rc = hy_value_set(map, "task", hy_value_string(s->task->name), e);
    if (!rc && weights > 0)
        rc = hy_value_set(map, "share", hy_value_real(s->weight / weights), e);
    if (!rc && !(weights > 0))
        rc = hy_value_set(map, "seq_len", hy_value_int(s->seq_len), e);
    if (!rc && s->task->content) {
        rc = content_of(s, known, content, e);
        if (!rc)
            rc = hy_value_set(map, "content", hy_value_string(content), e);
    }
    if (rc)
        hy_value_free(map);
    else
        *out = map;
    return rc;
}

/* weights: the sum of the sources' weights, 0 for evaluation. */
static int sources_identity(const struct hy_source *sources, int count, double weights,
                            struct hy_value *known, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *list = hy_value_list();
    int rc = list ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < count; i++) {
        struct hy_value *source = NULL;
        rc = source_identity(&sources[i], weights, known, &source, e);
        if (!rc)
            rc = hy_value_append(list, source, e);
    }
    if (rc)
        hy_value_free(list);
    else
        *out = list;
    return rc;
}

/* The rule that may end the run early, with the distance of the evaluations that it looks at. A run
 * without one keeps the key that it had before there were rules. */
static int add_stop(const struct hy_config *c, struct hy_value *map, struct hy_err *e)
{
    if (!c->run.stop.metric)
        return HY_OK;
    struct hy_value *stop = hy_value_copy(hy_value_at(c->tree, "run.stop"));
    int rc = stop ? hy_value_set(stop, "every", hy_value_int(c->eval.every), e) : hy_fail_memory(e);
    if (rc)
        hy_value_free(stop);
    return rc ? rc : hy_value_set(map, "stop", stop, e);
}

static int identity(const struct hy_config *c, struct hy_value *known, struct hy_value *map,
                    struct hy_err *e)
{
    double weights = 0;
    struct hy_value *train = NULL, *eval = NULL;
    for (int i = 0; i < c->data.train_count; i++)
        weights += c->data.train[i].weight;
    int rc = hy_value_set(map, "engine", hy_value_int(HY_ENGINE_REVISION), e);
    if (!rc)
        rc = hy_value_set(map, "model", hy_value_copy(hy_value_get(c->tree, "model")), e);
    if (!rc)
        hy_value_remove((struct hy_value *)hy_value_get(map, "model"), "match");
    if (!rc)
        rc = hy_value_set(map, "train", hy_value_copy(hy_value_get(c->tree, "train")), e);
    if (!rc)
        rc = hy_value_set(map, "contexts", hy_value_copy(hy_value_at(c->tree, "eval.contexts")), e);
    if (!rc && c->eval.component_count)
        rc = hy_value_set(map, "components", hy_value_copy(hy_value_at(c->tree, "eval.components")),
                          e);
    if (!rc)
        rc = add_layers(c, map, e);
    if (!rc)
        rc = sources_identity(c->data.train, c->data.train_count, weights, known, &train, e);
    if (!rc)
        rc = hy_value_set(map, "trained", train, e);
    if (!rc)
        rc = sources_identity(c->data.eval, c->data.eval_count, 0, known, &eval, e);
    if (!rc)
        rc = hy_value_set(map, "evaluated", eval, e);
    if (!rc)
        rc = hy_config_add_init(c, known, map, e);
    if (!rc)
        rc = hy_config_add_stages(c, map, e);
    if (!rc)
        rc = hy_config_add_select(c, map, e);
    return rc ? rc : add_stop(c, map, e);
}

static int hash_json(const struct hy_value *tree, char key[HY_HASH_TEXT], struct hy_err *e)
{
    char *json = hy_value_to_json(tree, 1);
    if (!json)
        return hy_fail_memory(e);
    hy_hash_bytes(json, strlen(json), key);
    free(json);
    return HY_OK;
}

int hy_config_key(const struct hy_config *c, struct hy_value *known, char key[HY_HASH_TEXT],
                  struct hy_err *e)
{
    struct hy_value *map = hy_value_map();
    int rc = map ? identity(c, known, map, e) : hy_fail_memory(e);
    if (!rc)
        rc = hash_json(map, key, e);
    hy_value_free(map);
    return rc;
}

/* What members of a gang may differ in, of the run and of its sources. */
static void remove_own(struct hy_value *tree)
{
    static const char *const own[] = {"seed", "lr", "weight_decay"};
    struct hy_value *train = (struct hy_value *)hy_value_get(tree, "train");
    struct hy_value *source = (struct hy_value *)hy_value_at(tree, "init.source");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        hy_value_remove(train, own[i]);
    if (source)
        remove_own(source);
}

int hy_config_gang_key(const struct hy_config *c, char key[HY_HASH_TEXT], struct hy_err *e)
{
    struct hy_value *tree = hy_value_copy(c->tree);
    if (!tree)
        return hy_fail_memory(e);
    remove_own(tree);
    const int rc = hash_json(tree, key, e);
    hy_value_free(tree);
    return rc;
}
