/* Section layers, and the layout that mixer.ratio gives where there is none: which kind each layer
 * has. */
#include "core/config/read.h"

#include <stdio.h>
#include <string.h>

const struct hy_option hy_layers_options[] = {
    {"pattern", HY_OPT_STRINGS, .help = "kinds of the layers, repeated to the model's depth"},
    {"list", HY_OPT_STRINGS, .help = "the kind of each layer, in place of a pattern"},
    {0},
};

/* The two kinds that a ratio mixes, as the sweep file has them. */
struct pair {
    const struct hy_value *mixer, *layers; /* sections as written, or NULL */
    struct hy_mixer_map linear, full;
};

static int layout_from_list(const struct hy_value *list, int layers, struct hy_layout *out,
                            struct hy_err *e)
{
    int full[HY_MAX_LAYERS];
    if (list->count > HY_MAX_LAYERS)
        return hy_fail(e, HY_E_USAGE, "a model has at most %d layers", HY_MAX_LAYERS);
    for (size_t i = 0; i < list->count; i++)
        full[i] = (int)list->items[i]->integer;
    return hy_layout_from_list(full, (int)list->count, layers, out, e);
}

/* The layout that section mixer describes; only what says it stays there. */
static int layout_from_mixer(struct pair *p, int layers, struct hy_layout *out, struct hy_err *e)
{
    const struct hy_value *list = hy_value_get(p->mixer, "layers");
    const struct hy_value *ratio = hy_value_get(p->mixer, "ratio");
    const struct hy_value *at = list ? list : ratio;
    struct hy_value *keys = p->linear.keys;
    int rc;
    if (list && (ratio || hy_value_get(p->mixer, "placement")))
        return hy_fail(e, HY_E_USAGE,
                       "%smixer.layers says where the full layers lie: leave out ratio and "
                       "placement",
                       hy_place_of(list).text);
    if (list)
        rc = layout_from_list(hy_get_list(keys, "layers"), layers, out, e);
    else
        rc = hy_layout_from_ratio(hy_get_string(keys, "ratio"),
                                  hy_placement_parse(hy_get_string(keys, "placement")), layers, out,
                                  e);
    if (rc)
        return at ? hy_mark_wrap(at->mark, e) : rc;
    if (list) {
        hy_value_remove(keys, "ratio");
        hy_value_remove(keys, "placement");
    } else {
        hy_value_remove(keys, "layers");
    }
    return HY_OK;
}

static int refuse_kind(const struct hy_config *c, const struct hy_value *name, struct hy_err *e)
{
    const char *names[HY_MAX_KINDS];
    size_t count = 0;
    for (int i = 0; i < c->layers.kind_count; i++)
        if (*c->layers.kinds[i].name)
            names[count++] = c->layers.kinds[i].name;
    return hy_refuse_name(name->mark, "kind of layer", name->string, names, count, e);
}

/* The layout that section layers describes. */
static int layout_from_names(const struct hy_value *section, const struct hy_config *c,
                             struct hy_layout *out, struct hy_err *e)
{
    const struct hy_value *pattern = hy_get_list(section, "pattern");
    const struct hy_value *list = hy_get_list(section, "list");
    const int has_pattern = pattern->type == HY_V_LIST, has_list = list->type == HY_V_LIST;
    const struct hy_value *names = has_pattern ? pattern : list;
    const int depth = c->model.layers;
    struct hy_layout l = {.layers = depth};
    if (has_pattern == has_list)
        return hy_fail(e, HY_E_USAGE, "%ssection layers has either a pattern or a list",
                       hy_place_of(has_list ? list : section).text);
    if (has_list ? names->count != (size_t)depth : names->count > (size_t)depth)
        return hy_fail(e, HY_E_USAGE, "%slayers.%s names %zu layers, but the model has %d",
                       hy_place_of(names).text, has_list ? "list" : "pattern", names->count, depth);
    for (int i = 0; i < depth; i++) {
        const struct hy_value *name = names->items[(size_t)i % names->count];
        const int kind = hy_config_find_kind(c, name->string);
        if (kind < 0)
            return refuse_kind(c, name, e);
        l.kinds[i] = (unsigned char)kind;
    }
    *out = l;
    return HY_OK;
}

