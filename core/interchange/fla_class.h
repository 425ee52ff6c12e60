/* fla_class.h - the model classes of flash-linear-attention: what config.json says of each mixer.
 * Seen by core/interchange only. */
#ifndef HY_INTERCHANGE_FLA_CLASS_H
#define HY_INTERCHANGE_FLA_CLASS_H

#include "core/interchange/family.h"

/* One of its classes. */
struct hy_fla_class {
    const char *variant, *type, *architecture;
    int attention; /* some layers may be softmax */
    int heads_key; /* config.json says the number of heads */
    /* The mixer's own options, to and from config.json. */
    int (*write)(const struct hy_model_spec *spec, const struct hy_value *options,
                 struct hy_value *json, struct hy_err *e);
    int (*read)(const struct hy_value *json, struct hy_value *mixer, struct hy_err *e);
};

const struct hy_fla_class *hy_fla_class_of_type(const char *type);       /* NULL where absent */
const struct hy_fla_class *hy_fla_class_of_variant(const char *variant); /* likewise */
/* "... has no <what>": HY_E_USAGE. */
int hy_fla_refuse(const char *what, struct hy_err *e);
/* "<what> of ... is not known here": HY_E_USAGE. */
int hy_fla_unknown(const char *what, struct hy_err *e);

#endif
