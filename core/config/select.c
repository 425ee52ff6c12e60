/* Section select: which layers stay full is found by the run itself. It stands in place of
 * mixer.ratio and section layers; the mixers of sections mixer and full are what is chosen
 * between. The file's train, or its stages, are how the model of the layout that is found is
 * trained. */
#include "core/config/read.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stages that come in front of the file's own; -1 stands for a default that section train gives. */
const struct hy_option hy_select_options[] = {
    {"method", HY_OPT_STRING, .required = 1, .help = "hylas selectors lists them"},
    {"tolerance", HY_OPT_STRING,
     .help = "loss beyond the model's of full layers: \"1 %\" of perplexity, \"0.01 nats\" or "
             "\"0.02 recall\""},
    {"budget", HY_OPT_STRING, .help = "full layers, in place of a tolerance"},
    {"metric", HY_OPT_CHOICE, .text = "auto", .choices = "auto|ppl|recall",
     .help = "what layouts are compared by, on validation data; auto: as the tolerance says, else "
             "ppl where text is evaluated"},
    {"share", HY_OPT_CHOICE, .text = "auto", .choices = "auto|qkvo|none",
     .help = "both mixers of a layer have one projection of queries, keys, values and of the "
             "output; auto: gates do"},
    {"align", HY_OPT_INT, .def = -1, .min = -1, .max = 2147483647, .text = "auto",
     .help = "steps in which linear mixers learn to give what the source's full ones give; auto: "
             "a fifth of train.steps, 0 without a source"},
    {"steps", HY_OPT_INT, .def = -1, .min = -1, .max = 2147483647, .text = "auto",
     .help = "steps in which gates are trained, or each layer is probed; auto: half of "
             "train.steps, a tenth for each probe"},
    {"lr", HY_OPT_REAL, .def = 0, .min = 0, .max = 100,
     .help = "highest learning rate of these; 0: as section train has it"},
    {"repair", HY_OPT_INT, .def = -1, .min = -1, .max = HY_MAX_LAYERS, .text = "auto",
     .help = "layers that are given back at most where the tolerance is broken, each followed by "
             "the file's stages anew; auto: all"},
    {"restart", HY_OPT_BOOL, .max = 1,
     .help = "the layout that is found is trained from the weights that the run began with"},
    {0},
};

/* Read here; the rows are for documentation and nearest names. */
static const char *const own_keys[] = {"tolerance", "budget", NULL};

static struct hy_place at_key(const struct hy_value *section, const char *key)
{
    const struct hy_value *v = hy_value_get(section, key);
    return hy_place_of(v ? v : section);
}

/* "1 %", "0.01 nats", "0.02 recall". */
static int read_tolerance(const struct hy_value *given, struct hy_config *c, struct hy_err *e)
{
    static const char form[] = "select.tolerance is a number with a unit: \"1 %\" of perplexity, "
                               "\"0.01 nats\" or \"0.02 recall\"";
    char *end = NULL;
    const char *text = given->type == HY_V_STRING ? given->string : "";
    const double x = strtod(text, &end);
    const char *unit = end + strspn(end, " ");
    if (end == text || !isfinite(x) || x < 0)
        return hy_fail(e, HY_E_USAGE, "%s%s", hy_place_of(given).text, form);
    c->select.metric = strcmp(unit, "recall") ? HY_METRIC_PPL : HY_METRIC_RECALL;
    if (!strcmp(unit, "%"))
        c->select.tolerance = log1p(x / 100);
    else if (!strcmp(unit, "nats") || (!strcmp(unit, "recall") && x <= 1))
        c->select.tolerance = x;
    else
        return hy_fail(e, HY_E_USAGE, "%s%s", hy_place_of(given).text, form);
    return HY_OK;
}

static int read_budget(const struct hy_value *given, struct hy_config *c, struct hy_err *e)
{
    if (given->type != HY_V_INT || given->integer < 0)
        return hy_fail(e, HY_E_USAGE, "%sselect.budget is a number of full layers",
                       hy_place_of(given).text);
    if (given->integer > c->model.layers)
        return hy_fail(e, HY_E_USAGE, "%sselect.budget %lld: the model has %d layers",
                       hy_place_of(given).text, (long long)given->integer, c->model.layers);
    c->select.budget = (int)given->integer;
    return HY_OK;
}