/* The canonical section: whichever of pattern and list there is. */
static int add_section(struct hy_config *c, struct hy_value *section, struct hy_err *e)
{
    for (const struct hy_option *o = hy_layers_options; o->type != HY_OPT_END; o++)
        if (hy_get_list(section, o->key)->type == HY_V_NULL)
            hy_value_remove(section, o->key);
    struct hy_value *copy = hy_value_copy(section);
    return copy ? hy_value_set(c->tree, "layers", copy, e) : hy_fail_memory(e);
}

/* What says of a mixer section where its layers lie has no place beside section layers. */
static int refuse_ratio(const struct pair *p, struct hy_err *e)
{
    static const char *const keys[] = {"ratio", "placement", "layers"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct hy_value *given = hy_value_get(p->mixer, keys[i]);
        if (given)
            return hy_fail(e, HY_E_USAGE,
                           "%smixer.%s: section layers says which kind each layer has; leave one "
                           "of them out",
                           hy_place_of(given).text, keys[i]);
        hy_value_remove(p->linear.keys, keys[i]);
    }
    if (p->linear.variant && p->linear.variant->full)
        return hy_fail(e, HY_E_USAGE,
                       "%svariant %s of section mixer is full attention: beside section layers it "
                       "belongs into section full",
                       hy_place_of(hy_value_get(p->mixer, "variant")).text,
                       p->linear.variant->name);
    return HY_OK;
}

static int read_names(struct pair *p, struct hy_config *c, struct hy_err *e)
{
    struct hy_value *section = NULL;
    int rc = refuse_ratio(p, e);
    if (!rc)
        rc = hy_options_resolve(hy_layers_options, p->layers, "section layers", NULL, &section, e);
    if (!rc)
        rc = layout_from_names(section, c, &c->layers.layout, e);
    if (!rc)
        rc = add_section(c, section, e);
    hy_value_free(section);
    return rc;
}

/* Section select says which layers are full, in place of all else that could. */
static int read_selected(struct pair *p, const struct hy_value *tree, struct hy_config *c,
                         struct hy_err *e)
{
    static const char *const keys[] = {"ratio", "placement", "layers"};
    static const char *const sections[] = {"layers", "kinds"};
    const struct hy_value *given = NULL;
    const char *name = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!given && (given = hy_value_get(p->mixer, keys[i])))
            name = keys[i];
        hy_value_remove(p->linear.keys, keys[i]);
    }
    for (size_t i = 0; i < sizeof sections / sizeof *sections && !given; i++)
        if ((given = hy_value_get(tree, sections[i])) && given->type != HY_V_NULL)
            name = sections[i];
        else
            given = NULL;
    if (given)
        return hy_fail(e, HY_E_USAGE,
                       "%s%s: section select finds which layers are full; leave one of them out",
                       hy_place_of(given).text, name);
    if (!p->linear.variant || p->linear.variant->full)
        return hy_fail(e, HY_E_USAGE,
                       "%ssection select needs a linear variant in section mixer (hylas variants "
                       "lists them)",
                       hy_place_of(p->mixer).text);
    c->layers.layout = (struct hy_layout){.layers = c->model.layers};
    return HY_OK;
}

static int read_ratio(struct pair *p, struct hy_config *c, struct hy_err *e)
{
    const int rc = layout_from_mixer(p, c->model.layers, &c->layers.layout, e);
    if (rc || !p->linear.variant || !p->linear.variant->full)
        return rc;
    /* A mixer that is itself full attention makes a full model, whatever the ratio. */
    hy_mixer_map_release(&p->full);
    p->full = p->linear;
    p->linear = (struct hy_mixer_map){0};
    hy_value_remove(p->full.keys, "ratio");
    hy_value_remove(p->full.keys, "placement");
    hy_value_remove(p->full.keys, "layers");
    return hy_layout_from_ratio("full", HY_PLACE_INTERLEAVE, c->model.layers, &c->layers.layout, e);
}

