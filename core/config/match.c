/* model.match: one of the model's sizes, chosen so that the model has a given number of parameters,
 * FLOPs or bytes. Counts are exact: each candidate's graph is recorded without being run. */
#include "core/config/read.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/count.h"

static const struct hy_option match_options[] = {
    {"params", HY_OPT_AMOUNT, .def = 0, .min = 0, .max = 1e15, .help = "parameters"},
    {"flops", HY_OPT_AMOUNT, .def = 0, .min = 0, .max = 1e18,
     .help = "FLOPs per token of training, forward and backward"},
    {"state_bytes", HY_OPT_AMOUNT, .def = 0, .min = 0, .max = 1e15,
     .help = "bytes of a sequence's cache at context 1"},
    {"cache_bytes", HY_OPT_AMOUNT, .def = 0, .min = 0, .max = 1e15,
     .help = "bytes of a sequence's cache at the longest of eval.contexts"},
    {"by", HY_OPT_CHOICE, .text = "auto", .choices = "auto|mlp|d_model|heads",
     .help = "what is chosen; auto: mlp where it counts and every layer has one, else d_model"},
    {"tolerance", HY_OPT_REAL, .def = 0.05, .min = 0, .max = 1,
     .help = "how far from the target the nearest choice may be, as a fraction of it"},
    {0},
};

/* Rows of match_options. */
enum target { PARAMS, FLOPS, STATE_BYTES, CACHE_BYTES, TARGETS };

/* What the solver adds to the section, and by which it knows that the work is done. */
static const char *const answers[] = {"solved", "reached", "residual", NULL};

static const char *const sizes[] = {"auto", "mlp", "d_model", "heads"};

enum { MLP_STEP = 8, MOST_STEPS = 128, MOST_HEADS = 1024, MOST_MLP = 1048576, MOST_WIDTH = 65536 };

struct search {
    struct hy_value *bare; /* the settings without model.match */
    enum target target;
    double wanted;
    const char *by;     /* one of sizes[] */
    int64_t step, most; /* candidates are the multiples of step up to most */
    struct hy_data *data;
    struct hy_err why; /* of the candidate that was refused last */
    int64_t best;      /* nearest candidate so far, and what it gives */
    double reached;
    int found;
};

int hy_match_is_open(const struct hy_value *tree)
{
    const struct hy_value *match = hy_value_at(tree, "model.match");
    return match && match->type != HY_V_NULL && !hy_value_get(match, "solved");
}

/* The checked section with what the solver has added; NULL where there is none. */
static int resolve(const struct hy_value *given, struct hy_value **out, struct hy_err *e)
{
    *out = NULL;
    if (!given || given->type == HY_V_NULL)
        return HY_OK;
    struct hy_value *match = NULL;
    int rc = hy_options_resolve(match_options, given, "model.match", answers, &match, e);
    if (rc)
        return rc;
    int targets = 0;
    for (int i = 0; i < TARGETS; i++) {
        const char *key = match_options[i].key;
        if (hy_get_int(match, key))
            targets++;
        else
            hy_value_remove(match, key);
    }
    if (targets != 1)
        rc = hy_fail(e, HY_E_USAGE,
                     "%smodel.match has one target of params, flops, state_bytes and cache_bytes, "
                     "not %d",
                     hy_place_of(given).text, targets);
    for (const char *const *key = answers; !rc && *key; key++)
        if (hy_value_get(given, *key))
            rc = hy_value_set(match, *key, hy_value_copy(hy_value_get(given, *key)), e);
    if (rc)
        hy_value_free(match);
    else
        *out = match;
    return rc;
}

int hy_config_read_match(const struct hy_value *model, struct hy_value *section, struct hy_err *e)
{
    struct hy_value *match;
    const int rc = resolve(hy_value_get(model, "match"), &match, e);
    return rc || !match ? rc : hy_value_set(section, "match", match, e);
}

/* ---- Counting ---- */

static int open_data(struct search *s, const struct hy_config *c, struct hy_err *e)
{
    const struct hy_task_env env = {.seq_len = c->train.seq_len, .seed = (uint64_t)c->train.seed};
    return hy_data_open(c->data.train, c->data.train_count, c->data.eval, c->data.eval_count, &env,
                        &s->data, e);
}

