/* The rules of section run that end runs before their last step: stop and halving. */
#include "core/config/read.h"

#include <string.h>

static const char *const metrics[] = {
    [HY_METRIC_NONE] = "", [HY_METRIC_RECALL] = "recall", [HY_METRIC_PPL] = "ppl"};

static const struct hy_option stop_options[] = {
    {"metric", HY_OPT_CHOICE, .text = "recall", .choices = "recall|ppl",
     .help = "what is looked at, on validation data"},
    {"at", HY_OPT_REAL, .def = 0, .min = 0, .max = 1e12,
     .help = "the run ends once it is this good; 0: never"},
    {"patience", HY_OPT_INT, .def = 0, .min = 0, .max = 1 << 30,
     .help = "the run ends after so many evaluations without a better one; 0: never"},
    {0},
};

static const struct hy_option halving_options[] = {
    {"metric", HY_OPT_CHOICE, .text = "recall", .choices = "recall|ppl",
     .help = "what is compared, on validation data"},
    {"min_steps", HY_OPT_INT, .required = 1, .min = 1, .max = 2147483647,
     .help = "steps before the first comparison"},
    {"factor", HY_OPT_INT, .def = 3, .min = 2, .max = 1000,
     .help = "one run in so many goes on, to so many times the steps"},
    {"among", HY_OPT_CHOICE, .text = "sweep", .choices = "sweep|cell",
     .help = "who is compared: all runs, or those that differ in lr and seed alone"},
    {0},
};

const char *hy_metric_name(enum hy_metric metric)
{
    return metrics[metric];
}

int hy_metric_is_better(enum hy_metric metric, double a, double b)
{
    return metric == HY_METRIC_PPL ? a < b : a > b;
}

int64_t hy_rung_step(const struct hy_halving_rule *rule, int k, int64_t steps)
{
    int64_t step = rule->min_steps;
    while (k-- > 0 && step < steps)
        step *= rule->factor;
    return rule->metric && step < steps ? step : 0;
}

int hy_is_rung(const struct hy_halving_rule *rule, int64_t step)
{
    int64_t rung = rule->min_steps;
    while (rule->metric && rung < step)
        rung *= rule->factor;
    return rule->metric && rung == step;
}

int hy_config_measures(const struct hy_config *c, enum hy_metric metric)
{
    for (int i = 0; i < c->data.eval_count; i++) {
        const struct hy_source *s = &c->data.eval[i];
        if (s->seq_len == c->train.seq_len &&
            (metric == HY_METRIC_RECALL ? s->task->measures_recall : s->task->measures_text))
            return 1;
    }
    return 0;
}

static int read_metric(const struct hy_value *rule, const char *where, const struct hy_config *c,
                       enum hy_metric *out, struct hy_err *e)
{
    const int ppl = !strcmp(hy_get_string(rule, "metric"), "ppl");
    const enum hy_metric metric = ppl ? HY_METRIC_PPL : HY_METRIC_RECALL;
    if (!hy_config_measures(c, metric))
        return hy_fail(e, HY_E_USAGE,
                       "%s%s.metric is %s, but no task in data.eval measures it at train.seq_len",
                       hy_place_of(rule).text, where, metrics[metric]);
    *out = metric;
    return HY_OK;
}

/* Resolves one rule of the section; null where the sweep has none. */
static int resolve_rule(const struct hy_option *table, const struct hy_value *given,
                        const char *where, struct hy_value **out, struct hy_err *e)
{
    if (given && given->type != HY_V_NULL)
        return hy_options_resolve(table, given, where, NULL, out, e);
    *out = hy_value_null();
    return *out ? HY_OK : hy_fail_memory(e);
}

static int read_stop(const struct hy_value *rule, struct hy_config *c, struct hy_err *e)
{
    struct hy_stop_rule stop = {.at = hy_get_real(rule, "at"),
                                .patience = (int)hy_get_int(rule, "patience")};
    const struct hy_place at = hy_place_of(rule);
    const int rc = read_metric(rule, "run.stop", c, &stop.metric, e);
    if (rc)
        return rc;
    if (!stop.at && !stop.patience)
        return hy_fail(e, HY_E_USAGE, "%srun.stop needs 'at' or 'patience'", at.text);
    if (stop.metric == HY_METRIC_RECALL && stop.at > 1)
        return hy_fail(e, HY_E_USAGE, "%srun.stop.at is %g, but recall is at most 1", at.text,
                       stop.at);
    if (!c->eval.every)
        return hy_fail(e, HY_E_USAGE,
                       "%srun.stop looks at evaluations during training: set eval.every", at.text);
    c->run.stop = stop;
    return HY_OK;
}

static int read_halving(const struct hy_value *rule, struct hy_config *c, struct hy_err *e)
{
    struct hy_halving_rule halving = {.min_steps = hy_get_int(rule, "min_steps"),
                                      .factor = (int)hy_get_int(rule, "factor"),
                                      .among_cell = !strcmp(hy_get_string(rule, "among"), "cell")};
    const int rc = read_metric(rule, "run.halving", c, &halving.metric, e);
    if (rc)
        return rc;
    if (halving.min_steps >= c->train.steps)
        return hy_fail(e, HY_E_USAGE,
                       "%srun.halving.min_steps %lld leaves nothing to save of %lld steps",
                       hy_place_of(hy_value_get(rule, "min_steps")).text,
                       (long long)halving.min_steps, (long long)c->train.steps);
    c->run.halving = halving;
    return HY_OK;
}

int hy_config_read_rules(const struct hy_value *given, struct hy_value *section,
                         struct hy_config *c, struct hy_err *e)
{
    struct hy_value *stop = NULL, *halving = NULL;
    int rc = resolve_rule(stop_options, hy_value_get(given, "stop"), "run.stop", &stop, e);
    if (!rc && stop->type == HY_V_MAP)
        rc = read_stop(stop, c, e);
    if (!rc)
        rc = resolve_rule(halving_options, hy_value_get(given, "halving"), "run.halving", &halving,
                          e);
    if (!rc && halving->type == HY_V_MAP)
        rc = read_halving(halving, c, e);
    if (rc) {
        hy_value_free(halving);
        hy_value_free(stop);
        return rc;
    }
    rc = hy_value_set(section, "stop", stop, e);
    if (rc)
        hy_value_free(halving);
    else
        rc = hy_value_set(section, "halving", halving, e);
    return rc;
}