/* Exactly one of them says when the selector is to stop. */
static int read_aim(const struct hy_value *given, struct hy_config *c, struct hy_value *section,
                    struct hy_err *e)
{
    const struct hy_value *tolerance = hy_value_get(given, "tolerance");
    const struct hy_value *budget = hy_value_get(given, "budget");
    const int has_tolerance = tolerance && tolerance->type != HY_V_NULL;
    const int has_budget = budget && budget->type != HY_V_NULL;
    int rc = HY_OK;
    c->select.tolerance = NAN;
    c->select.budget = -1;
    if (has_tolerance == has_budget)
        return hy_fail(e, HY_E_USAGE,
                       "%ssection select has either a tolerance, as \"1 %%\", or a budget, a "
                       "number of full layers",
                       hy_place_of(has_budget ? budget : given).text);
    rc = has_tolerance ? read_tolerance(tolerance, c, e) : read_budget(budget, c, e);
    for (const char *const *key = own_keys; *key && !rc; key++)
        if (hy_value_get(given, *key) && hy_value_get(given, *key)->type != HY_V_NULL)
            rc = hy_value_set(section, *key, hy_value_copy(hy_value_get(given, *key)), e);
        else
            hy_value_remove(section, *key);
    return rc;
}

static int read_section(const struct hy_value *given, struct hy_config *c, struct hy_value **out,
                        struct hy_err *e)
{
    const struct hy_value *name = hy_value_get(given, "method");
    const struct hy_selector *method = NULL;
    struct hy_value *keys = NULL, *options = NULL, *rest;
    char where[64];
    if (name && name->type == HY_V_STRING) {
        method = hy_selector_find(name->string);
        if (!method)
            return hy_refuse_plugin(name->mark, "selection method", name->string,
                                    (const void *const *)hy_selectors, e);
        snprintf(where, sizeof where, "selection method %s", method->name);
    }
    const struct hy_pair pair = {hy_select_options, method ? method->options : NULL,
                                 "section select", method ? where : NULL};
    if (!(rest = hy_value_copy(given)))
        return hy_fail_memory(e);
    for (const char *const *key = own_keys; *key; key++)
        hy_value_remove(rest, *key);
    int rc = hy_pair_resolve(&pair, rest, &keys, &options, e);
    hy_value_free(rest);
    if (!rc)
        rc = hy_value_add_all(keys, options, e);
    hy_value_free(options);
    if (rc) {
        hy_value_free(keys);
        return rc;
    }
    c->select.method = method;
    keys->mark = given->mark;
    *out = keys;
    return HY_OK;
}

int hy_config_read_select(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    const struct hy_value *given = hy_value_get(tree, "select");
    struct hy_value *section = NULL;
    if (!given || given->type == HY_V_NULL)
        return HY_OK;
    if (given->type != HY_V_MAP)
        return hy_fail(e, HY_E_USAGE, "%ssection select is a map: {method: gates, budget: 2}",
                       hy_place_of(given).text);
    int rc = read_section(given, c, &section, e);
    if (rc)
        return rc;
    if ((rc = hy_value_set(c->tree, "select", section, e)))
        return rc;
    c->select.options = section;
    if ((rc = read_aim(given, c, section, e)))
        return rc;
    const char *share = hy_get_string(section, "share");
    c->select.shares =
        strcmp(share, "auto") ? !strcmp(share, "qkvo") : c->select.method->search == HY_STAGE_GATES;
    c->select.restart = hy_get_bool(section, "restart");
    if (c->select.method->check &&
        c->select.method->check(section, c->model.layers, c->select.budget, e))
        return hy_err_wrap(e, "%s", at_key(given, "method").text);
    return HY_OK;
}

/* ---- Behind the other sections ---- */

/* What layouts are compared by: some entry of data.eval must report it. */
static int choose_metric(struct hy_config *c, const struct hy_value *given, struct hy_err *e)
{
    const char *wanted = hy_get_string(c->select.options, "metric");
    const enum hy_metric asked = !strcmp(wanted, "auto")  ? c->select.metric
                                 : !strcmp(wanted, "ppl") ? HY_METRIC_PPL
                                                          : HY_METRIC_RECALL;
    if (asked && c->select.metric && asked != c->select.metric)
        return hy_fail(e, HY_E_USAGE, "%sselect.metric is %s, but the tolerance is one of %s",
                       at_key(given, "metric").text, wanted, hy_metric_name(c->select.metric));
    c->select.metric = asked;
    if (!asked)
        c->select.metric = hy_config_measures(c, HY_METRIC_PPL) ? HY_METRIC_PPL : HY_METRIC_RECALL;
    if (hy_config_measures(c, c->select.metric))
        return HY_OK;
    return hy_fail(e, HY_E_USAGE,
                   "%ssection select compares layouts by %s, but no task in data.eval measures it "
                   "at train.seq_len",
                   at_key(given, "tolerance").text, hy_metric_name(c->select.metric));
}