/* Puts a mixer section into the canonical tree, and its kind into the configuration. */
static int add_mixer(struct hy_config *c, int kind, const char *section, struct hy_mixer_map *m,
                     struct hy_err *e)
{
    struct hy_value *map = NULL;
    const struct hy_value *options;
    int rc = hy_mixer_map_merge(m, &map, e);
    if (!rc)
        rc = hy_value_set(c->tree, section, map, e);
    if (!rc)
        rc = hy_config_own_options(c, m, &options, e);
    if (!rc)
        c->layers.kinds[kind] = hy_kind_of(kind, m->variant, options);
    return rc;
}

/* Whether a layer is of that kind, or may become so. */
static int is_used(const struct hy_config *c, int kind)
{
    return hy_layout_count(&c->layers.layout, kind) || (c->select.method && kind < HY_FURTHER);
}

/* A full model's section mixer says so, and no more. */
static int add_full_ratio(struct hy_config *c, struct hy_err *e)
{
    struct hy_value *mixer = hy_value_map();
    int rc = mixer ? hy_value_set(mixer, "ratio", hy_value_string("full"), e) : hy_fail_memory(e);
    if (rc)
        hy_value_free(mixer);
    return rc ? rc : hy_value_set(c->tree, "mixer", mixer, e);
}

static int add_mixers(struct pair *p, struct hy_config *c, struct hy_err *e)
{
    int rc = HY_OK;
    if (is_used(c, HY_LINEAR))
        rc = add_mixer(c, HY_LINEAR, "mixer", &p->linear, e);
    else if (!p->layers)
        rc = add_full_ratio(c, e);
    if (!rc && is_used(c, HY_FULL))
        rc = add_mixer(c, HY_FULL, "full", &p->full, e);
    return rc;
}

/* The kind of layers that are still to be chosen: both mixers. */
static int add_either(const struct pair *p, struct hy_config *c, struct hy_err *e)
{
    const struct hy_kind *linear = &c->layers.kinds[HY_LINEAR], *full = &c->layers.kinds[HY_FULL];
    struct hy_kind k = {.name = "either",
                        .letter = '?',
                        .has_mlp = linear->has_mlp,
                        .combine = HY_COMBINE_SELECT,
                        .shares = c->select.shares};
    if (linear->has_mlp != full->has_mlp)
        return hy_fail(e, HY_E_USAGE,
                       "%ssection select: of %s and %s one has no MLP behind it, so that a layer "
                       "cannot be either",
                       hy_place_of(p->mixer).text, linear->branches[0].variant->name,
                       full->branches[0].variant->name);
    hy_kind_add_branch(&k, linear->branches[0].variant, linear->branches[0].options);
    hy_kind_add_branch(&k, full->branches[0].variant, full->branches[0].options);
    if (hy_config_check_kind(&k, c, NULL, e)) {
        hy_err_wrap(e, "section select%s",
                    k.shares ? " with share: qkvo (none: each mixer has its own)" : "");
        return hy_mark_wrap(hy_value_get(p->mixer, "variant")->mark, e);
    }
    c->select.kind = c->layers.kind_count;
    c->layers.kinds[c->layers.kind_count++] = k;
    memset(c->layers.layout.kinds, c->select.kind, (size_t)c->layers.layout.layers);
    return HY_OK;
}

static int check_pair(const struct pair *p, const struct hy_value *tree, const struct hy_config *c,
                      struct hy_err *e)
{
    const struct hy_mixer_map *maps[] = {&p->linear, &p->full};
    const struct hy_value *given[] = {p->mixer, hy_value_get(tree, "full")};
    for (int i = HY_LINEAR; i <= HY_FULL; i++) {
        if (!maps[i]->variant)
            continue;
        const struct hy_kind k = hy_kind_of(i, maps[i]->variant, maps[i]->options);
        const int rc = hy_config_check_kind(&k, c, given[i], e);
        if (rc)
            return rc;
    }
    if (!p->full.variant->full)
        return hy_fail(e, HY_E_USAGE, "%svariant %s of section full is not full attention",
                       hy_place_of(hy_value_get(p->full.keys, "variant")).text,
                       p->full.variant->name);
    return HY_OK;
}

