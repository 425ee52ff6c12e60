/* What identifies a run: its key, and the names that people give it. */
#include "core/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"

const struct hy_variant *hy_config_variant(const struct hy_config *c)
{
    return c->mixer.linear ? c->mixer.linear : c->mixer.full;
}

void hy_config_ratio(const struct hy_config *c, char *text, size_t size)
{
    const struct hy_layout *l = &c->mixer.layout;
    const struct hy_value *ratio = hy_value_at(c->tree, "mixer.ratio");
    if (!l->full || !l->linear)
        snprintf(text, size, "%s", l->full ? "full" : "pure");
    else if (ratio)
        snprintf(text, size, "%s", ratio->string);
    else if (l->linear % l->full == 0)
        snprintf(text, size, "%d:1", l->linear / l->full);
    else
        snprintf(text, size, "%d:%d", l->linear, l->full);
}

const char *hy_config_placement(const struct hy_config *c)
{
    const struct hy_layout *l = &c->mixer.layout;
    const struct hy_value *placement = hy_value_at(c->tree, "mixer.placement");
    if (!l->full || !l->linear)
        return "";
    return placement ? placement->string : "list";
}

void hy_config_title(const struct hy_config *c, char *text, size_t size)
{
    char ratio[32];
    const char *placement = hy_config_placement(c);
    const int usual = !*placement || !strcmp(placement, "interleave");
    hy_config_ratio(c, ratio, sizeof ratio);
    snprintf(text, size, "%s %s%s%s lr=%g seed=%lld", hy_config_variant(c)->name, ratio,
             usual ? "" : " ", usual ? "" : placement, c->train.lr, (long long)c->train.seed);
}

/* {variant, options...}, or null. */
static struct hy_value *mixer_identity(const struct hy_variant *variant,
                                       const struct hy_value *options)
{
    if (!variant)
        return hy_value_null();
    struct hy_value *map = hy_value_copy(options);
    if (map && hy_value_set(map, "variant", hy_value_string(variant->name), NULL)) {
        hy_value_free(map);
        return NULL;
    }
    return map;
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
    if (!rc)
        rc = hy_value_set(map, "layout", hy_value_string(c->mixer.layout.kinds), e);
    if (!rc)
        rc = hy_value_set(map, "linear", mixer_identity(c->mixer.linear, c->mixer.linear_options),
                          e);
    if (!rc)
        rc = hy_value_set(map, "full", mixer_identity(c->mixer.full, c->mixer.full_options), e);
    if (!rc)
        rc = sources_identity(c->data.train, c->data.train_count, weights, known, &train, e);
    if (!rc)
        rc = hy_value_set(map, "trained", train, e);
    if (!rc)
        rc = sources_identity(c->data.eval, c->data.eval_count, 0, known, &eval, e);
    if (!rc)
        rc = hy_value_set(map, "evaluated", eval, e);
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

int hy_config_gang_key(const struct hy_config *c, char key[HY_HASH_TEXT], struct hy_err *e)
{
    static const char *const own[] = {"seed", "lr", "weight_decay"};
    struct hy_value *tree = hy_value_copy(c->tree);
    if (!tree)
        return hy_fail_memory(e);
    struct hy_value *train = (struct hy_value *)hy_value_get(tree, "train");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        hy_value_remove(train, own[i]);
    const int rc = hash_json(tree, key, e);
    hy_value_free(tree);
    return rc;
}
