/* Section data: the tasks of training and evaluation. */
#include "core/config/read.h"

#include <stdio.h>
#include <string.h>

static const struct hy_option eval_entry[] = {
    {"task", HY_OPT_STRING, .required = 1, .help = "what to train on or to measure"},
    {"seq_len", HY_OPT_INT, .def = 0, .min = 0, .max = 1048576,
     .help = "tokens per sequence; 0: train.seq_len"},
    {0},
};
static const struct hy_option train_entry[] = {
    {"task", HY_OPT_STRING, .required = 1, .help = "what to train on or to measure"},
    {"weight", HY_OPT_REAL, .def = 1, .min = 1e-9, .max = 1e9, .help = "share of the training"},
    {0},
};

/* seq_len: of sequences whose entry does not say otherwise. */
static int read_source(const struct hy_value *entry, const struct hy_option *own, int seq_len,
                       struct hy_source *out, struct hy_value *canonical, struct hy_err *e)
{
    const struct hy_task *task = hy_task_find(hy_value_get(entry, "task")->string);
    struct hy_value *keys = NULL, *options = NULL;
    char where[128];
    snprintf(where, sizeof where, "task %s", task->name);
    const struct hy_pair p = {own, task->options, where, where};
    int rc = hy_pair_resolve(&p, entry, &keys, &options, e);
    if (rc)
        return rc;
    *out = (struct hy_source){.task = task, .options = options, .seq_len = seq_len};
    if (own == train_entry)
        out->weight = hy_get_real(keys, "weight");
    else if (hy_get_int(keys, "seq_len"))
        out->seq_len = (int)hy_get_int(keys, "seq_len");
    else
        rc = hy_value_set(keys, "seq_len", hy_value_int(seq_len), e);
    if (!rc)
        rc = hy_value_add_all(keys, options, e);
    if (rc)
        hy_value_free(keys);
    else
        rc = hy_value_append(canonical, keys, e);
    return rc;
}

/* Checks that list is a list of maps with known tasks. */
static int check_sources(const struct hy_value *list, const char *what, struct hy_err *e)
{
    const struct hy_place at = hy_place_of(list);
    if (list->type != HY_V_LIST || !list->count)
        return hy_fail(e, HY_E_USAGE, "%s%s must be a list of tasks such as [{task: text}]",
                       at.text, what);
    if (list->count > HY_MAX_SOURCES)
        return hy_fail(e, HY_E_USAGE, "%s%s has %zu tasks, the most is %d", at.text, what,
                       list->count, HY_MAX_SOURCES);
    for (size_t i = 0; i < list->count; i++) {
        const struct hy_value *entry = list->items[i], *name = hy_value_get(entry, "task");
        const struct hy_place here = hy_place_of(entry);
        if (!name || name->type != HY_V_STRING)
            return hy_fail(e, HY_E_USAGE, "%seach entry of %s must be a map that names its task",
                           here.text, what);
        if (!hy_task_find(name->string))
            return hy_refuse_plugin(name->mark, "task", name->string, (const void *const *)hy_tasks,
                                    e);
    }
    return HY_OK;
}

/* Fills in what entry leaves out from the first training entry of the same task. */
static int inherit(struct hy_value *entry, const struct hy_value *train, struct hy_err *e)
{
    const char *task = hy_value_get(entry, "task")->string;
    for (size_t i = 0; i < train->count; i++) {
        const struct hy_value *from = train->items[i];
        if (strcmp(hy_value_get(from, "task")->string, task) != 0)
            continue;
        int rc = HY_OK;
        for (size_t j = 0; !rc && j < from->count; j++)
            if (strcmp(from->keys[j], "weight") != 0 && !hy_value_get(entry, from->keys[j]))
                rc = hy_value_set(entry, from->keys[j], hy_value_copy(from->items[j]), e);
        return rc;
    }
    return HY_OK;
}

