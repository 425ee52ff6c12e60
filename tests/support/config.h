/* config.h - configurations from JSON, as a test writes them. */
#ifndef HY_TESTS_CONFIG_H
#define HY_TESTS_CONFIG_H

#include "core/config/config.h"

/* Release *out unless it fails. */
static inline int config_from_json(const char *text, struct hy_config *out, struct hy_err *e)
{
    struct hy_value *tree;
    int rc = hy_value_from_json(text, "test", &tree, e);
    if (!rc) {
        rc = hy_config_resolve(tree, out, e);
        hy_value_free(tree);
    }
    return rc;
}

#endif
