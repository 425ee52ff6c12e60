/* fla.c - models of flash-linear-attention: a class for each linear mixer, in which some layers may
 * be softmax attention. Its names are those of hylas, but for Mamba-2's. */
#include "core/interchange/fla_class.h"

#include <stdio.h>
#include <string.h>

static const char title[] = "flash-linear-attention";

static int fla_recognises(const struct hy_value *json)
{
    return hy_fla_class_of_type(hy_json_text(json, "model_type", "")) != NULL;
}

/* ---- Reading ---- */

/* A specification of attention in some layers, as a kind named `name`. */
static int read_attention(const struct hy_value *spec, int64_t heads, struct hy_value *kinds,
                          const char *name, struct hy_err *e)
{
    const int64_t window = hy_json_int(spec, "window_size", 0);
    const int64_t own = hy_json_int(spec, "num_heads", heads);
    if (own != heads)
        return hy_fla_unknown("attention with another number of heads than the linear layers'", e);
    if (hy_json_bool(spec, "qkv_bias", 0))
        return hy_fla_unknown("a bias of attention", e);
    struct hy_value *kind = hy_value_map();
    int rc =
        kind ? hy_set_all(kind,
                          (struct hy_setting[]){
                              {"variant", hy_value_string(window ? "sliding_window" : "softmax")},
                              {"kv_heads", hy_value_int(hy_json_int(spec, "num_kv_heads", own))},
                              {"rope_base", hy_value_real(hy_json_real(spec, "rope_theta", 1e4))},
                              {window ? "window" : NULL, window ? hy_value_int(window) : NULL},
                              {NULL, NULL}},
                          e)
             : hy_fail_memory(e);
    if (rc) {
        hy_value_free(kind);
        return rc;
    }
    return hy_value_set(kinds, name, kind, e);
}

/* Names the layers of a specification in the list of all. */
static int name_layers(const struct hy_value *spec, const char *name, struct hy_value *list,
                       struct hy_err *e)
{
    const struct hy_value *layers = hy_value_get(spec, "layers");
    if (!layers || layers->type != HY_V_LIST)
        return hy_fail(e, HY_E_USAGE, "attn has no list of layers");
    for (size_t i = 0; i < layers->count; i++) {
        const int64_t at = layers->items[i]->type == HY_V_INT ? layers->items[i]->integer : -1;
        if (at < 0 || at >= (int64_t)list->count)
            return hy_fail(e, HY_E_USAGE, "attn names a layer that the model lacks");
        struct hy_value *own = hy_value_string(name);
        if (!own)
            return hy_fail_memory(e);
        hy_value_free(list->items[at]);
        list->items[at] = own;
    }
    return HY_OK;
}

static int read_specs(const struct hy_value *attn, int64_t heads, struct hy_value *kinds,
                      struct hy_value *list, struct hy_err *e)
{
    const size_t count = attn->type == HY_V_LIST ? attn->count : 1;
    int rc = HY_OK;
    for (size_t i = 0; !rc && i < count; i++) {
        const struct hy_value *spec = attn->type == HY_V_LIST ? attn->items[i] : attn;
        char name[32];
        snprintf(name, sizeof name, "attention%zu", i + 1);
        rc = read_attention(spec, heads, kinds, name, e);
        if (!rc)
            rc = name_layers(spec, name, list, e);
    }
    return rc;
}

/* Sections kinds and layers of a model some of whose layers are attention. */
static int read_layers(const struct hy_value *json, int64_t layers, int64_t heads,
                       struct hy_value *sections, struct hy_err *e)
{
    struct hy_value *kinds = hy_value_map(), *list = hy_value_list(), *section = hy_value_map();
    int rc = kinds && list && section ? HY_OK : hy_fail_memory(e);
    for (int64_t i = 0; !rc && i < layers; i++)
        rc = hy_value_append(list, hy_value_string("linear"), e);
    if (!rc)
        rc = read_specs(hy_value_get(json, "attn"), heads, kinds, list, e);
    if (rc) {
        hy_value_free(list);
        hy_value_free(kinds);
        hy_value_free(section);
        return rc;
    }
    rc = hy_set_all(sections,
                    (struct hy_setting[]){{"kinds", kinds}, {"layers", section}, {NULL, NULL}}, e);
    if (rc) {
        hy_value_free(list);
        return rc;
    }
    return hy_value_set(section, "list", list, e);
}

/* The MLP's width by the package's rule, where it is not given. */
static int64_t mlp_of(const struct hy_value *json, int64_t width)
{
    const int64_t given = hy_json_int(json, "intermediate_size", 0);
    const int64_t ratio = hy_json_int(json, "hidden_ratio", 4);
    return given ? given : (width * ratio * 2 / 3 + 255) / 256 * 256;
}

