#include "core/interchange/fla_class.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char title[] = "flash-linear-attention";

int hy_fla_refuse(const char *what, struct hy_err *e)
{
    return hy_fail(e, HY_E_USAGE, "%s has no %s", title, what);
}

int hy_fla_unknown(const char *what, struct hy_err *e)
{
    return hy_fail(e, HY_E_USAGE, "%s of %s is not known here", what, title);
}

/* ---- Mixers ---- */

static int write_widths(const struct hy_value *o, struct hy_value *json, struct hy_err *e)
{
    return hy_set_all(json,
                      (struct hy_setting[]){{"expand_k", hy_value_real(hy_get_real(o, "expand_k"))},
                                            {"expand_v", hy_value_real(hy_get_real(o, "expand_v"))},
                                            {NULL, NULL}},
                      e);
}

static int write_conv(const struct hy_value *o, struct hy_value *json, struct hy_err *e)
{
    const int64_t conv = hy_get_int(o, "conv");
    return hy_set_all(json,
                      (struct hy_setting[]){{"use_short_conv", hy_value_bool(conv > 0)},
                                            {"conv_size", hy_value_int(conv ? conv : 4)},
                                            {NULL, NULL}},
                      e);
}

static int read_widths(const struct hy_value *json, double keys, double values,
                       struct hy_value *mixer, struct hy_err *e)
{
    return hy_set_all(
        mixer,
        (struct hy_setting[]){{"expand_k", hy_value_real(hy_json_real(json, "expand_k", keys))},
                              {"expand_v", hy_value_real(hy_json_real(json, "expand_v", values))},
                              {NULL, NULL}},
        e);
}

static int read_conv(const struct hy_value *json, int used, struct hy_value *mixer,
                     struct hy_err *e)
{
    const int conv = hy_json_bool(json, "use_short_conv", used);
    return hy_value_set(mixer, "conv", hy_value_int(conv ? hy_json_int(json, "conv_size", 4) : 0),
                        e);
}

/* What GLA and RetNet may have, and hylas' do not. */
static int check_gated(const struct hy_value *json, struct hy_err *e)
{
    const struct hy_value *kv = hy_value_get(json, "num_kv_heads");
    if (kv && kv->type == HY_V_INT && kv->integer != hy_json_int(json, "num_heads", -1))
        return hy_fla_unknown("grouped keys and values", e);
    if (!hy_json_bool(json, "use_output_gate", 1))
        return hy_fla_unknown("a mixer without output gate", e);
    if (hy_json_text(json, "feature_map", NULL))
        return hy_fla_unknown("a feature map", e);
    return HY_OK;
}

static int gla_write(const struct hy_model_spec *spec, const struct hy_value *o,
                     struct hy_value *json, struct hy_err *e)
{
    (void)spec;
    if (hy_get_int(o, "gate_rank") != 16 || hy_get_real(o, "gate_divisor") != 16)
        return hy_fla_refuse("gla with a gate_rank or gate_divisor other than 16", e);
    const int rc = write_widths(o, json, e);
    return rc ? rc : write_conv(o, json, e);
}

static int gla_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    int rc = check_gated(json, e);
    if (!rc && hy_json_real(json, "clamp_min", 0) != 0)
        rc = hy_fla_unknown("clamp_min", e);
    if (!rc)
        rc = read_widths(json, 0.5, 1, mixer, e);
    return rc ? rc : read_conv(json, 0, mixer, e);
}

static int retnet_write(const struct hy_model_spec *spec, const struct hy_value *o,
                        struct hy_value *json, struct hy_err *e)
{
    (void)spec;
    if (hy_get_real(o, "rope_base") != 1e4)
        return hy_fla_refuse("retnet with a rope_base other than 10000", e);
    const int rc = write_widths(o, json, e);
    return rc ? rc : write_conv(o, json, e);
}

static int retnet_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    int rc = check_gated(json, e);
    if (!rc)
        rc = read_widths(json, 1, 2, mixer, e);
    return rc ? rc : read_conv(json, 0, mixer, e);
}