static int count_trained(const struct search *s, const struct hy_config *c, double *out,
                         struct hy_err *e)
{
    const int vocab = hy_data_vocab(s->data);
    const struct hy_model_spec spec =
        hy_config_model(c, c->model.vocab > vocab ? c->model.vocab : vocab);
    const struct hy_shape shape = hy_config_step_shape(c);
    struct hy_model_count counted;
    const int rc =
        hy_model_count(&spec, &shape, hy_data_max_train_labels(s->data, shape.batch), &counted, e);
    if (!rc)
        *out = s->target == PARAMS ? (double)counted.params
                                   : counted.step_flops / (double)shape.batch / shape.tokens;
    return rc;
}

static int count(struct search *s, const struct hy_config *c, double *out, struct hy_err *e)
{
    if (s->target == PARAMS || s->target == FLOPS) {
        const int rc = s->data ? HY_OK : open_data(s, c, e);
        return rc ? rc : count_trained(s, c, out, e);
    }
    const int context = s->target == CACHE_BYTES ? hy_config_longest_context(c) : 1;
    const struct hy_model_spec spec = hy_config_model(c, 1);
    *out = (double)hy_model_state_elements(&spec, context) * (double)sizeof(hy_real);
    return HY_OK;
}

/* ---- Searching ---- */

/* The configuration with a candidate; an error where it does not fit. */
static int resolve_with(struct search *s, int64_t value, struct hy_config *c, struct hy_err *e)
{
    struct hy_value *model = (struct hy_value *)hy_value_get(s->bare, "model");
    const int rc = hy_value_set(model, s->by, hy_value_int(value), e);
    return rc ? rc : hy_config_resolve(s->bare, c, e);
}

static int fits(struct search *s, int64_t value)
{
    struct hy_config c;
    const int rc = resolve_with(s, value, &c, &s->why);
    if (!rc)
        hy_config_release(&c);
    return !rc;
}

/* What a candidate gives; it is kept if it is the nearest so far. */
static int measure(struct search *s, int64_t value, double *out, struct hy_err *e)
{
    struct hy_config c;
    int rc = resolve_with(s, value, &c, e);
    if (rc)
        return rc;
    rc = count(s, &c, out, e);
    hy_config_release(&c);
    if (!rc && (!s->found || fabs(*out - s->wanted) < fabs(s->reached - s->wanted))) {
        s->best = value;
        s->reached = *out;
        s->found = 1;
    }
    return rc;
}

/* The first multiple of 8 whose next multiples fit as well: what has to divide the width does so by
 * all of them. */
static int find_width_step(struct search *s, struct hy_err *e)
{
    for (int i = 1; i <= MOST_STEPS; i++) {
        s->step = 8 * i;
        if (fits(s, s->step) && fits(s, 2 * s->step) && fits(s, 3 * s->step))
            return HY_OK;
    }
    *e = s->why;
    return hy_err_wrap(e, "model.match finds no d_model");
}

/* Sizes by which the count only grows: doubles until it is enough, then halves the rest. */
static int search_multiples(struct search *s, struct hy_err *e)
{
    const int64_t most = s->most / s->step;
    int64_t low = 0, high = 1;
    double got = 0;
    int rc = measure(s, s->step, &got, e);
    while (!rc && got < s->wanted && high < most) {
        low = high;
        high = 2 * high < most ? 2 * high : most;
        rc = measure(s, high * s->step, &got, e);
    }
    while (!rc && high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        rc = measure(s, middle * s->step, &got, e);
        if (got < s->wanted)
            low = middle;
        else
            high = middle;
    }
    return rc;
}

static int search_heads(struct search *s, struct hy_err *e)
{
    int rc = HY_OK;
    for (int heads = 1; !rc && heads <= MOST_HEADS; heads++) {
        double got;
        if (fits(s, heads))
            rc = measure(s, heads, &got, e);
    }
    if (!rc && !s->found) {
        *e = s->why;
        rc = hy_err_wrap(e, "model.match finds no heads");
    }
    return rc;
}

/* What `auto` means for these settings. */
static int choose_size(struct search *s, struct hy_err *e)
{
    struct hy_config c;
    const int counts = s->target == PARAMS || s->target == FLOPS;
    s->by = "d_model";
    if (!counts)
        return HY_OK;
    s->by = "mlp";
    const int rc = resolve_with(s, MLP_STEP, &c, e);
    if (rc)
        return rc;
    int without = 0;
    for (int i = 0; i < c.layers.layout.layers; i++)
        without |= !c.layers.kinds[c.layers.layout.kinds[i]].has_mlp;
    if (without) {
        s->by = "d_model";
        hy_value_remove((struct hy_value *)hy_value_get(s->bare, "model"), "mlp");
    }
    hy_config_release(&c);
    return HY_OK;
}

