/* hylas.c - models that no other program has: config.json holds the sections of the sweep file, and
 * the weights have the names that they have here. */
#include "core/interchange/family.h"

#include <stdio.h>
#include <string.h>

static int hylas_recognises(const struct hy_value *json)
{
    return !strcmp(hy_json_text(json, "model_type", ""), "hylas");
}

static int hylas_read(const struct hy_value *json, struct hy_value *sections, struct hy_err *e)
{
    (void)json, (void)sections;
    return hy_fail(e, HY_E_USAGE, "config.json of a hylas model lacks its key hylas");
}

static int hylas_write(const struct hy_model_spec *spec, struct hy_value *json, struct hy_err *e)
{
    (void)spec;
    return hy_value_set(json, "model_type", hy_value_string("hylas"), e);
}

static int hylas_rename(void *json, const char *name, char out[HY_NAME_SIZE])
{
    (void)json;
    snprintf(out, HY_NAME_SIZE, "%s", name);
    return 1;
}

const struct hy_family hy_family_hylas = {
    .name = "hylas",
    .summary = "any model, for hylas itself",
    .recognises = hylas_recognises,
    .read = hylas_read,
    .write = hylas_write,
    .rename = hylas_rename,
};
