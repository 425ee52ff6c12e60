#include "core/interchange/interchange.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The key of config.json in which hylas says a model itself. */
static const char own_key[] = "hylas";

static const char *const sections[] = {"model", "mixer", "full", "kinds", "layers"};
enum { SECTIONS = sizeof sections / sizeof *sections };

/* ---- Reading ---- */

int hy_foreign_open(const char *folder, struct hy_foreign *out, struct hy_err *e)
{
    struct hy_buf text = {0};
    struct stat found;
    char path[PATH_MAX];
    *out = (struct hy_foreign){0};
    if (!stat(folder, &found) && !S_ISDIR(found.st_mode))
        return HY_OK;
    snprintf(path, sizeof path, "%s/config.json", folder);
    int rc = hy_buf_read_file(&text, path, e);
    if (!rc && hy_value_from_json(text.data ? text.data : "", "config", &out->json, e))
        rc = hy_err_wrap(e, "%s", path);
    hy_buf_release(&text);
    for (int i = 0; !rc && hy_families[i] && !out->family; i++)
        if (hy_families[i]->recognises(out->json))
            out->family = hy_families[i];
    return rc;
}

void hy_foreign_close(struct hy_foreign *f)
{
    hy_value_free(f->json);
    *f = (struct hy_foreign){0};
}

struct hy_weights_order hy_foreign_order(const struct hy_foreign *f)
{
    return (struct hy_weights_order){.rename = f->family ? f->family->rename : NULL,
                                     .context = f->json};
}

int hy_foreign_sections(const struct hy_foreign *f, struct hy_value **out, struct hy_err *e)
{
    const struct hy_value *own = hy_value_get(f->json, own_key);
    if (own && own->type == HY_V_MAP) {
        *out = hy_value_copy(own);
        return *out ? HY_OK : hy_fail_memory(e);
    }
    if (!f->family) {
        const char *type = hy_json_text(f->json, "model_type", "");
        return hy_fail(e, HY_E_USAGE,
                       "config.json has a model_type that is not known here: '%.60s'", type);
    }
    struct hy_value *map = hy_value_map();
    const int rc = map ? f->family->read(f->json, map, e) : hy_fail_memory(e);
    if (rc)
        hy_value_free(map);
    else
        *out = map;
    return rc ? hy_err_wrap(e, "config.json") : HY_OK;
}

int hy_foreign_config(const struct hy_foreign *f, struct hy_config *out, struct hy_err *e)
{
    struct hy_value *map;
    int rc = hy_foreign_sections(f, &map, e);
    if (rc)
        return rc;
    rc = hy_config_resolve_model(map, out, e);
    hy_value_free(map);
    return rc ? hy_err_wrap(e, "config.json") : HY_OK;
}

/* ---- Writing ---- */

/* The sections that say the model, with the vocabulary that its tasks need. */
static int add_own(const struct hy_config *config, int vocab, struct hy_value *json,
                   struct hy_err *e)
{
    struct hy_value *own = hy_value_map();
    int rc = own ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < SECTIONS; i++) {
        const struct hy_value *section = hy_value_get(config->tree, sections[i]);
        if (section)
            rc = hy_value_set(own, sections[i], hy_value_copy(section), e);
    }
    if (!rc)
        rc = hy_value_put(own, "model.vocab", hy_value_int(vocab), e);
    if (!rc) {
        hy_value_remove((struct hy_value *)hy_value_get(own, "model"), "match");
        return hy_value_set(json, own_key, own, e);
    }
    hy_value_free(own);
    return rc;
}

static int write_config(const struct hy_model_spec *spec, const struct hy_config *config,
                        const struct hy_family *family, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *json = hy_value_map();
    int rc = json ? family->write(spec, json, e) : hy_fail_memory(e);
    if (!rc)
        rc = add_own(config, spec->vocab, json, e);
    if (rc)
        hy_value_free(json);
    else
        *out = json;
    return rc;
}

/* The family that the caller wants, or the first that has such a model. */
static int choose(const struct hy_model_spec *spec, const struct hy_config *config,
                  const struct hy_family **family, struct hy_value **json, struct hy_err *e)
{
    if (*family)
        return write_config(spec, config, *family, json, e);
    for (int i = 0; hy_families[i]; i++) {
        const int rc = write_config(spec, config, hy_families[i], json, e);
        *family = hy_families[i];
        if (rc != HY_E_USAGE)
            return rc;
    }
    return HY_E_USAGE;
}

static int write_json(const char *folder, const struct hy_value *json, struct hy_err *e)
{
    char path[PATH_MAX], *text = hy_value_to_json(json, 0);
    if (!text)
        return hy_fail_memory(e);
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *file = fopen(path, "w");
    const int bad = !file || fprintf(file, "%s\n", text) < 0;
    free(text);
    if (file && (fclose(file) || bad))
        return hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
    return file ? HY_OK : hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
}

/* The run's weights under the family's names. */
static int write_weights(const char *folder, const struct hy_weights *weights,
                         const struct hy_family *family, struct hy_value *json, struct hy_err *e)
{
    static const struct hy_st_pair format = {"format", "pt"};
    const struct hy_st_file *file = &weights->files[0];
    struct hy_st_tensor *tensors = calloc(file->tensor_count + 1, sizeof *tensors);
    char(*names)[HY_NAME_SIZE] = calloc(file->tensor_count + 1, sizeof *names), path[PATH_MAX];
    size_t count = 0;
    int rc = tensors && names ? HY_OK : hy_fail_memory(e);
    for (size_t i = 0; !rc && i < file->tensor_count; i++) {
        const struct hy_st_tensor *t = &file->tensors[i];
        if (!strncmp(t->name, "optimizer.", 10) || !hy_model_owns(t->name))
            continue;
        if (!family->rename(json, t->name, names[count])) {
            rc = hy_fail(e, HY_E_USAGE, "%s has no parameter like %s", family->name, t->name);
            break;
        }
        tensors[count] = *t;
        tensors[count].name = names[count];
        count++;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (!rc)
        rc = hy_st_write(path, tensors, count, &format, 1, e);
    free(names);
    free(tensors);
    return rc;
}

int hy_export(const struct hy_config *config, const struct hy_weights *weights, const char *folder,
              const struct hy_family **family, struct hy_err *e)
{
    const struct hy_st_tensor *table = hy_weights_find(weights, "model.embeddings.weight");
    struct hy_value *json = NULL;
    if (!table || table->rank != 2)
        return hy_fail(e, HY_E_USAGE, "the weights are no model's of hylas");
    const struct hy_model_spec spec = hy_config_model(config, (int)table->dims[0]);
    int rc = choose(&spec, config, family, &json, e);
    if (!rc && mkdir(folder, 0777) && errno != EEXIST)
        rc = hy_fail_errno(e, HY_E_ENV, "cannot make folder %s", folder);
    if (!rc)
        rc = write_weights(folder, weights, *family, json, e);
    if (!rc)
        rc = write_json(folder, json, e);
    hy_value_free(json);
    return rc;
}
