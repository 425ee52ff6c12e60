/* Section kinds: layers beyond the two that a ratio mixes, by name. A kind is a variant with its
 * options, or several side by side. */
#include "core/config/read.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char mlp_choices[] = "auto|always|never";

/* A kind of one mixer. */
static const struct hy_option single_options[] = {
    {"variant", HY_OPT_STRING,
     .help = "its token mixer, whose options go here too; none: the MLP alone"},
    {"mlp", HY_OPT_CHOICE, .text = "auto", .choices = mlp_choices,
     .help = "whether an MLP follows the mixer; auto: as the variant has it"},
    {0},
};

/* A composition; `parallel` is read apart. */
static const struct hy_option parallel_options[] = {
    {"combine", HY_OPT_CHOICE, .text = "mean", .choices = hy_combine_choices,
     .help = "of the branches' outputs: their sum, the mean of their RMS norms, a gated mean"},
    {"share", HY_OPT_CHOICE, .text = "none", .choices = "none|qkvo",
     .help = "the branches have one projection of queries, keys, values and of the output"},
    {"mlp", HY_OPT_CHOICE, .text = "auto", .choices = mlp_choices,
     .help = "whether an MLP follows the mixers; auto: yes"},
    {0},
};

static const struct hy_option branch_options[] = {
    {"variant", HY_OPT_STRING, .required = 1, .help = "a token mixer; its options go here too"},
    {0},
};

int hy_config_find_kind(const struct hy_config *c, const char *name)
{
    for (int i = 0; i < c->layers.kind_count; i++)
        if (!strcmp(c->layers.kinds[i].name, name))
            return i;
    return -1;
}

static void set_mlp(struct hy_kind *k, const struct hy_value *keys)
{
    const char *mlp = hy_get_string(keys, "mlp");
    if (strcmp(mlp, "auto") != 0)
        k->has_mlp = !strcmp(mlp, "always");
}

static int is_none(const struct hy_value *given)
{
    const struct hy_value *variant = hy_value_get(given, "variant");
    return variant && variant->string && !strcmp(variant->string, "none");
}

/* {variant: none}: nothing to read but `mlp`, which it always has. */
static int read_mlp_alone(const struct hy_value *given, const char *where, struct hy_kind *k,
                          struct hy_value **out, struct hy_err *e)
{
    const int rc = hy_options_resolve(single_options, given, where, NULL, out, e);
    k->has_mlp = 1;
    return rc;
}

static int read_single(const struct hy_value *given, const char *where, struct hy_config *c,
                       struct hy_kind *k, struct hy_value **out, struct hy_err *e)
{
    struct hy_mixer_map m = {0};
    const struct hy_value *options;
    if (is_none(given))
        return read_mlp_alone(given, where, k, out, e);
    int rc = hy_mixer_map_read(given, single_options, where, &m, e);
    if (!rc && !m.variant)
        rc = hy_fail(e, HY_E_USAGE, "%s%s needs 'variant' or 'parallel'", hy_place_of(given).text,
                     where);
    if (!rc)
        rc = hy_mixer_map_merge(&m, out, e);
    if (!rc)
        rc = hy_config_own_options(c, &m, &options, e);
    if (!rc) {
        k->has_mlp = !m.variant->no_mlp;
        hy_kind_add_branch(k, m.variant, options);
        set_mlp(k, m.keys);
    }
    hy_mixer_map_release(&m);
    return rc;
}

/* A branch: the name of a variant, or a map of it and its options. */
static int read_branch(const struct hy_value *given, struct hy_config *c, struct hy_kind *k,
                       struct hy_value *list, struct hy_err *e)
{
    struct hy_value *named = NULL, *map = NULL;
    struct hy_mixer_map m = {0};
    const struct hy_value *options;
    int rc = HY_OK;
    if (given->type == HY_V_STRING) {
        named = hy_value_map();
        rc = named ? hy_value_set(named, "variant", hy_value_copy(given), e) : hy_fail_memory(e);
        if (!rc)
            given = named;
    }
    if (!rc)
        rc = hy_mixer_map_read(given, branch_options, "a branch of parallel", &m, e);
    if (!rc)
        rc = hy_mixer_map_merge(&m, &map, e);
    if (!rc)
        rc = hy_value_append(list, map, e);
    if (!rc)
        rc = hy_config_own_options(c, &m, &options, e);
    if (!rc)
        hy_kind_add_branch(k, m.variant, options);
    hy_mixer_map_release(&m);
    hy_value_free(named);
    return rc;
}

static int read_branches(const struct hy_value *parallel, struct hy_config *c, struct hy_kind *k,
                         struct hy_value **out, struct hy_err *e)
{
    if (parallel->type != HY_V_LIST || parallel->count < 2 || parallel->count > HY_MAX_BRANCHES)
        return hy_fail(e, HY_E_USAGE, "%sparallel is a list of 2 to %d mixers",
                       hy_place_of(parallel).text, HY_MAX_BRANCHES);
    struct hy_value *list = hy_value_list();
    int rc = list ? HY_OK : hy_fail_memory(e);
    for (size_t i = 0; !rc && i < parallel->count; i++)
        rc = read_branch(parallel->items[i], c, k, list, e);
    if (rc)
        hy_value_free(list);
    else
        *out = list;
    return rc;
}