/* Sets an automatic number in the tree to what it stands for. */
static int settle_number(struct hy_config *c, const char *key, int64_t automatic, int64_t *out,
                         struct hy_err *e)
{
    struct hy_value *section = (struct hy_value *)c->select.options;
    *out = hy_get_int(section, key);
    if (*out >= 0)
        return HY_OK;
    *out = automatic;
    return hy_value_set(section, key, hy_value_int(automatic), e);
}

static int own(struct hy_config *c, struct hy_value *v, const struct hy_value **out,
               struct hy_err *e)
{
    if (!c->select.owned && !(c->select.owned = hy_value_list())) {
        hy_value_free(v);
        return hy_fail_memory(e);
    }
    *out = v;
    return hy_value_append(c->select.owned, v, e);
}

/* Only parameters that the pattern fits are trained. */
static int train_only(struct hy_config *c, struct hy_stage *s, const char *pattern,
                      struct hy_err *e)
{
    struct hy_value *list = hy_value_list();
    int rc = list ? hy_value_append(list, hy_value_string(pattern), e) : hy_fail_memory(e);
    if (rc) {
        hy_value_free(list);
        return rc;
    }
    return own(c, list, &s->trains, e);
}

/* settings: NULL: its defaults. */
static int add_objective(struct hy_config *c, struct hy_stage *s, const char *name,
                         const struct hy_value *settings, struct hy_err *e)
{
    const struct hy_objective *o = hy_objective_find(name);
    struct hy_value *options = NULL;
    const struct hy_value *kept = NULL;
    int rc = hy_options_resolve(o->options, settings, name, NULL, &options, e);
    if (!rc)
        rc = own(c, options, &kept, e);
    if (rc)
        return rc;
    s->objectives[s->objective_count].objective = o;
    s->objectives[s->objective_count].options = kept;
    s->objectives[s->objective_count++].weight = 1;
    return HY_OK;
}

/* A stage of its own, with what section train says of optimizer and schedule. */
static struct hy_stage stage_of(const struct hy_config *c, const char *name,
                                enum hy_stage_role role, int64_t steps)
{
    const double lr = hy_get_real(c->select.options, "lr");
    const double each = (double)(role == HY_STAGE_PROBES ? steps / c->model.layers : steps);
    struct hy_stage s = {
        .role = role,
        .steps = steps,
        .parts = 1,
        .lr = lr > 0 ? lr : c->train.lr,
        .lr_end = c->train.lr_end,
        .warmup = c->train.warmup < 1 || c->train.warmup < each ? c->train.warmup : each,
        .weight_decay = c->train.weight_decay,
        .clip = c->train.clip,
        .cosine = c->train.cosine,
    };
    snprintf(s.name, sizeof s.name, "%s", name);
    return s;
}

static int make_align(struct hy_config *c, int64_t steps, struct hy_stage *out, struct hy_err *e)
{
    char pattern[HY_KIND_NAME_SIZE + 16];
    *out = stage_of(c, "align", HY_STAGE_ALIGN, steps);
    snprintf(pattern, sizeof pattern, "*.attn.%s.*",
             c->layers.kinds[c->select.kind].branches[0].name);
    const int rc = train_only(c, out, pattern, e);
    return rc ? rc : add_objective(c, out, "twins", NULL, e);
}

/* The price of full layers, as options of objective full_layers. */
static int make_price(const struct hy_config *c, struct hy_value **out, struct hy_err *e)
{
    const double given = hy_get_real(c->select.options, "price");
    const double price = given > 0 ? given : c->select.tolerance;
    struct hy_value *map = hy_value_map();
    int rc = map ? HY_OK : hy_fail_memory(e);
    if (!rc && c->select.budget >= 0)
        rc = hy_value_set(map, "count", hy_value_int(c->select.budget), e);
    if (!rc && c->select.budget >= 0)
        rc = hy_value_set(map, "pull", hy_value_real(hy_get_real(c->select.options, "pull")), e);
    if (!rc && c->select.budget < 0)
        rc = hy_value_set(map, "price", hy_value_real(price), e);
    if (rc)
        hy_value_free(map);
    else
        *out = map;
    return rc;
}

