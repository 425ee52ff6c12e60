/* Sections mixer and full: variants, their options, the layout. */
#include "core/config/read.h"

#include <stdio.h>
#include <string.h>

const struct hy_option hy_mixer_options[] = {
    {"variant", HY_OPT_STRING, .help = "token mixer of the linear layers; its options go here too"},
    {"ratio", HY_OPT_STRING, .text = "3:1", .help = "linear to full layers: pure, n:1 or full"},
    {"placement", HY_OPT_CHOICE, .text = "interleave", .choices = hy_placement_choices,
     .help = "where the full layers lie"},
    {"layers", HY_OPT_INTS, .min = 0, .max = HY_MAX_LAYERS - 1,
     .help = "the full layers, from 0, in place of ratio and placement"},
    {0},
};

const struct hy_option hy_full_options[] = {
    {"variant", HY_OPT_STRING, .text = "softmax",
     .help = "mixer of the full layers; its options go here too"},
    {0},
};

/* A mixer section: its own keys, and the options of its variant. */
struct mixer {
    const struct hy_variant *variant; /* NULL: none */
    struct hy_value *keys, *options;
};

static void release_mixer(struct mixer *m)
{
    hy_value_free(m->keys);
    hy_value_free(m->options);
}

/* given: the section as written, or NULL. */
static int check_variant(const struct mixer *m, const struct hy_value *given,
                         const struct hy_config *c, struct hy_err *e)
{
    const struct hy_mixer layer = {
        .options = m->options,
        .d_model = c->model.d_model,
        .heads = c->model.heads,
        .layers = c->model.layers,
        .norm_eps = c->model.norm_eps,
        .init_std = c->model.init_std,
    };
    if (!m->variant->check || !m->variant->check(&layer, e))
        return HY_OK;
    const struct hy_value *name = hy_value_get(given, "variant"), *at = name ? name : given;
    return hy_mark_wrap(at ? at->mark : (struct hy_mark){0}, e);
}

int hy_config_find_variant(const struct hy_value *tree, const char *section,
                           const struct hy_variant **out, struct hy_err *e)
{
    const struct hy_value *name = hy_value_get(hy_value_get(tree, section), "variant");
    const struct hy_option *own =
        hy_section_find(section)->options; /* first the row of `variant` */
    const char *wanted = name ? name->string : own[0].text;
    const struct hy_variant *found = wanted ? hy_variant_find(wanted) : NULL;
    if (wanted && !found)
        return hy_refuse_plugin(name ? name->mark : (struct hy_mark){0}, "variant", wanted,
                                (const void *const *)hy_variants, e);
    *out = found;
    return HY_OK;
}

static int read_mixer(const struct hy_value *tree, const char *section, const struct hy_config *c,
                      struct mixer *m, struct hy_err *e)
{
    const struct hy_value *given = hy_value_get(tree, section);
    const struct hy_option *own = hy_section_find(section)->options;
    char own_where[64], plugin_where[128];
    int rc = hy_config_find_variant(tree, section, &m->variant, e);
    if (rc)
        return rc;
    snprintf(own_where, sizeof own_where, "section %s", section);
    snprintf(plugin_where, sizeof plugin_where, "variant %s", m->variant ? m->variant->name : "");
    const struct hy_pair p = {own, m->variant ? m->variant->options : NULL, own_where,
                              m->variant ? plugin_where : NULL};
    rc = hy_pair_resolve(&p, given, &m->keys, &m->options, e);
    return rc || !m->variant ? rc : check_variant(m, given, c, e);
}

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

