/* family.h - folders of models as other programs have them: config.json says what the model is, and
 * model.safetensors holds its weights, under names of theirs. Each family is one file. */
#ifndef HY_INTERCHANGE_FAMILY_H
#define HY_INTERCHANGE_FAMILY_H

#include "core/model/model.h"

struct hy_family {
    const char *name, *summary;
    int (*recognises)(const struct hy_value *json); /* a config.json of its */
    /* Adds what config.json says to a map of sections, as a sweep file has them. HY_E_USAGE: there
     * is something in it that hylas does not have. */
    int (*read)(const struct hy_value *json, struct hy_value *sections, struct hy_err *e);
    /* Adds what the family says of a model to config.json. HY_E_USAGE: it has no such model, and
     * why. */
    int (*write)(const struct hy_model_spec *spec, struct hy_value *json, struct hy_err *e);
    /* Its name of one of the model's parameters; 0 where it has none: for struct hy_weights_order,
     * context is config.json. */
    int (*rename)(void *json, const char *name, char out[HY_NAME_SIZE]);
};

/* In the order in which an export tries them; ended by NULL. */
extern const struct hy_family *const hy_families[];
extern const struct hy_family hy_family_llama, hy_family_fla, hy_family_hylas;
const struct hy_family *hy_family_find(const char *name); /* NULL where absent */

/* ---- For families ---- */

/* What json says, the default where it does not. */
int64_t hy_json_int(const struct hy_value *json, const char *key, int64_t def);
double hy_json_real(const struct hy_value *json, const char *key, double def);
int hy_json_bool(const struct hy_value *json, const char *key, int def);
const char *hy_json_text(const struct hy_value *json, const char *key, const char *def);

/* Sets keys of a map from a list that a NULL ends; takes the values. */
struct hy_setting {
    const char *key;
    struct hy_value *value;
};
int hy_set_all(struct hy_value *map, const struct hy_setting *settings, struct hy_err *e);

/* Refuses a model that no other family than hylas' own can say, by what it has. */
int hy_family_check_plain(const struct hy_model_spec *spec, const char *family, struct hy_err *e);
/* Refuses attention with more than heads of keys, a base of positions and RMSNorm of queries and
 * keys. */
int hy_family_check_attention(const struct hy_branch *b, const char *family, struct hy_err *e);

#endif