static int make_gates(struct hy_config *c, int64_t steps, struct hy_stage *out, struct hy_err *e)
{
    struct hy_value *price = NULL;
    const int frozen = !strcmp(hy_get_string(c->select.options, "weights"), "frozen");
    *out = stage_of(c, "gates", HY_STAGE_GATES, steps);
    int rc = frozen ? train_only(c, out, "*.attn.gate.logit", e) : HY_OK;
    if (!rc)
        rc = add_objective(c, out, "lm", NULL, e);
    if (!rc)
        rc = make_price(c, &price, e);
    if (!rc)
        rc = add_objective(c, out, "full_layers", price, e);
    hy_value_free(price);
    return rc;
}

static int make_probes(struct hy_config *c, int64_t steps, struct hy_stage *out, struct hy_err *e)
{
    struct hy_value *map = hy_value_map();
    *out = stage_of(c, "probes", HY_STAGE_PROBES, steps * c->model.layers);
    out->parts = c->model.layers;
    int rc = map ? hy_value_set(map, "temperature",
                                hy_value_real(hy_get_real(c->select.options, "kl_temperature")), e)
                 : hy_fail_memory(e);
    if (!rc)
        rc = add_objective(c, out, "logits", map, e);
    hy_value_free(map);
    return rc;
}

/* The stages in front of the file's own. */
static int add_stages(struct hy_config *c, struct hy_err *e)
{
    const int64_t base = c->train.steps;
    const int has_source = hy_config_takes_weights(c);
    /* A budget of no layer, or of all, leaves nothing to search. */
    const int is_open = c->select.budget != 0 && c->select.budget != c->model.layers;
    const enum hy_stage_role search = is_open ? c->select.method->search : HY_STAGE_PLAIN;
    struct hy_stage first[2];
    int64_t align, searching = 0, repair;
    int count = 0;
    int rc = settle_number(c, "align", has_source ? (base + 4) / 5 : 0, &align, e);
    if (!rc)
        rc = settle_number(c, "steps",
                           search == HY_STAGE_GATES    ? (base + 1) / 2
                           : search == HY_STAGE_PROBES ? (base + 9) / 10
                                                       : 0,
                           &searching, e);
    if (!rc)
        rc = settle_number(c, "repair", c->select.budget >= 0 ? 0 : c->model.layers, &repair, e);
    if (!rc && align)
        rc = make_align(c, align, &first[count++], e);
    if (!rc && search == HY_STAGE_GATES)
        rc = make_gates(c, searching, &first[count++], e);
    if (!rc && search == HY_STAGE_PROBES)
        rc = make_probes(c, searching, &first[count++], e);
    if (rc)
        return rc;
    memmove(c->stages + count, c->stages, (size_t)c->stage_count * sizeof *c->stages);
    memcpy(c->stages, first, (size_t)count * sizeof *first);
    c->select.stage_count = count;
    c->stage_count += count;
    c->train.steps = hy_config_stage_start(c, c->stage_count);
    c->select.repair = (int)repair;
    return c->train.steps > INT32_MAX
               ? hy_fail(e, HY_E_USAGE, "%sthe stages have %lld steps; %d are possible",
                         hy_place_of(c->select.options).text, (long long)c->train.steps, INT32_MAX)
               : HY_OK;
}