static int fla_read(const struct hy_value *json, struct hy_value *sections, struct hy_err *e)
{
    const struct hy_fla_class *c = hy_fla_class_of_type(hy_json_text(json, "model_type", ""));
    const struct hy_value *attn = hy_value_get(json, "attn");
    const int is_hybrid = attn && attn->type != HY_V_NULL;
    const struct hy_value *spec =
        is_hybrid && attn->type == HY_V_LIST && attn->count ? attn->items[0] : attn;
    const int64_t width = hy_json_int(json, "hidden_size", 2048);
    const int64_t layers = hy_json_int(json, "num_hidden_layers", 24);
    const int64_t heads = c->heads_key ? hy_json_int(json, "num_heads", 4)
                                       : hy_json_int(is_hybrid ? spec : NULL, "num_heads", 1);
    if (hy_value_get(json, "attnres_block_size") &&
        hy_value_get(json, "attnres_block_size")->type == HY_V_INT)
        return hy_fla_unknown("attnres_block_size", e);
    struct hy_value *model = hy_value_map(), *mixer = hy_value_map();
    int rc = model && mixer ? HY_OK : hy_fail_memory(e);
    if (!rc)
        rc = hy_set_all(
            model,
            (struct hy_setting[]){
                {"d_model", hy_value_int(width)},
                {"layers", hy_value_int(layers)},
                {"heads", hy_value_int(heads)},
                {"mlp", hy_value_int(!strcmp(c->type, "mamba2") ? 0 : mlp_of(json, width))},
                {"vocab", hy_value_int(hy_json_int(json, "vocab_size", 32000))},
                {"norm_eps", hy_value_real(hy_json_real(json, "norm_eps", 1e-6))},
                {"tied", hy_value_bool(hy_json_bool(json, "tie_word_embeddings", 0))},
                {NULL, NULL}},
            e);
    if (!rc)
        rc = hy_value_set(mixer, "variant", hy_value_string(c->variant), e);
    if (!rc)
        rc = c->read(json, mixer, e);
    if (!rc && !is_hybrid)
        rc = hy_value_set(mixer, "ratio",
                          hy_value_string(!strcmp(c->variant, "softmax") ? "full" : "pure"), e);
    if (!rc && is_hybrid)
        rc = read_layers(json, layers, heads, sections, e);
    if (rc) {
        hy_value_free(model);
        hy_value_free(mixer);
        return rc;
    }
    return hy_set_all(sections,
                      (struct hy_setting[]){{"model", model}, {"mixer", mixer}, {NULL, NULL}}, e);
}

/* ---- Writing ---- */

/* The kind of the layers that make up the class: the first that is no attention, else the first. */
static int main_kind(const struct hy_model_spec *spec)
{
    for (int i = 0; i < spec->layers; i++) {
        const char *variant = hy_model_kind(spec, i)->branches[0].variant->name;
        if (strcmp(variant, "softmax") && strcmp(variant, "sliding_window"))
            return spec->layout.kinds[i];
    }
    return spec->layout.kinds[0];
}

/* What the layers of kind k, which are attention beside others, are in config.json. */
static int write_attention(const struct hy_model_spec *spec, int k, struct hy_value *list,
                           struct hy_err *e)
{
    const struct hy_value *o = spec->kinds[k].branches[0].options;
    int rc = hy_family_check_attention(&spec->kinds[k].branches[0], title, e);
    if (!rc && !(hy_get_real(o, "rope_base") > 0))
        rc =
            hy_fla_refuse("layers without positions beside others: rope_theta must be positive", e);
    if (!rc && hy_get_bool(o, "qk_norm"))
        rc = hy_fla_refuse("qk_norm in the attention of a hybrid", e);
    if (rc)
        return rc;
    const int64_t kv = hy_get_int(o, "kv_heads");
    const int is_window = hy_value_get(o, "window") != NULL;
    struct hy_value *map = hy_value_map(), *layers = hy_value_list();
    rc = map && layers ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < spec->layers; i++)
        if (spec->layout.kinds[i] == k)
            rc = hy_value_append(layers, hy_value_int(i), e);
    if (!rc)
        rc = hy_set_all(
            map,
            (struct hy_setting[]){{"layers", layers},
                                  {"num_heads", hy_value_int(spec->heads)},
                                  {"num_kv_heads", hy_value_int(kv ? kv : spec->heads)},
                                  {"qkv_bias", hy_value_bool(0)},
                                  {"window_size", is_window ? hy_value_int(hy_get_int(o, "window"))
                                                            : hy_value_null()},
                                  {"rope_theta", hy_value_real(hy_get_real(o, "rope_base"))},
                                  {NULL, NULL}},
            e);
    else
        hy_value_free(layers);
    if (rc) {
        hy_value_free(map);
        return rc;
    }
    return hy_value_append(list, map, e);
}

/* attn: null, a specification, or a list of them. */
static int write_attn(const struct hy_model_spec *spec, const struct hy_fla_class *c, int kind,
                      struct hy_value *json, struct hy_err *e)
{
    struct hy_value *list = hy_value_list(), *only = NULL;
    int rc = list ? HY_OK : hy_fail_memory(e);
    for (int k = 0; !rc && k < spec->kind_count; k++)
        if (k != kind && hy_layout_count(&spec->layout, k))
            rc = c->attention ? write_attention(spec, k, list, e)
                              : hy_fail(e, HY_E_USAGE, "%s's %s has no layers of other kinds",
                                        title, c->type);
    if (!rc && list->count == 1)
        only = hy_value_copy(list->items[0]);
    if (!rc && list->count > 1) {
        only = list;
        list = NULL;
    }
    hy_value_free(list);
    if (rc)
        return rc;
    return hy_value_set(json, "attn", only ? only : hy_value_null(), e);
}

