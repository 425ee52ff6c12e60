/* interchange.h - models of other programs: a folder of config.json and model.safetensors, read and
 * written. */
#ifndef HY_INTERCHANGE_INTERCHANGE_H
#define HY_INTERCHANGE_INTERCHANGE_H

#include "core/config/config.h"
#include "core/interchange/family.h"
#include "core/model/weights.h"

/* A folder's config.json. */
struct hy_foreign {
    struct hy_value *json; /* owned */
    const struct hy_family
        *family; /* NULL: nobody's; its weights have the names that they have here */
};

/* HY_E_USAGE where there is no config.json or it is damaged. A file in place of a folder is
 * nobody's. Close *out. */
int hy_foreign_open(const char *folder, struct hy_foreign *out, struct hy_err *e);
void hy_foreign_close(struct hy_foreign *f);
/* How weights of that folder are looked for; borrows f. */
struct hy_weights_order hy_foreign_order(const struct hy_foreign *f);
/* *out: the sections model, mixer, full, kinds and layers of the model. */
int hy_foreign_sections(const struct hy_foreign *f, struct hy_value **out, struct hy_err *e);
/* *out: the model. Release it with hy_config_release. */
int hy_foreign_config(const struct hy_foreign *f, struct hy_config *out, struct hy_err *e);

/* Writes a folder: config.json and model.safetensors, in float32. config: of the run; weights: its
 * checkpoint. *family: as which, or NULL: the first that can say the model, which it then is. */
int hy_export(const struct hy_config *config, const struct hy_weights *weights, const char *folder,
              const struct hy_family **family, struct hy_err *e);

#endif