static int hgrn_write(const struct hy_model_spec *spec, const struct hy_value *o,
                      struct hy_value *json, struct hy_err *e)
{
    (void)spec, (void)o;
    return hy_set_all(json,
                      (struct hy_setting[]){{"expand_ratio", hy_value_int(1)},
                                            {"use_lower_bound", hy_value_bool(1)},
                                            {NULL, NULL}},
                      e);
}

static int hgrn_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    (void)mixer;
    if (hy_json_int(json, "expand_ratio", 1) != 1)
        return hy_fla_unknown("an expand_ratio of hgrn", e);
    if (hy_json_bool(json, "use_short_conv", 0) || !hy_json_bool(json, "use_lower_bound", 1))
        return hy_fla_unknown("hgrn with a convolution, or without lower bounds,", e);
    return HY_OK;
}

static int hgrn2_write(const struct hy_model_spec *spec, const struct hy_value *o,
                       struct hy_value *json, struct hy_err *e)
{
    const int64_t given = hy_get_int(o, "expand_ratio");
    int64_t ratio = given ? given : spec->d_model < 128 ? spec->d_model : 128;
    while (spec->d_model % ratio)
        ratio--;
    return hy_set_all(json,
                      (struct hy_setting[]){{"expand_ratio", hy_value_int(ratio)},
                                            {"num_heads", hy_value_int(spec->d_model / ratio)},
                                            {"use_lower_bound", hy_value_bool(1)},
                                            {NULL, NULL}},
                      e);
}

static int hgrn2_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    if (hy_json_bool(json, "use_short_conv", 0) || !hy_json_bool(json, "use_lower_bound", 1))
        return hy_fla_unknown("hgrn2 with a convolution, or without lower bounds,", e);
    return hy_value_set(mixer, "expand_ratio", hy_value_int(hy_json_int(json, "expand_ratio", 128)),
                        e);
}

static int delta_write(const struct hy_model_spec *spec, const struct hy_value *o,
                       struct hy_value *json, struct hy_err *e)
{
    (void)spec;
    int rc = write_widths(o, json, e);
    if (!rc)
        rc = write_conv(o, json, e);
    const int negative = hy_get_bool(o, "negative_eigenvalues");
    return rc ? rc
              : hy_set_all(json,
                           (struct hy_setting[]){{"allow_neg_eigval", hy_value_bool(negative)},
                                                 {"use_beta", hy_value_bool(1)},
                                                 {"use_gate", hy_value_bool(0)},
                                                 {"use_output_norm", hy_value_bool(1)},
                                                 {"qk_norm", hy_value_string("l2")},
                                                 {"qk_activation", hy_value_string("silu")},
                                                 {NULL, NULL}},
                           e);
}

static int read_delta(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    if (!hy_json_bool(json, "use_short_conv", 1))
        return hy_fla_unknown("the delta rule without convolution", e);
    const int negative = hy_json_bool(json, "allow_neg_eigval", 0);
    return hy_set_all(
        mixer,
        (struct hy_setting[]){{"conv", hy_value_int(hy_json_int(json, "conv_size", 4))},
                              {"negative_eigenvalues", hy_value_bool(negative)},
                              {NULL, NULL}},
        e);
}

static int delta_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    if (!hy_json_bool(json, "use_beta", 1) || hy_json_bool(json, "use_gate", 0) ||
        !hy_json_bool(json, "use_output_norm", 1) ||
        strcmp(hy_json_text(json, "qk_norm", "l2"), "l2") != 0 ||
        strcmp(hy_json_text(json, "qk_activation", "silu"), "silu") != 0)
        return hy_fla_unknown("delta_net with other parts than its usual ones", e);
    const int rc = read_widths(json, 1, 1, mixer, e);
    return rc ? rc : read_delta(json, mixer, e);
}