static int check_mlp(const struct hy_model_spec *spec, const struct hy_fla_class *c,
                     struct hy_err *e)
{
    const int wants_mlp = strcmp(c->type, "mamba2") != 0;
    int rc = HY_OK;
    for (int i = 0; !rc && i < spec->layers; i++)
        if ((spec->mlp && hy_model_kind(spec, i)->has_mlp) != wants_mlp)
            rc = hy_fail(e, HY_E_USAGE, "%s's %s has %s MLP in its layers", title, c->type,
                         wants_mlp ? "an" : "no");
    return rc;
}

static int fla_write(const struct hy_model_spec *spec, struct hy_value *json, struct hy_err *e)
{
    int rc = hy_family_check_plain(spec, title, e);
    if (rc)
        return rc;
    const int kind = main_kind(spec);
    const struct hy_branch *b = &spec->kinds[kind].branches[0];
    const struct hy_fla_class *c = hy_fla_class_of_variant(b->variant->name);
    if (!c)
        return hy_fail(e, HY_E_USAGE, "%s has no model of %s", title, b->variant->name);
    rc = check_mlp(spec, c, e);
    if (!rc && !strcmp(c->type, "transformer"))
        rc = hy_family_check_attention(b, title, e);
    struct hy_value *list = hy_value_list();
    if (!rc)
        rc = list ? hy_value_append(list, hy_value_string(c->architecture), e) : hy_fail_memory(e);
    if (rc) {
        hy_value_free(list);
        return rc;
    }
    rc = hy_set_all(json,
                    (struct hy_setting[]){{"architectures", list},
                                          {"model_type", hy_value_string(c->type)},
                                          {"hidden_size", hy_value_int(spec->d_model)},
                                          {"num_hidden_layers", hy_value_int(spec->layers)},
                                          {"norm_eps", hy_value_real(spec->norm_eps)},
                                          {"initializer_range", hy_value_real(spec->init_std)},
                                          {"vocab_size", hy_value_int(spec->vocab)},
                                          {"tie_word_embeddings", hy_value_bool(spec->tied)},
                                          {"torch_dtype", hy_value_string("float32")},
                                          {NULL, NULL}},
                    e);
    if (!rc && c->heads_key)
        rc = hy_value_set(json, "num_heads", hy_value_int(spec->heads), e);
    if (!rc && spec->mlp)
        rc = hy_value_set(json, "intermediate_size", hy_value_int(spec->mlp), e);
    if (!rc)
        rc = c->write(spec, b->options, json, e);
    if (!rc && strcmp(c->type, "transformer") != 0 && strcmp(c->type, "mamba2") != 0)
        return write_attn(spec, c, kind, json, e);
    for (int k = 0; !rc && k < spec->kind_count; k++)
        if (k != kind && hy_layout_count(&spec->layout, k))
            rc = hy_fail(e, HY_E_USAGE, "%s's %s has no layers of other kinds", title, c->type);
    return rc;
}

/* ---- Names ---- */

static int rename_mamba2(const char *name, char out[HY_NAME_SIZE])
{
    int layer, length = 0;
    if (sscanf(name, "model.layers.%d.%n", &layer, &length) == 1 && length) {
        const char *rest = name + length;
        if (!strncmp(rest, "attn_norm.", 10))
            snprintf(out, HY_NAME_SIZE, "backbone.layers.%d.norm.%s", layer, rest + 10);
        else if (!strncmp(rest, "attn.", 5))
            snprintf(out, HY_NAME_SIZE, "backbone.layers.%d.mixer.%s", layer, rest + 5);
        else
            return 0;
        return 1;
    }
    if (!strcmp(name, "model.norm.weight"))
        snprintf(out, HY_NAME_SIZE, "backbone.norm_f.weight");
    else if (!strcmp(name, "model.embeddings.weight"))
        snprintf(out, HY_NAME_SIZE, "backbone.embeddings.weight");
    else
        snprintf(out, HY_NAME_SIZE, "%s", name);
    return 1;
}

static int fla_rename(void *json, const char *name, char out[HY_NAME_SIZE])
{
    const struct hy_value *config = json;
    if (!strcmp(name, "lm_head.weight") && hy_json_bool(config, "tie_word_embeddings", 0))
        name = "model.embeddings.weight";
    if (!strcmp(hy_json_text(config, "model_type", ""), "mamba2"))
        return rename_mamba2(name, out);
    snprintf(out, HY_NAME_SIZE, "%s", name);
    return 1;
}

const struct hy_family hy_family_fla = {
    .name = "fla",
    .summary = "the model classes of flash-linear-attention",
    .recognises = fla_recognises,
    .read = fla_read,
    .write = fla_write,
    .rename = fla_rename,
};
