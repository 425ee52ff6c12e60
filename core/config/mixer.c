/* Sections mixer and full, and what else names a variant and has its options. */
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

int hy_mixer_map_read(const struct hy_value *given, const struct hy_option *own, const char *where,
                      struct hy_mixer_map *out, struct hy_err *e)
{
    const struct hy_value *name = hy_value_get(given, "variant");
    const char *wanted = name ? name->string : own[0].text; /* the first row is `variant` */
    struct hy_mixer_map m = {.variant = wanted ? hy_variant_find(wanted) : NULL};
    char plugin_where[128];
    if (wanted && !m.variant)
        return hy_refuse_plugin(name ? name->mark : (struct hy_mark){0}, "variant", wanted,
                                (const void *const *)hy_variants, e);
    snprintf(plugin_where, sizeof plugin_where, "variant %s", wanted ? wanted : "");
    const struct hy_pair p = {own, m.variant ? m.variant->options : NULL, where,
                              m.variant ? plugin_where : NULL};
    const int rc = hy_pair_resolve(&p, given, &m.keys, &m.options, e);
    if (!rc)
        *out = m;
    return rc;
}

void hy_mixer_map_release(struct hy_mixer_map *m)
{
    hy_value_free(m->keys);
    hy_value_free(m->options);
    *m = (struct hy_mixer_map){0};
}

int hy_mixer_map_merge(const struct hy_mixer_map *m, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *map = hy_value_copy(m->keys);
    const int rc = map ? hy_value_add_all(map, m->options, e) : hy_fail_memory(e);
    if (rc)
        hy_value_free(map);
    else
        *out = map;
    return rc;
}

int hy_config_own_options(struct hy_config *c, struct hy_mixer_map *m,
                          const struct hy_value **options, struct hy_err *e)
{
    struct hy_value *mine = m->options;
    m->options = NULL;
    const int rc = hy_value_append(c->layers.options, mine, e);
    if (!rc)
        *options = mine;
    return rc;
}

int hy_config_check_kind(const struct hy_kind *k, const struct hy_config *c,
                         const struct hy_value *given, struct hy_err *e)
{
    const struct hy_mixer layer = {
        .d_model = c->model.d_model,
        .heads = c->model.heads,
        .layers = c->model.layers,
        .norm_eps = c->model.norm_eps,
        .init_std = c->model.init_std,
    };
    if (!hy_kind_check(k, &layer, e))
        return HY_OK;
    const struct hy_value *name = hy_value_get(given, "variant"), *at = name ? name : given;
    return hy_mark_wrap(at ? at->mark : (struct hy_mark){0}, e);
}

int hy_config_find_variant(const struct hy_value *tree, const char *section,
                           const struct hy_variant **out, struct hy_err *e)
{
    const struct hy_value *name = hy_value_get(hy_value_get(tree, section), "variant");
    const struct hy_option *own = hy_section_find(section)->options;
    const char *wanted = name ? name->string : own[0].text;
    const struct hy_variant *found = wanted ? hy_variant_find(wanted) : NULL;
    if (wanted && !found)
        return hy_refuse_plugin(name ? name->mark : (struct hy_mark){0}, "variant", wanted,
                                (const void *const *)hy_variants, e);
    *out = found;
    return HY_OK;
}