static int read_parallel(const struct hy_value *given, const char *where, struct hy_config *c,
                         struct hy_kind *k, struct hy_value **out, struct hy_err *e)
{
    static const char *const own[] = {"parallel", NULL};
    struct hy_value *map = NULL, *branches = NULL;
    int rc = hy_options_resolve(parallel_options, given, where, own, &map, e);
    if (!rc)
        rc = read_branches(hy_value_get(given, "parallel"), c, k, &branches, e);
    if (!rc)
        rc = hy_value_set(map, "parallel", branches, e);
    if (!rc) {
        const char *combine = hy_get_string(map, "combine");
        k->combine = *combine == 's'   ? HY_COMBINE_SUM
                     : *combine == 'm' ? HY_COMBINE_MEAN
                                       : HY_COMBINE_GATE;
        k->shares = !strcmp(hy_get_string(map, "share"), "qkvo");
        k->has_mlp = 1;
        set_mlp(k, map);
    }
    if (!rc && k->combine == HY_COMBINE_GATE && k->branch_count != 2)
        rc = hy_fail(e, HY_E_USAGE, "%scombine: gate is between 2 mixers, not %d",
                     hy_place_of(hy_value_get(given, "combine")).text, k->branch_count);
    if (rc)
        hy_value_free(map);
    else
        *out = map;
    return rc;
}

/* A letter of its own: its first letter that is free, else the first of the alphabet. */
static char choose_letter(const struct hy_config *c, const char *name)
{
    char candidates[HY_KIND_NAME_SIZE + 64];
    snprintf(candidates, sizeof candidates, "%sABCDEGHIJKMNOPQRSTUVWXYZ0123456789", name);
    for (const char *at = candidates; *at; at++) {
        const char letter = (char)toupper((unsigned char)*at);
        int taken = !isalnum((unsigned char)letter) || letter == 'L' || letter == 'F';
        for (int i = HY_FURTHER; i < c->layers.kind_count; i++)
            taken |= c->layers.kinds[i].letter == letter;
        if (!taken)
            return letter;
    }
    return '?';
}

static int check_name(const struct hy_config *c, const char *name, struct hy_mark mark,
                      struct hy_err *e)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    int rc = HY_OK;
    if (!*name || strlen(name) >= HY_KIND_NAME_SIZE || name[strspn(name, letters)])
        rc = hy_fail(e, HY_E_USAGE, "a kind's name has 1 to %d letters, digits, - and _: '%.60s'",
                     HY_KIND_NAME_SIZE - 1, name);
    else if (hy_config_find_kind(c, name) >= 0)
        rc = hy_fail(e, HY_E_USAGE, "kind %s is that of section %s", name,
                     strcmp(name, "full") ? "mixer" : "full");
    else if (c->layers.kind_count == HY_MAX_KINDS)
        rc = hy_fail(e, HY_E_USAGE,
                     "a model has at most %d kinds of layers, linear and full "
                     "included",
                     HY_MAX_KINDS);
    return rc ? hy_mark_wrap(mark, e) : HY_OK;
}

static int read_kind(const char *name, struct hy_mark mark, const struct hy_value *given,
                     struct hy_config *c, struct hy_value *canonical, struct hy_err *e)
{
    struct hy_kind k = {0};
    struct hy_value *map = NULL;
    char where[64];
    int rc = check_name(c, name, mark, e);
    if (rc)
        return rc;
    snprintf(k.name, sizeof k.name, "%s", name);
    snprintf(where, sizeof where, "kind %s", name);
    k.letter = choose_letter(c, name);
    rc = hy_value_get(given, "parallel") ? read_parallel(given, where, c, &k, &map, e)
                                         : read_single(given, where, c, &k, &map, e);
    if (!rc)
        rc = hy_value_set(canonical, name, map, e);
    if (!rc && k.has_mlp && !k.branch_count && !c->model.mlp)
        rc = hy_fail(e, HY_E_USAGE, "%skind %s is an MLP alone, but model.mlp is 0",
                     hy_place_of(given).text, name);
    if (!rc)
        rc = hy_config_check_kind(&k, c, given, e);
    if (!rc)
        c->layers.kinds[c->layers.kind_count++] = k;
    return rc;
}

int hy_config_read_kinds(const struct hy_value *given, struct hy_config *c,
                         struct hy_value **canonical, struct hy_err *e)
{
    if (!given || given->type == HY_V_NULL)
        return HY_OK;
    if (given->type != HY_V_MAP)
        return hy_fail(e, HY_E_USAGE, "%ssection kinds is a map from names to kinds of layers",
                       hy_place_of(given).text);
    struct hy_value *map = hy_value_map();
    int rc = map ? HY_OK : hy_fail_memory(e);
    for (size_t i = 0; !rc && i < given->count; i++)
        rc = read_kind(given->keys[i], given->key_marks[i], given->items[i], c, map, e);
    if (rc)
        hy_value_free(map);
    else
        *canonical = map;
    return rc;
}
