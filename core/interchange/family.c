#include "core/interchange/family.h"

#include <string.h>

const struct hy_family *const hy_families[] = {&hy_family_llama, &hy_family_fla, &hy_family_hylas,
                                               NULL};

const struct hy_family *hy_family_find(const char *name)
{
    for (int i = 0; hy_families[i]; i++)
        if (!strcmp(hy_families[i]->name, name))
            return hy_families[i];
    return NULL;
}

int64_t hy_json_int(const struct hy_value *json, const char *key, int64_t def)
{
    const struct hy_value *v = hy_value_get(json, key);
    return v && v->type == HY_V_INT ? v->integer : def;
}

double hy_json_real(const struct hy_value *json, const char *key, double def)
{
    const struct hy_value *v = hy_value_get(json, key);
    return v && (v->type == HY_V_INT || v->type == HY_V_REAL) ? v->real : def;
}

int hy_json_bool(const struct hy_value *json, const char *key, int def)
{
    const struct hy_value *v = hy_value_get(json, key);
    return v && v->type == HY_V_BOOL ? (int)v->integer : def;
}

const char *hy_json_text(const struct hy_value *json, const char *key, const char *def)
{
    const struct hy_value *v = hy_value_get(json, key);
    return v && v->type == HY_V_STRING ? v->string : def;
}

int hy_set_all(struct hy_value *map, const struct hy_setting *settings, struct hy_err *e)
{
    int rc = HY_OK;
    for (; settings->key; settings++) {
        if (rc)
            hy_value_free(settings->value);
        else
            rc = hy_value_set(map, settings->key, settings->value, e);
    }
    return rc;
}

int hy_family_check_plain(const struct hy_model_spec *spec, const char *family, struct hy_err *e)
{
    if (spec->norms != HY_NORMS_PRE)
        return hy_fail(e, HY_E_USAGE, "%s has no norms after a mixer (model.norm)", family);
    if (spec->readout)
        return hy_fail(e, HY_E_USAGE, "%s has no readout of one state", family);
    for (int i = 0; i < spec->layers; i++) {
        const struct hy_kind *k = hy_model_kind(spec, i);
        if (k->branch_count != 1)
            return hy_fail(e, HY_E_USAGE, "%s has no layers of %d mixers (kind %s)", family,
                           k->branch_count, k->name);
    }
    return HY_OK;
}

int hy_family_check_attention(const struct hy_branch *b, const char *family, struct hy_err *e)
{
    const struct hy_value *o = b->options;
    if (strcmp(b->variant->name, "softmax") != 0 && strcmp(b->variant->name, "sliding_window") != 0)
        return hy_fail(e, HY_E_USAGE, "%s has no %s among its attention", family, b->variant->name);
    const struct {
        int has;
        const char *what;
    } extras[] = {
        {hy_get_int(o, "conv") > 0, "convolutions before attention"},
        {hy_get_real_or(o, "rotary", 1) != 1, "partial rotary positions"},
        {hy_get_real_or(o, "softcap", 0) > 0, "capped scores"},
        {hy_get_bool_or(o, "sinks", 0), "attention sinks"},
        {strcmp(hy_get_string_or(o, "gate", "none"), "none") != 0, "gates on attention's output"},
    };
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++)
        if (extras[i].has)
            return hy_fail(e, HY_E_USAGE, "%s has no %s", family, extras[i].what);
    return HY_OK;
}
