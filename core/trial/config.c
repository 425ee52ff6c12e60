#include "core/trial/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/trial/config_read.h"

/* Resolves a section and adds it to the canonical tree; *out is borrowed from there. ignore: keys
 * that the caller reads itself, or NULL. */
static int read_section(const struct hy_value *tree, const char *name, const char *const *ignore,
                        struct hy_config *c, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *section = NULL;
    char where[64];
    snprintf(where, sizeof where, "section %s", name);
    int rc = hy_options_resolve(hy_section_find(name)->options, hy_value_get(tree, name), where,
                                ignore, &section, e);
    if (rc)
        return rc;
    *out = section;
    return hy_value_set(c->tree, name, section, e);
}

static int read_model(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    static const char *const own[] = {"match", NULL};
    struct hy_value *s;
    int rc = read_section(tree, "model", own, c, &s, e);
    if (!rc)
        rc = hy_config_read_match(hy_value_get(tree, "model"), s, e);
    if (rc)
        return rc;
    c->model.d_model = (int)hy_get_int(s, "d_model");
    c->model.layers = (int)hy_get_int(s, "layers");
    c->model.heads = (int)hy_get_int(s, "heads");
    c->model.mlp = (int)hy_get_int(s, "mlp");
    c->model.vocab = (int)hy_get_int(s, "vocab");
    c->model.norm_eps = hy_get_real(s, "norm_eps");
    c->model.init_std = hy_get_real(s, "init_std");
    if (c->model.d_model % c->model.heads) {
        const struct hy_place at = hy_place_of(hy_value_get(s, "heads"));
        return hy_fail(e, HY_E_USAGE, "%sd_model %d is not a multiple of heads %d", at.text,
                       c->model.d_model, c->model.heads);
    }
    if (c->model.mlp >= 0)
        return HY_OK;
    c->model.mlp = (c->model.d_model * 8 / 3 + 255) / 256 * 256;
    return hy_value_set(s, "mlp", hy_value_int(c->model.mlp), e);
}

static int read_train(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    struct hy_value *s;
    const int rc = read_section(tree, "train", NULL, c, &s, e);
    if (rc)
        return rc;
    c->train.steps = hy_get_int(s, "steps");
    c->train.batch = (int)hy_get_int(s, "batch");
    c->train.seq_len = (int)hy_get_int(s, "seq_len");
    c->train.lr = hy_get_real(s, "lr");
    c->train.lr_end = hy_get_real(s, "lr_end");
    c->train.warmup = hy_get_real(s, "warmup");
    c->train.cosine = !strcmp(hy_get_string(s, "schedule"), "cosine");
    c->train.weight_decay = hy_get_real(s, "weight_decay");
    c->train.clip = hy_get_real(s, "clip");
    c->train.beta1 = hy_get_real(s, "beta1");
    c->train.beta2 = hy_get_real(s, "beta2");
    c->train.eps = hy_get_real(s, "eps");
    c->train.seed = hy_get_int(s, "seed");
    c->train.precision = (enum hy_precision)hy_precision_parse(hy_get_string(s, "precision"));
    /* As long as float32 was the only one, configurations did not name it. */
    if (c->train.precision == HY_PRECISION_FLOAT32)
        hy_value_remove(s, "precision");
    const double warmup = c->train.warmup < 1 ? 0 : c->train.warmup;
    if (warmup > (double)c->train.steps) {
        const struct hy_place at = hy_place_of(hy_value_get(s, "warmup"));
        return hy_fail(e, HY_E_USAGE,
                       "%swarmup of %.10g steps is longer than the %lld steps of the run", at.text,
                       warmup, (long long)c->train.steps);
    }
    return HY_OK;
}

static int read_eval(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    struct hy_value *s;
    int rc = read_section(tree, "eval", NULL, c, &s, e);
    if (rc)
        return rc;
    if (!hy_value_at(tree, "eval.contexts")) {
        struct hy_value *list = hy_value_list();
        rc = list ? hy_value_append(list, hy_value_int(c->train.seq_len), e) : hy_fail_memory(e);
        if (rc) {
            hy_value_free(list);
            return rc;
        }
        rc = hy_value_set(s, "contexts", list, e);
        if (rc)
            return rc;
    }
    const struct hy_value *contexts = hy_get_list(s, "contexts");
    if (contexts->count > HY_MAX_CONTEXTS) {
        const struct hy_place at = hy_place_of(contexts);
        return hy_fail(e, HY_E_USAGE, "%seval.contexts has %zu entries, the most is %d", at.text,
                       contexts->count, HY_MAX_CONTEXTS);
    }
    c->eval.every = hy_get_int(s, "every");
    for (size_t i = 0; i < contexts->count; i++)
        c->eval.contexts[i] = (int)contexts->items[i]->integer;
    c->eval.context_count = (int)contexts->count;
    return HY_OK;
}

static int read_run(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    static const char *const devices[] = {"auto", "cpu", "cuda", "cuda:0"};
    struct hy_value *s;
    static const char *const rules[] = {"stop", "halving", NULL};
    const int rc = read_section(tree, "run", rules, c, &s, e);
    if (rc)
        return rc;
    const struct hy_value *device = hy_value_get(s, "device");
    const struct hy_place at = hy_place_of(device);
    if (!hy_is_device(device->string))
        return hy_refuse_name(device->mark, "device in section run:", device->string, devices, 4,
                              e);
    if (!strncmp(device->string, "cuda", 4) && !hy_cuda_ops[0].name)
        return hy_fail(e, HY_E_USAGE,
                       "%sdevice %s in section run: this build has no CUDA; use auto or cpu",
                       at.text, device->string);
    c->run.device = strdup(device->string);
    if (!c->run.device)
        return hy_fail_memory(e);
    c->run.threads = (int)hy_get_int(s, "threads");
    c->run.timeout = hy_get_real(s, "timeout");
    c->run.watchdog = hy_get_real(s, "watchdog");
    c->run.memory = hy_get_int(s, "memory");
    c->run.retries = (int)hy_get_int(s, "retries");
    c->run.gang = (int)hy_get_int(s, "gang");
    c->run.checkpoint_every = hy_get_int(s, "checkpoint_every");
    c->run.keep_checkpoint = hy_get_bool(s, "keep_checkpoint");
    if (c->run.memory && !strcmp(hy_get_string(s, "isolate"), "none")) {
        const struct hy_place limit = hy_place_of(hy_value_get(s, "memory"));
        return hy_fail(e, HY_E_USAGE,
                       "%smemory in section run limits processes: it needs isolate: process",
                       limit.text);
    }
    return hy_config_read_rules(hy_value_get(tree, "run"), s, c, e);
}

static int check_sections(const struct hy_value *tree, struct hy_err *e)
{
    const char *names[16] = {"name"};
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
        rc = read_model(tree, &c, e);
    if (!rc)
        rc = hy_config_read_mixers(tree, &c, e);
    if (!rc)
        rc = read_train(tree, &c, e);
    if (!rc)
        rc = hy_config_read_data(tree, &c, e);
    if (!rc)
        rc = read_eval(tree, &c, e);
    if (!rc)
        rc = read_run(tree, &c, e);
    if (rc)
        hy_config_release(&c);
    else
        *out = c;
    return rc;
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
    hy_value_free(c->mixer.linear_options);
    hy_value_free(c->mixer.full_options);
    for (int i = 0; i < c->data.train_count; i++)
        hy_value_free(c->data.train[i].options);
    for (int i = 0; i < c->data.eval_count; i++)
        hy_value_free(c->data.eval[i].options);
    hy_value_free(c->tree);
    *c = (struct hy_config){0};
}