/* Heads whose width is free of the model's: head_dim, and values as a multiple of it. */
static int write_heads(const struct hy_model_spec *spec, const struct hy_value *o,
                       struct hy_value *json, struct hy_err *e)
{
    const double keys = hy_get_real(o, "expand_k"), values = hy_get_real(o, "expand_v");
    const int64_t width = llround(keys * spec->d_model / spec->heads);
    return hy_set_all(json,
                      (struct hy_setting[]){{"head_dim", hy_value_int(width)},
                                            {"expand_v", hy_value_real(values / keys)},
                                            {"use_short_conv", hy_value_bool(1)},
                                            {"conv_size", hy_value_int(hy_get_int(o, "conv"))},
                                            {"allow_neg_eigval",
                                             hy_value_bool(hy_get_bool(o, "negative_eigenvalues"))},
                                            {NULL, NULL}},
                      e);
}

static int read_heads(const struct hy_value *json, int64_t heads, int64_t width, double values,
                      struct hy_value *mixer, struct hy_err *e)
{
    const double d_model = (double)hy_json_int(json, "hidden_size", 2048);
    const int64_t count = hy_json_int(json, "num_heads", heads);
    const double keys = (double)(count * hy_json_int(json, "head_dim", width)) / d_model;
    if (hy_json_int(json, "num_v_heads", count) != count)
        return hy_fla_unknown("grouped values", e);
    const int rc =
        hy_set_all(mixer,
                   (struct hy_setting[]){
                       {"expand_k", hy_value_real(keys)},
                       {"expand_v", hy_value_real(keys * hy_json_real(json, "expand_v", values))},
                       {NULL, NULL}},
                   e);
    return rc ? rc : read_delta(json, mixer, e);
}

static int gated_delta_write(const struct hy_model_spec *spec, const struct hy_value *o,
                             struct hy_value *json, struct hy_err *e)
{
    const int rc = write_heads(spec, o, json, e);
    return rc ? rc : hy_value_set(json, "use_gate", hy_value_bool(1), e);
}

static int gated_delta_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    if (!hy_json_bool(json, "use_gate", 1))
        return hy_fla_unknown("gated_deltanet without a gate", e);
    if (!strcmp(hy_json_text(json, "output_gate_activation", "swish"), "sigmoid"))
        return hy_fla_unknown("a sigmoid gate of gated_deltanet", e);
    return read_heads(json, 6, 256, 2, mixer, e);
}

static int kda_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    if (hy_json_bool(json, "safe_gate", 0))
        return hy_fla_unknown("safe_gate", e);
    return read_heads(json, 16, 128, 1, mixer, e);
}

static int mamba2_write(const struct hy_model_spec *spec, const struct hy_value *o,
                        struct hy_value *json, struct hy_err *e)
{
    const int64_t inner = hy_get_int(o, "expand") * spec->d_model;
    if (hy_get_real(o, "norm_eps") != spec->norm_eps)
        return hy_fla_refuse("mamba2 with two epsilons of norms: model.norm_eps and the mixer's "
                             "norm_eps must be equal",
                             e);
    const int64_t given = hy_get_int(o, "head_width");
    int64_t width = given ? given : inner < 64 ? inner : 64;
    while (inner % width)
        width--;
    return hy_set_all(
        json,
        (struct hy_setting[]){{"expand", hy_value_int(hy_get_int(o, "expand"))},
                              {"head_dim", hy_value_int(width)},
                              {"state_size", hy_value_int(hy_get_int(o, "state_width"))},
                              {"n_groups", hy_value_int(hy_get_int(o, "groups"))},
                              {"conv_kernel", hy_value_int(hy_get_int(o, "conv"))},
                              {"use_bias", hy_value_bool(0)},
                              {"use_conv_bias", hy_value_bool(1)},
                              {"rmsnorm", hy_value_bool(1)},
                              {NULL, NULL}},
        e);
}

static int mamba2_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    if (hy_json_bool(json, "use_bias", 0) || !hy_json_bool(json, "use_conv_bias", 1) ||
        !hy_json_bool(json, "rmsnorm", 1) || hy_json_bool(json, "norm_before_gate", 0))
        return hy_fla_unknown("mamba2 with other parts than its usual ones", e);
    return hy_set_all(
        mixer,
        (struct hy_setting[]){{"expand", hy_value_int(hy_json_int(json, "expand", 2))},
                              {"head_width", hy_value_int(hy_json_int(json, "head_dim", 64))},
                              {"state_width", hy_value_int(hy_json_int(json, "state_size", 128))},
                              {"groups", hy_value_int(hy_json_int(json, "n_groups", 1))},
                              {"conv", hy_value_int(hy_json_int(json, "conv_kernel", 4))},
                              {"norm_eps", hy_value_real(hy_json_real(json, "norm_eps", 1e-5))},
                              {NULL, NULL}},
        e);
}