static int search(struct search *s, struct hy_err *e)
{
    if (!strcmp(s->by, "heads"))
        return search_heads(s, e);
    const int is_width = !strcmp(s->by, "d_model");
    s->step = MLP_STEP;
    s->most = is_width ? MOST_WIDTH : MOST_MLP;
    const int rc = is_width ? find_width_step(s, e) : HY_OK;
    return rc ? rc : search_multiples(s, e);
}

/* ---- The answer ---- */

static double residual_of(const struct search *s)
{
    return s->reached / s->wanted - 1;
}

static int refuse(const struct search *s, const struct hy_value *match, struct hy_err *e)
{
    char bounds[96];
    if (s->step)
        snprintf(bounds, sizeof bounds, "%s goes from %lld to %lld in steps of %lld", s->by,
                 (long long)s->step, (long long)(s->most / s->step * s->step), (long long)s->step);
    else
        snprintf(bounds, sizeof bounds, "heads divide d_model");
    const char *target = match_options[s->target].key;
    return hy_fail(e, HY_E_USAGE,
                   "%sno %s reaches model.match.%s %.15g within %g %%: the nearest, %s %lld, gives "
                   "%.15g (%+.3g %%); %s",
                   hy_place_of(hy_value_get(match, target)).text, s->by, target, s->wanted,
                   100 * hy_get_real(match, "tolerance"), s->by, (long long)s->best, s->reached,
                   100 * residual_of(s), bounds);
}

/* Adds to match what was found: the sizes that now stand in place of given ones, what they reach.
 */
static int answer(struct search *s, struct hy_value *match, struct hy_err *e)
{
    struct hy_config c;
    int rc = resolve_with(s, s->best, &c, e);
    if (rc)
        return rc;
    const struct hy_value *mlp = hy_value_at(s->bare, "model.mlp");
    const int follows = !strcmp(s->by, "d_model") && (!mlp || mlp->integer < 0);
    rc = hy_value_set(match, "by", hy_value_string(s->by), e);
    if (!rc)
        rc = hy_value_put(match, "solved", hy_value_map(), e);
    struct hy_value *solved = (struct hy_value *)hy_value_get(match, "solved");
    if (!rc)
        rc = hy_value_set(solved, s->by, hy_value_int(s->best), e);
    if (!rc && follows)
        rc = hy_value_set(solved, "mlp", hy_value_int(c.model.mlp), e);
    if (!rc)
        rc = hy_value_set(match, "reached", hy_value_real(s->reached), e);
    if (!rc)
        rc = hy_value_set(match, "residual", hy_value_real(residual_of(s)), e);
    hy_config_release(&c);
    return rc;
}

static int begin(struct search *s, const struct hy_value *tree, const struct hy_value *match,
                 struct hy_err *e)
{
    while (!hy_value_get(match, match_options[s->target].key))
        s->target++;
    s->wanted = (double)hy_get_int(match, match_options[s->target].key);
    s->by = sizes[0];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(sizes[i], hy_get_string(match, "by")))
            s->by = sizes[i];
    s->bare = hy_value_copy(tree);
    if (!s->bare)
        return hy_fail_memory(e);
    hy_value_remove((struct hy_value *)hy_value_get(s->bare, "model"), "match");
    if (!strcmp(s->by, "auto"))
        return choose_size(s, e);
    if (!strcmp(s->by, "mlp") && s->target >= STATE_BYTES)
        return hy_fail(e, HY_E_USAGE,
                       "%smodel.match.by mlp does not change %s: use d_model or heads",
                       hy_place_of(hy_value_get(match, "by")).text, match_options[s->target].key);
    return HY_OK;
}

int hy_match_solve(const struct hy_value *tree, struct hy_value **out, struct hy_err *e)
{
    struct search s = {0};
    struct hy_value *match = NULL;
    int rc = resolve(hy_value_at(tree, "model.match"), &match, e);
    if (!rc)
        rc = begin(&s, tree, match, e);
    if (!rc)
        rc = search(&s, e);
    if (!rc && fabs(residual_of(&s)) > hy_get_real(match, "tolerance"))
        rc = refuse(&s, match, e);
    if (!rc)
        rc = answer(&s, match, e);
    if (!rc) {
        rc = hy_value_put(s.bare, "model.match", match, e);
        match = NULL;
    }
    if (rc)
        hy_value_free(s.bare);
    else
        *out = s.bare;
    hy_value_free(match);
    hy_data_close(s.data);
    return rc;
}