static int read_layout(const struct hy_value *given, struct mixer *m, int layers,
                       struct hy_layout *out, struct hy_err *e)
{
    const struct hy_value *list = hy_value_get(given, "layers");
    const struct hy_value *ratio = hy_value_get(given, "ratio");
    const struct hy_value *at = list ? list : ratio;
    int rc;
    if (list && (ratio || hy_value_get(given, "placement"))) {
        const struct hy_place p = hy_place_of(list);
        return hy_fail(e, HY_E_USAGE,
                       "%smixer.layers says where the full layers lie: leave out ratio and "
                       "placement",
                       p.text);
    }
    if (list)
        rc = layout_from_list(hy_get_list(m->keys, "layers"), layers, out, e);
    else
        rc = hy_layout_from_ratio(hy_get_string(m->keys, "ratio"),
                                  hy_placement_parse(hy_get_string(m->keys, "placement")), layers,
                                  out, e);
    if (rc)
        return at ? hy_mark_wrap(at->mark, e) : rc;
    /* Only what says the layout stays. */
    if (list) {
        hy_value_remove(m->keys, "ratio");
        hy_value_remove(m->keys, "placement");
    } else {
        hy_value_remove(m->keys, "layers");
    }
    return HY_OK;
}

/* Puts keys and then the options of m into a new section of tree. */
static int add_mixer(struct hy_value *tree, const char *section, const struct mixer *m,
                     struct hy_err *e)
{
    struct hy_value *map = hy_value_copy(m->keys);
    if (!map)
        return hy_fail_memory(e);
    const int rc = hy_value_add_all(map, m->options, e);
    if (rc) {
        hy_value_free(map);
        return rc;
    }
    return hy_value_set(tree, section, map, e);
}

static int add_full_model(struct hy_value *tree, const struct mixer *full, struct hy_err *e)
{
    struct hy_value *mixer = hy_value_map();
    if (!mixer)
        return hy_fail_memory(e);
    int rc = hy_value_set(mixer, "ratio", hy_value_string("full"), e);
    if (rc) {
        hy_value_free(mixer);
        return rc;
    }
    rc = hy_value_set(tree, "mixer", mixer, e);
    return rc ? rc : add_mixer(tree, "full", full, e);
}

int hy_config_read_mixers(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    const struct hy_value *given = hy_value_get(tree, "mixer");
    struct mixer linear = {0}, full = {0};
    struct hy_layout *layout = &c->mixer.layout;
    int rc = read_mixer(tree, "mixer", c, &linear, e);
    if (!rc)
        rc = read_layout(given, &linear, c->model.layers, layout, e);
    if (!rc)
        rc = read_mixer(tree, "full", c, &full, e);
    if (rc)
        goto out;
    if (!full.variant->full) {
        const struct hy_place at = hy_place_of(hy_value_get(full.keys, "variant"));
        rc = hy_fail(e, HY_E_USAGE, "%svariant %s of section full is not full attention", at.text,
                     full.variant->name);
        goto out;
    }
    if (linear.variant && linear.variant->full) {
        release_mixer(&full);
        full = linear;
        linear = (struct mixer){0};
        hy_value_remove(full.keys, "ratio");
        hy_value_remove(full.keys, "placement");
        hy_value_remove(full.keys, "layers");
        rc = hy_layout_from_ratio("full", HY_PLACE_INTERLEAVE, c->model.layers, layout, e);
        if (rc)
            goto out;
    }
    if (layout->linear && !linear.variant) {
        const struct hy_place at = hy_place_of(given);
        rc = hy_fail(e, HY_E_USAGE, "%ssection mixer needs 'variant' (hylas variants lists them)",
                     at.text);
        goto out;
    }
    rc = layout->linear ? add_mixer(c->tree, "mixer", &linear, e)
                        : add_full_model(c->tree, &full, e);
    if (!rc && layout->linear && layout->full)
        rc = add_mixer(c->tree, "full", &full, e);
    if (rc)
        goto out;
    if (layout->linear) {
        c->mixer.linear = linear.variant;
        c->mixer.linear_options = linear.options;
        linear.options = NULL;
    }
    if (layout->full) {
        c->mixer.full = full.variant;
        c->mixer.full_options = full.options;
        full.options = NULL;
    }
out:
    release_mixer(&full);
    release_mixer(&linear);
    return rc;
}
