/* llama.c - LlamaForCausalLM of the package transformers, and what has its parts: softmax attention
 * in all layers, rotary positions in halves, RMSNorm, a gated MLP. */
#include "core/interchange/family.h"

#include <stdio.h>
#include <string.h>

static const char title[] = "Llama";

static int llama_recognises(const struct hy_value *json)
{
    static const char *const types[] = {"llama", "mistral"};
    const char *type = hy_json_text(json, "model_type", "");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i]))
            return 1;
    return 0;
}

/* The base of positions: a key of its own, or, since version 5 of the package, in a map. */
static int read_rope(const struct hy_value *json, double *base, struct hy_err *e)
{
    static const char *const maps[] = {"rope_parameters", "rope_scaling"};
    *base = hy_json_real(json, "rope_theta", 1e4);
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        const struct hy_value *map = hy_value_get(json, maps[i]);
        const char *type = hy_json_text(map, "rope_type", hy_json_text(map, "type", "default"));
        if (strcmp(type, "default") != 0)
            return hy_fail(e, HY_E_USAGE, "%s of type %s is not known here, only default", maps[i],
                           type);
        *base = hy_json_real(map, "rope_theta", *base);
    }
    return HY_OK;
}

static int llama_read(const struct hy_value *json, struct hy_value *sections, struct hy_err *e)
{
    const int64_t width = hy_json_int(json, "hidden_size", 0);
    const int64_t heads = hy_json_int(json, "num_attention_heads", 0);
    const char *activation = hy_json_text(json, "hidden_act", "silu");
    double base;
    if (width < 1 || heads < 1 || hy_json_int(json, "intermediate_size", 0) < 1)
        return hy_fail(e, HY_E_USAGE,
                       "hidden_size, num_attention_heads or intermediate_size is missing");
    if (hy_json_int(json, "head_dim", width / heads) != width / heads)
        return hy_fail(e, HY_E_USAGE, "head_dim is not hidden_size/num_attention_heads, as here");
    if (hy_json_bool(json, "attention_bias", 0) || hy_json_bool(json, "mlp_bias", 0))
        return hy_fail(e, HY_E_USAGE, "there are no biases of projections here");
    if (strcmp(activation, "silu") != 0)
        return hy_fail(e, HY_E_USAGE, "hidden_act %s is not known here, only silu", activation);
    const struct hy_value *window = hy_value_get(json, "sliding_window");
    const int is_windowed = window && window->type == HY_V_INT;
    int rc = read_rope(json, &base, e);
    struct hy_value *model = hy_value_map(), *mixer = hy_value_map();
    if (!rc && (!model || !mixer))
        rc = hy_fail_memory(e);
    if (!rc)
        rc = hy_set_all(model,
                        (struct hy_setting[]){
                            {"d_model", hy_value_int(width)},
                            {"layers", hy_value_int(hy_json_int(json, "num_hidden_layers", 32))},
                            {"heads", hy_value_int(heads)},
                            {"mlp", hy_value_int(hy_json_int(json, "intermediate_size", 0))},
                            {"vocab", hy_value_int(hy_json_int(json, "vocab_size", 0))},
                            {"norm_eps", hy_value_real(hy_json_real(json, "rms_norm_eps", 1e-6))},
                            {"tied", hy_value_bool(hy_json_bool(json, "tie_word_embeddings", 0))},
                            {NULL, NULL}},
                        e);
    if (!rc)
        rc = hy_set_all(
            mixer,
            (struct hy_setting[]){
                {"variant", hy_value_string(is_windowed ? "sliding_window" : "softmax")},
                {"ratio", hy_value_string(is_windowed ? "pure" : "full")},
                {"kv_heads", hy_value_int(hy_json_int(json, "num_key_value_heads", heads))},
                {"rope_base", hy_value_real(base)},
                {is_windowed ? "window" : NULL, is_windowed ? hy_value_int(window->integer) : NULL},
                {NULL, NULL}},
            e);
    if (rc) {
        hy_value_free(model);
        hy_value_free(mixer);
        return rc;
    }
    return hy_set_all(sections,
                      (struct hy_setting[]){{"model", model}, {"mixer", mixer}, {NULL, NULL}}, e);
}