/* Forgets the kinds that no layer has: they change nothing. */
static int drop_unused(struct hy_config *c, struct hy_value *kinds, struct hy_err *e)
{
    for (int i = 0; i < c->layers.kind_count; i++) {
        if (is_used(c, i))
            continue;
        if (kinds)
            hy_value_remove(kinds, c->layers.kinds[i].name);
        c->layers.kinds[i] = (struct hy_kind){0};
    }
    if (kinds && kinds->count)
        return hy_value_set(c->tree, "kinds", kinds, e);
    hy_value_free(kinds);
    return HY_OK;
}

int hy_config_read_layers(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    struct pair p = {.mixer = hy_value_get(tree, "mixer"), .layers = hy_value_get(tree, "layers")};
    struct hy_value *kinds = NULL;
    if (p.layers && p.layers->type == HY_V_NULL)
        p.layers = NULL;
    c->layers.options = hy_value_list();
    c->layers.kind_count = HY_FURTHER;
    strcpy(c->layers.kinds[HY_LINEAR].name, "linear");
    strcpy(c->layers.kinds[HY_FULL].name, "full");
    int rc = c->layers.options ? HY_OK : hy_fail_memory(e);
    if (!rc)
        rc = hy_mixer_map_read(p.mixer, hy_mixer_options, "section mixer", &p.linear, e);
    if (!rc)
        rc = hy_mixer_map_read(hy_value_get(tree, "full"), hy_full_options, "section full", &p.full,
                               e);
    if (!rc)
        rc = check_pair(&p, tree, c, e);
    if (!rc)
        rc = hy_config_read_kinds(hy_value_get(tree, "kinds"), c, &kinds, e);
    if (!rc)
        rc = c->select.method ? read_selected(&p, tree, c, e)
             : p.layers       ? read_names(&p, c, e)
                              : read_ratio(&p, c, e);
    if (!rc && hy_layout_count(&c->layers.layout, HY_LINEAR) && !p.linear.variant)
        rc = hy_fail(e, HY_E_USAGE, "%ssection mixer needs 'variant' (hylas variants lists them)",
                     hy_place_of(p.mixer).text);
    if (!rc)
        rc = add_mixers(&p, c, e);
    if (!rc && c->select.method)
        rc = add_either(&p, c, e);
    if (!rc) {
        rc = drop_unused(c, kinds, e);
        kinds = NULL;
    }
    hy_value_free(kinds);
    hy_mixer_map_release(&p.full);
    hy_mixer_map_release(&p.linear);
    return rc;
}

int hy_config_has_components(const struct hy_config *c)
{
    int has = 0;
    for (int i = 0; i < c->layers.layout.layers; i++)
        has |= hy_kind_has_components(&c->layers.kinds[c->layers.layout.kinds[i]]);
    return has;
}

int hy_config_need_components(const struct hy_config *c, const struct hy_value *at,
                              const char *what, struct hy_err *e)
{
    return hy_config_has_components(c)
               ? HY_OK
               : hy_fail(e, HY_E_USAGE,
                         "%s%s is for mixers of a window and a linear part (lolcats, hedgehog); no "
                         "layer has one",
                         hy_place_of(at).text, what);
}

int hy_config_check_windows(const struct hy_config *c, struct hy_err *e)
{
    for (int i = 0; i < c->layers.layout.layers; i++) {
        const struct hy_kind *k = &c->layers.kinds[c->layers.layout.kinds[i]];
        for (int b = 0; b < k->branch_count; b++) {
            const struct hy_value *window = hy_value_get(k->branches[b].options, "window");
            if (k->branches[b].variant->components && window && window->integer > c->train.seq_len)
                return hy_fail(e, HY_E_USAGE,
                               "%swindow %lld of %s is longer than the sequences: train.seq_len is "
                               "%d",
                               hy_place_of(window).text, (long long)window->integer,
                               k->branches[b].variant->name, c->train.seq_len);
        }
    }
    return HY_OK;
}
