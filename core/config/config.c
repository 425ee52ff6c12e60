#include "core/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config/read.h"

static int check_sections(const struct hy_value *tree, struct hy_err *e)
{
    const char *names[24] = {"name"};
    size_t count = 1;
    for (const struct hy_section *s = hy_sections; s->name; s++)
        names[count++] = s->name;
    if (tree->type != HY_V_MAP)
        return hy_fail(e, HY_E_USAGE, "%sa sweep is a map of sections", hy_place_of(tree).text);
    for (size_t i = 0; i < tree->count; i++)
        if (strcmp(tree->keys[i], "name") != 0 && !hy_section_find(tree->keys[i]))
            return hy_refuse_name(tree->key_marks[i], "section", tree->keys[i], names, count, e);
    return HY_OK;
}

static int read_name(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    static const struct hy_option table[] = {
        {"name", HY_OPT_STRING, .text = "sweep", .help = "of the sweep"},
        {0},
    };
    const struct hy_value *given = hy_value_get(tree, "name");
    struct hy_value *only = hy_value_map(), *resolved = NULL;
    int rc = only ? HY_OK : hy_fail_memory(e);
    if (!rc && given)
        rc = hy_value_set(only, "name", hy_value_copy(given), e);
    if (!rc)
        rc = hy_options_resolve(table, only, "the sweep file", NULL, &resolved, e);
    if (!rc)
        rc = hy_value_set(c->tree, "name", hy_value_string(hy_get_string(resolved, "name")), e);
    if (!rc && !(c->name = strdup(hy_get_string(resolved, "name"))))
        rc = hy_fail_memory(e);
    hy_value_free(resolved);
    hy_value_free(only);
    return rc;
}

static int resolve_match(const struct hy_value *tree, struct hy_config *out, struct hy_err *e)
{
    struct hy_value *solved;
    int rc = hy_match_solve(tree, &solved, e);
    if (rc)
        return rc;
    rc = hy_config_resolve(solved, out, e);
    hy_value_free(solved);
    return rc;
}

int hy_config_resolve(const struct hy_value *tree, struct hy_config *out, struct hy_err *e)
{
    if (hy_match_is_open(tree))
        return resolve_match(tree, out, e);
    struct hy_config c = {.tree = hy_value_map()};
    int rc = c.tree ? check_sections(tree, e) : hy_fail_memory(e);
    if (!rc)
        rc = read_name(tree, &c, e);
    if (!rc)
        rc = hy_config_read_model(tree, &c, e);
    if (!rc)
        rc = hy_config_read_select(tree, &c, e);
    if (!rc)
        rc = hy_config_read_layers(tree, &c, e);
    if (!rc)
        rc = hy_config_read_train(tree, &c, e);
    if (!rc)
        rc = hy_config_check_windows(&c, e);
    if (!rc)
        rc = hy_config_read_stages(tree, &c, e);
    if (!rc)
        rc = hy_config_read_data(tree, &c, e);
    if (!rc)
        rc = hy_config_read_eval(tree, &c, e);
    if (!rc)
        rc = hy_config_read_run(tree, &c, e);
    if (!rc)
        rc = hy_config_read_init(tree, &c, e);
    if (!rc)
        rc = hy_config_finish_select(tree, &c, e);
    if (!rc)
        rc = hy_config_check_stages(&c, e);
    if (rc)
        hy_config_release(&c);
    else
        *out = c;
    return rc;
}

int hy_config_resolve_model(const struct hy_value *tree, struct hy_config *out, struct hy_err *e)
{
    struct hy_config c = {.tree = hy_value_map()};
    int rc = c.tree ? hy_config_read_model(tree, &c, e) : hy_fail_memory(e);
    if (!rc)
        rc = hy_config_read_layers(tree, &c, e);
    if (rc)
        hy_config_release(&c);
    else
        *out = c;
    return rc;
}

struct hy_model_spec hy_config_model(const struct hy_config *c, int vocab)
{
    struct hy_model_spec spec = {
        .d_model = c->model.d_model,
        .layers = c->model.layers,
        .heads = c->model.heads,
        .mlp = c->model.mlp,
        .vocab = vocab,
        .readout = c->data.train_count && c->data.train[0].task->uses_readout,
        .norm_eps = c->model.norm_eps,
        .init_std = c->model.init_std,
        .norms = c->model.norms,
        .tied = c->model.tied,
        .kind_count = c->layers.kind_count,
        .layout = c->layers.layout,
    };
    memcpy(spec.kinds, c->layers.kinds, sizeof spec.kinds);
    return spec;
}

struct hy_layout hy_config_selected_layout(const struct hy_config *c, const unsigned char *full)
{
    struct hy_layout l = {.layers = c->model.layers};
    for (int i = 0; i < l.layers; i++)
        l.kinds[i] = full[i] ? HY_FULL : HY_LINEAR;
    return l;
}

int hy_config_settle_layout(struct hy_config *c, const char *letters, struct hy_err *e)
{
    unsigned char full[HY_MAX_LAYERS];
    const int depth = c->model.layers;
    struct hy_value *list = hy_value_list();
    int rc = list ? HY_OK : hy_fail_memory(e);
    for (int i = 0; i < depth && !rc; i++) {
        full[i] = letters[i] == 'F';
        if (letters[i] != 'L' && letters[i] != 'F')
            rc = hy_fail(e, HY_E_USAGE, "'%.130s' is no layout of %d selected layers", letters,
                         depth);
        else
            rc = hy_value_append(list, hy_value_string(full[i] ? "full" : "linear"), e);
    }
    if (rc) {
        hy_value_free(list);
        return rc;
    }
    if ((rc = hy_value_put(c->tree, "layers.list", list, e)))
        return rc;
    hy_value_remove(c->tree, "select");
    c->layers.layout = hy_config_selected_layout(c, full);
    c->layers.kind_count = c->select.kind;
    c->select.method = NULL;
    return HY_OK;
}

struct hy_shape hy_config_step_shape(const struct hy_config *c)
{
    return (struct hy_shape){.replicas = 1,
                             .batch = c->train.batch,
                             .tokens = c->train.seq_len,
                             .mode = HY_TRAIN,
                             .precision = c->train.precision};
}

int64_t hy_config_step_tokens(const struct hy_config *c)
{
    return (int64_t)c->train.batch * c->train.seq_len;
}

int hy_config_longest_context(const struct hy_config *c)
{
    int longest = 1;
    for (int i = 0; i < c->eval.context_count; i++)
        longest = c->eval.contexts[i] > longest ? c->eval.contexts[i] : longest;
    return longest;
}

void hy_config_release(struct hy_config *c)
{
    free(c->name);
    free(c->run.device);
    hy_value_free(c->layers.options);
    hy_value_free(c->select.owned);
    if (c->init.source)
        hy_config_release(c->init.source);
    free(c->init.source);
    free(c->init.folder);
    for (int i = 0; i < c->data.train_count; i++)
        hy_value_free(c->data.train[i].options);
    for (int i = 0; i < c->data.eval_count; i++)
        hy_value_free(c->data.eval[i].options);
    hy_value_free(c->tree);
    *c = (struct hy_config){0};
}