/* Its Transformer. */
static int softmax_write(const struct hy_model_spec *spec, const struct hy_value *o,
                         struct hy_value *json, struct hy_err *e)
{
    const int64_t kv = hy_get_int(o, "kv_heads");
    const double base = hy_get_real(o, "rope_base");
    if (!(base > 0))
        return hy_fla_refuse("layers without positions: rope_theta must be positive", e);
    const int is_window = hy_value_get(o, "window") != NULL;
    return hy_set_all(
        json,
        (struct hy_setting[]){
            {"num_kv_heads", hy_value_int(kv ? kv : spec->heads)},
            {"qk_norm", hy_value_bool(hy_get_bool(o, "qk_norm"))},
            {"qkv_bias", hy_value_bool(0)},
            {"rope_theta", hy_value_real(base)},
            {"window_size", is_window ? hy_value_int(hy_get_int(o, "window")) : hy_value_null()},
            {NULL, NULL}},
        e);
}

static int softmax_read(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e)
{
    const struct hy_value *theta = hy_value_get(json, "rope_theta");
    const int without = theta && theta->type == HY_V_NULL;
    const int64_t window = hy_json_int(json, "window_size", 0);
    if (hy_json_bool(json, "qkv_bias", 0))
        return hy_fla_unknown("a bias of attention", e);
    return hy_set_all(
        mixer,
        (struct hy_setting[]){
            {"variant", hy_value_string(window ? "sliding_window" : "softmax")},
            {"kv_heads", hy_value_int(hy_json_int(json, "num_kv_heads", 0))},
            {"qk_norm", hy_value_bool(hy_json_bool(json, "qk_norm", 0))},
            {"rope_base", hy_value_real(without ? 0 : hy_json_real(json, "rope_theta", 1e4))},
            {window ? "window" : NULL, window ? hy_value_int(window) : NULL},
            {NULL, NULL}},
        e);
}

static const struct hy_fla_class classes[] = {
    {"gla", "gla", "GLAForCausalLM", 1, 1, gla_write, gla_read},
    {"retnet", "retnet", "RetNetForCausalLM", 1, 1, retnet_write, retnet_read},
    {"hgrn", "hgrn", "HGRNForCausalLM", 1, 0, hgrn_write, hgrn_read},
    {"hgrn2", "hgrn2", "HGRN2ForCausalLM", 1, 0, hgrn2_write, hgrn2_read},
    {"deltanet", "delta_net", "DeltaNetForCausalLM", 1, 1, delta_write, delta_read},
    {"gated_deltanet", "gated_deltanet", "GatedDeltaNetForCausalLM", 1, 1, gated_delta_write,
     gated_delta_read},
    {"kda", "kda", "KDAForCausalLM", 1, 1, write_heads, kda_read},
    {"mamba2", "mamba2", "Mamba2ForCausalLM", 0, 0, mamba2_write, mamba2_read},
    {"softmax", "transformer", "TransformerForCausalLM", 0, 1, softmax_write, softmax_read},
    {"sliding_window", "transformer", "TransformerForCausalLM", 0, 1, softmax_write, softmax_read},
};
enum { CLASSES = sizeof classes / sizeof *classes };

const struct hy_fla_class *hy_fla_class_of_type(const char *type)
{
    for (int i = 0; i < CLASSES; i++)
        if (!strcmp(classes[i].type, type))
            return &classes[i];
    return NULL;
}

const struct hy_fla_class *hy_fla_class_of_variant(const char *variant)
{
    for (int i = 0; i < CLASSES; i++)
        if (!strcmp(classes[i].variant, variant))
            return &classes[i];
    return NULL;
}