static int llama_write(const struct hy_model_spec *spec, struct hy_value *json, struct hy_err *e)
{
    const struct hy_kind *kind = hy_model_kind(spec, 0);
    const struct hy_branch *b = &kind->branches[0];
    int rc = hy_family_check_plain(spec, title, e);
    if (!rc)
        rc = hy_family_check_attention(b, title, e);
    for (int i = 1; i < spec->layers && !rc; i++)
        if (hy_model_kind(spec, i) != kind)
            rc = hy_fail(e, HY_E_USAGE, "%s has one kind of layer", title);
    if (!rc && strcmp(b->variant->name, "softmax") != 0)
        rc = hy_fail(e, HY_E_USAGE, "%s has no windows", title);
    if (!rc && hy_get_bool(b->options, "qk_norm"))
        rc = hy_fail(e, HY_E_USAGE, "%s has no qk_norm", title);
    if (!rc && !(hy_get_real(b->options, "rope_base") > 0))
        rc = hy_fail(e, HY_E_USAGE, "%s has no layers without positions", title);
    if (!rc && (!spec->mlp || !kind->has_mlp))
        rc = hy_fail(e, HY_E_USAGE, "%s has no layers without an MLP", title);
    if (rc)
        return rc;
    const int64_t kv_heads = hy_get_int(b->options, "kv_heads");
    const double base = hy_get_real(b->options, "rope_base");
    struct hy_value *list = hy_value_list(), *rope = hy_value_map();
    if (!list || !rope || hy_value_append(list, hy_value_string("LlamaForCausalLM"), e) ||
        hy_set_all(rope,
                   (struct hy_setting[]){{"rope_type", hy_value_string("default")},
                                         {"rope_theta", hy_value_real(base)},
                                         {NULL, NULL}},
                   e)) {
        hy_value_free(list);
        hy_value_free(rope);
        return hy_fail_memory(e);
    }
    return hy_set_all(json,
                      (struct hy_setting[]){
                          {"architectures", list},
                          {"model_type", hy_value_string("llama")},
                          {"hidden_size", hy_value_int(spec->d_model)},
                          {"intermediate_size", hy_value_int(spec->mlp)},
                          {"num_hidden_layers", hy_value_int(spec->layers)},
                          {"num_attention_heads", hy_value_int(spec->heads)},
                          {"num_key_value_heads", hy_value_int(kv_heads ? kv_heads : spec->heads)},
                          {"head_dim", hy_value_int(spec->d_model / spec->heads)},
                          {"hidden_act", hy_value_string("silu")},
                          {"rms_norm_eps", hy_value_real(spec->norm_eps)},
                          {"rope_theta", hy_value_real(base)},
                          {"rope_parameters", rope},
                          {"attention_bias", hy_value_bool(0)},
                          {"mlp_bias", hy_value_bool(0)},
                          {"initializer_range", hy_value_real(spec->init_std)},
                          {"vocab_size", hy_value_int(spec->vocab)},
                          {"tie_word_embeddings", hy_value_bool(spec->tied)},
                          {"torch_dtype", hy_value_string("float32")},
                          {NULL, NULL}},
                      e);
}

static int llama_rename(void *json, const char *name, char out[HY_NAME_SIZE])
{
    static const char *const parts[][2] = {
        {"attn_norm.", "input_layernorm."},
        {"mlp_norm.", "post_attention_layernorm."},
        {"attn.", "self_attn."},
        {"mlp.", "mlp."},
    };
    const struct hy_value *config = json;
    int layer, length = 0;
    if (!strcmp(name, "model.embeddings.weight") ||
        (!strcmp(name, "lm_head.weight") && hy_json_bool(config, "tie_word_embeddings", 0))) {
        snprintf(out, HY_NAME_SIZE, "model.embed_tokens.weight");
        return 1;
    }
    snprintf(out, HY_NAME_SIZE, "%s", name);
    if (sscanf(name, "model.layers.%d.%n", &layer, &length) < 1 || !length)
        return !strcmp(name, "model.norm.weight") || !strcmp(name, "lm_head.weight");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strncmp(name + length, parts[i][0], strlen(parts[i][0]))) {
            snprintf(out, HY_NAME_SIZE, "model.layers.%d.%s%s", layer, parts[i][1],
                     name + length + strlen(parts[i][0]));
            return 1;
        }
    return 0;
}

const struct hy_family hy_family_llama = {
    .name = "llama",
    .summary = "LlamaForCausalLM of the package transformers",
    .recognises = llama_recognises,
    .read = llama_read,
    .write = llama_write,
    .rename = llama_rename,
};