/* What data.eval means: given (NULL: the training list) with everything inherited. */
static int expand_eval(const struct hy_value *given, const struct hy_value *train,
                       struct hy_value **out, struct hy_err *e)
{
    struct hy_value *list = hy_value_copy(given ? given : train);
    int rc = list ? HY_OK : hy_fail_memory(e);
    for (size_t i = 0; !rc && i < list->count; i++) {
        if (given)
            rc = inherit(list->items[i], train, e);
        else
            hy_value_remove(list->items[i], "weight");
    }
    if (rc)
        hy_value_free(list);
    else
        *out = list;
    return rc;
}

static int read_sources(const struct hy_value *list, const struct hy_option *own, int seq_len,
                        struct hy_source *sources, int *count, struct hy_value **canonical,
                        struct hy_err *e)
{
    struct hy_value *out = hy_value_list();
    int rc = out ? HY_OK : hy_fail_memory(e);
    for (size_t i = 0; !rc && i < list->count; i++) {
        rc = read_source(list->items[i], own, seq_len, &sources[i], out, e);
        if (sources[i].options)
            *count = (int)i + 1;
    }
    if (rc)
        hy_value_free(out);
    else
        *canonical = out;
    return rc;
}

/* What kind of model a task needs: a run has one. */
enum kind { USUAL, READ_OUT, NONE };

static enum kind kind_of(const struct hy_task *task)
{
    return task->trains_nothing ? NONE : task->uses_readout ? READ_OUT : USUAL;
}

static int check_mixture(const struct hy_config *c, const struct hy_value *data, struct hy_err *e)
{
    static const char *const oddities[] = {
        [READ_OUT] = "is predicted from the last token's state alone", [NONE] = "trains nothing"};
    const struct hy_task *first = c->data.train[0].task;
    for (int i = 0; i < c->data.train_count + c->data.eval_count; i++) {
        const int evaluates = i >= c->data.train_count;
        const struct hy_task *other =
            evaluates ? c->data.eval[i - c->data.train_count].task : c->data.train[i].task;
        if (kind_of(other) == kind_of(first))
            continue;
        const int other_is_odd = kind_of(other) > kind_of(first);
        const struct hy_task *odd = other_is_odd ? other : first;
        return hy_fail(e, HY_E_USAGE, "%stask %s %s: it cannot stand beside task %s",
                       hy_place_of(data).text, odd->name, oddities[kind_of(odd)],
                       (other_is_odd ? first : other)->name);
    }
    return HY_OK;
}

int hy_config_read_data(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    static const char *const keys[] = {"train", "eval"};
    const struct hy_value *data = hy_value_get(tree, "data");
    const struct hy_value *train = hy_value_get(data, "train"), *eval = hy_value_get(data, "eval");
    struct hy_value *expanded = NULL, *trained = NULL, *evaluated = NULL;
    const struct hy_place at = hy_place_of(data);
    if (!train)
        return hy_fail(e, HY_E_USAGE, "%ssection data needs 'train', a list of tasks", at.text);
    for (size_t i = 0; i < data->count; i++)
        if (strcmp(data->keys[i], "train") != 0 && strcmp(data->keys[i], "eval") != 0)
            return hy_refuse_name(data->key_marks[i], "key in section data:", data->keys[i], keys,
                                  2, e);
    int rc = check_sources(train, "data.train", e);
    if (!rc && eval)
        rc = check_sources(eval, "data.eval", e);
    if (!rc)
        rc = expand_eval(eval, train, &expanded, e);
    if (!rc)
        rc = read_sources(train, train_entry, c->train.seq_len, c->data.train, &c->data.train_count,
                          &trained, e);
    if (!rc)
        rc = read_sources(expanded, eval_entry, c->train.seq_len, c->data.eval, &c->data.eval_count,
                          &evaluated, e);
    hy_value_free(expanded);
    if (!rc)
        rc = check_mixture(c, data, e);
    if (!rc) {
        rc = hy_value_put(c->tree, "data.train", trained, e);
        trained = NULL;
    }
    if (!rc) {
        rc = hy_value_put(c->tree, "data.eval", evaluated, e);
        evaluated = NULL;
    }
    hy_value_free(evaluated);
    hy_value_free(trained);
    return rc;
}