/* What the method looks at must be there. */
static int check_method(const struct hy_config *c, const struct hy_value *given, struct hy_err *e)
{
    const struct hy_selector *method = c->select.method;
    const int has_source = hy_config_takes_weights(c);
    const int64_t align = hy_get_int(c->select.options, "align");
    const struct hy_value *weights = hy_value_get(c->select.options, "weights");
    if (method->needs_source && !has_source)
        return hy_fail(e, HY_E_USAGE,
                       "%smethod %s chooses among the layers of a trained model: name it in "
                       "init.from, as {mixer.ratio: full}",
                       at_key(given, "method").text, method->name);
    if (align > 0 && !has_source)
        return hy_fail(e, HY_E_USAGE,
                       "%sselect.align: there is no trained model that linear layers could be "
                       "aligned with; name one in init.from, as {mixer.ratio: full}",
                       at_key(given, "align").text);
    if (!align && (method->asks || method->search == HY_STAGE_PROBES))
        return hy_fail(e, HY_E_USAGE,
                       "%smethod %s needs linear layers that are aligned: select.align is 0",
                       at_key(given, "align").text, method->name);
    if (method->search != HY_STAGE_PLAIN && c->select.budget != 0 &&
        c->select.budget != c->model.layers && !hy_get_int(c->select.options, "steps"))
        return hy_fail(e, HY_E_USAGE, "%smethod %s trains before it chooses: select.steps is 0",
                       at_key(given, "steps").text, method->name);
    if (method->search == HY_STAGE_GATES && !has_source && !strcmp(weights->string, "frozen"))
        return hy_fail(e, HY_E_USAGE,
                       "%sselect.weights: frozen weights must be those of a trained model: name it "
                       "in init.from, as {mixer.ratio: full}",
                       at_key(given, "weights").text);
    if (method->search == HY_STAGE_GATES && c->select.metric == HY_METRIC_RECALL &&
        c->select.budget < 0 && !(hy_get_real(c->select.options, "price") > 0))
        return hy_fail(e, HY_E_USAGE,
                       "%sa tolerance of recall is no price in nats: set select.price, the nats "
                       "that all full layers together cost",
                       at_key(given, "tolerance").text);
    return HY_OK;
}

/* What the tolerance is against must be known. */
static int check_reference(const struct hy_config *c, const struct hy_value *tree,
                           const struct hy_value *given, struct hy_err *e)
{
    if (c->select.budget >= 0)
        return HY_OK;
    if (c->init.folder && (!c->init.takes || !c->select.stage_count))
        return hy_fail(e, HY_E_USAGE,
                       "%sselect.tolerance: what a folder's model loses is measured before its "
                       "linear layers are aligned: set select.align, and take its weights",
                       at_key(given, "tolerance").text);
    if (c->init.source && (!hy_value_equal(hy_value_at(c->tree, "data.eval"),
                                           hy_value_at(c->init.source->tree, "data.eval")) ||
                           c->init.source->train.seq_len != c->train.seq_len))
        return hy_fail(e, HY_E_USAGE,
                       "%sthe run of init.from is evaluated on other data, so that its loss is no "
                       "measure for select.tolerance",
                       hy_place_of(hy_value_get(tree, "init")).text);
    return HY_OK;
}

/* What has no place beside the section. */
static int check_others(const struct hy_config *c, const struct hy_value *tree,
                        const struct hy_value *given, struct hy_err *e)
{
    if (c->data.train[0].task->trains_nothing)
        return hy_fail(e, HY_E_USAGE,
                       "%ssection select has nothing to choose by: task %s trains nothing",
                       hy_place_of(given).text, c->data.train[0].task->name);
    if (c->init.strict)
        return hy_fail(e, HY_E_USAGE,
                       "%sinit.strict: while its layers are selected a model has weights that no "
                       "source has",
                       hy_place_of(hy_value_at(tree, "init.strict")).text);
    if (hy_value_at(tree, "model.match"))
        return hy_fail(e, HY_E_USAGE,
                       "%smodel.match needs a model whose layers are known; section select finds "
                       "them",
                       hy_place_of(hy_value_at(tree, "model.match")).text);
    if (c->run.stop.metric)
        return hy_fail(e, HY_E_USAGE,
                       "%srun.stop cannot end a run that has still to select its layers",
                       hy_place_of(hy_value_at(c->tree, "run.stop")).text);
    return HY_OK;
}

int hy_config_finish_select(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    const struct hy_value *given = hy_value_get(tree, "select");
    if (!c->select.method)
        return HY_OK;
    int rc = choose_metric(c, given, e);
    if (!rc)
        rc = add_stages(c, e);
    if (!rc)
        rc = check_method(c, given, e);
    if (!rc)
        rc = check_reference(c, tree, given, e);
    return rc ? rc : check_others(c, tree, given, e);
}

int hy_config_add_select(const struct hy_config *c, struct hy_value *map, struct hy_err *e)
{
    return c->select.method ? hy_value_set(map, "select", hy_value_copy(c->select.options), e)
                            : HY_OK;
}
