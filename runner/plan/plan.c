#include "runner/plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/keys.h"
#include "core/ops/products/gemm.h"

/* What hy_config_title already says. */
static int is_in_title(const char *axis)
{
    static const char *const said[] = {
        "mixer.variant", "mixer.ratio",   "mixer.placement",  "mixer.layers", "layers.pattern",
        "layers.list",   "train.lr",      "train.seed",       "name",         "select",
        "select.method", "select.budget", "select.tolerance", "recipe",       "recipe.name"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strcmp(axis, said[i]))
            return 1;
    return 0;
}

static char *make_title(const struct hy_config *c, const struct hy_sweep *sweep)
{
    char usual[256];
    struct hy_buf text = {0};
    hy_config_title(c, usual, sizeof usual);
    hy_buf_text(&text, usual);
    for (size_t i = 0; i < sweep->axis_count; i++) {
        const char *axis = sweep->axes[i], *dot = strrchr(axis, '.');
        const struct hy_value *v = hy_value_at(c->tree, axis);
        /* What a whole section is told by would be longer than all else. */
        if (is_in_title(axis) || !v || (!dot && v->type == HY_V_MAP))
            continue;
        char *json = v->type == HY_V_STRING ? NULL : hy_value_to_json(v, 0);
        const char *value = v->type == HY_V_STRING ? v->string : json;
        hy_buf_printf(&text, " %s=%s", dot ? dot + 1 : axis, value ? value : "");
        text.failed |= !value;
        free(json);
    }
    if (hy_buf_failed(&text)) {
        hy_buf_release(&text);
        return NULL;
    }
    return text.data;
}

static void release_run(struct hy_plan_run *run)
{
    hy_config_release(&run->config);
    free(run->title);
    *run = (struct hy_plan_run){0};
}

/* What a model's needs depend on, as a hash: the settings without what only moves numbers. */
static int shape_key(const struct hy_value *settings, char key[HY_HASH_TEXT], struct hy_err *e)
{
    static const char *const numbers[] = {"lr",   "lr_end", "warmup", "schedule", "weight_decay",
                                          "clip", "beta1",  "beta2",  "eps",      "seed"};
    struct hy_value *tree = hy_value_copy(settings);
    char *json = NULL;
    if (!tree)
        return hy_fail_memory(e);
    struct hy_value *train = (struct hy_value *)hy_value_get(tree, "train");
    for (size_t i = 0; train && i < sizeof numbers / sizeof *numbers; i++)
        hy_value_remove(train, numbers[i]);
    json = hy_value_to_json(tree, 1);
    if (json)
        hy_hash_bytes(json, strlen(json), key);
    hy_value_free(tree);
    const int rc = json ? HY_OK : hy_fail_memory(e);
    free(json);
    return rc;
}

/* As hy_config_resolve, but solves model.match once for all runs of a shape: known remembers the
 * solved section. */
static int resolve(const struct hy_value *cell, struct hy_value *known, struct hy_config *out,
                   struct hy_err *e)
{
    char shape[HY_HASH_TEXT];
    if (!hy_value_at(cell, "model.match"))
        return hy_config_resolve(cell, out, e);
    int rc = shape_key(cell, shape, e);
    if (rc)
        return rc;
    const struct hy_value *model = hy_value_get(known, shape);
    if (!model) {
        rc = hy_config_resolve(cell, out, e);
        return rc ? rc
                  : hy_value_set(known, shape, hy_value_copy(hy_value_get(out->tree, "model")), e);
    }
    struct hy_value *solved = hy_value_copy(cell);
    rc = solved ? hy_value_set(solved, "model", hy_value_copy(model), e) : hy_fail_memory(e);
    if (!rc)
        rc = hy_config_resolve(solved, out, e);
    hy_value_free(solved);
    return rc;
}

/* Refuses a kind of section kinds that no run's layers use: a name was probably misspelt. */
static int check_kinds(const struct hy_sweep *sweep, const struct hy_plan *p, struct hy_err *e)
{
    const struct hy_value *kinds = hy_value_get(sweep->cells[0], "kinds");
    for (size_t i = 0; kinds && i < kinds->count; i++) {
        char path[64];
        int used = 0;
        snprintf(path, sizeof path, "kinds.%s", kinds->keys[i]);
        for (int run = 0; !used && run < p->count; run++)
            used = hy_value_at(p->runs[run].config.tree, path) != NULL;
        if (!used) {
            hy_fail(e, HY_E_USAGE,
                    "no layer of any run is of kind %s: name it in layers.pattern "
                    "or layers.list, or leave it out",
                    kinds->keys[i]);
            return hy_mark_wrap(kinds->key_marks[i], e);
        }
    }
    return HY_OK;
}

/* Adds a run unless its key is there. Takes config; *index: where it stands. */
static int add_run(struct hy_plan *p, struct hy_keys *keys, const struct hy_sweep *sweep,
                   struct hy_value *known, struct hy_config *config, int *index, struct hy_err *e)
{
    struct hy_plan_run run = {.config = *config, .source = -1};
    int rc = hy_config_key(&run.config, known, run.key, e);
    const int twin = rc ? -1 : hy_keys_put(keys, run.key, p->count);
    *index = twin < 0 ? p->count : twin;
    if (!rc && twin < 0 && !(run.title = make_title(&run.config, sweep)))
        rc = hy_fail_memory(e);
    if (rc || twin >= 0)
        release_run(&run);
    else
        p->runs[p->count++] = run;
    return rc;
}

static int add_cells(struct hy_plan *p, const struct hy_sweep *sweep, struct hy_value *known,
                     struct hy_err *e)
{
    struct hy_keys keys = {0};
    p->runs = calloc(sweep->cell_count, sizeof *p->runs);
    int rc = p->runs ? hy_keys_init(&keys, sweep->cell_count, e) : hy_fail_memory(e);
    for (size_t i = 0; !rc && i < sweep->cell_count; i++) {
        struct hy_config config;
        int index;
        rc = resolve(sweep->cells[i], known, &config, e);
        if (!rc)
            rc = add_run(p, &keys, sweep, known, &config, &index, e);
    }
    hy_keys_release(&keys);
    return rc;
}

/* Sources of sources included. */
static size_t count_sources(const struct hy_plan *p)
{
    size_t count = 0;
    for (int i = 0; i < p->count; i++)
        for (const struct hy_config *c = p->runs[i].config.init.source; c; c = c->init.source)
            count++;
    return count;
}

/* Adds the sources of all runs, those of sources too, and joins the runs to them. */
static int add_sources(struct hy_plan *p, const struct hy_sweep *sweep, struct hy_value *known,
                       struct hy_err *e)
{
    const size_t sources = count_sources(p);
    struct hy_keys keys = {0};
    if (!sources)
        return HY_OK;
    struct hy_plan_run *runs = realloc(p->runs, ((size_t)p->count + sources) * sizeof *runs);
    if (!runs)
        return hy_fail_memory(e);
    p->runs = runs;
    int rc = hy_keys_init(&keys, (size_t)p->count + sources, e);
    for (int i = 0; !rc && i < p->count; i++)
        hy_keys_put(&keys, p->runs[i].key, i);
    for (int i = 0; !rc && i < p->count; i++) {
        struct hy_config config;
        int source;
        if (!p->runs[i].config.init.source)
            continue;
        rc = hy_config_resolve(p->runs[i].config.init.source->tree, &config, e);
        if (!rc)
            rc = add_run(p, &keys, sweep, known, &config, &source, e);
        if (rc)
            break;
        p->runs[i].source = source;
        p->runs[source].dependants++;
        p->runs[source].config.run.halving = (struct hy_halving_rule){0};
    }
    hy_keys_release(&keys);
    return rc;
}

int hy_plan_make(const struct hy_sweep *sweep, struct hy_plan *out, struct hy_err *e)
{
    struct hy_plan p = {.combinations = sweep->cell_count};
    struct hy_value *known;
    if (!sweep->cell_count)
        return hy_fail(e, HY_E_USAGE, "sweep %s has no runs: everything is excluded", sweep->name);
    if (!(known = hy_value_map()))
        return hy_fail_memory(e);
    int rc = add_cells(&p, sweep, known, e);
    p.named = p.count;
    if (!rc)
        rc = check_kinds(sweep, &p, e);
    if (!rc)
        rc = add_sources(&p, sweep, known, e);
    hy_value_free(known);
    if (rc)
        hy_plan_release(&p);
    else
        *out = p;
    return rc;
}

void hy_plan_release(struct hy_plan *p)
{
    for (int i = 0; i < p->count; i++)
        release_run(&p->runs[i]);
    free(p->runs);
    *p = (struct hy_plan){0};
}

int hy_plan_estimate(struct hy_plan *p, struct hy_err *e)
{
    /* Runs that differ in seed or rate only share an estimate. */
    struct hy_keys shapes;
    int rc = hy_keys_init(&shapes, (size_t)p->count, e);
    for (int i = 0; !rc && i < p->count; i++) {
        struct hy_plan_run *run = &p->runs[i];
        char shape[HY_HASH_TEXT];
        rc = shape_key(run->config.tree, shape, e);
        const int twin = rc ? -1 : hy_keys_put(&shapes, shape, i);
        if (!rc && twin >= 0)
            run->estimate = p->runs[twin].estimate;
        else if (!rc && hy_trial_estimate(&run->config, &run->estimate, e))
            rc = hy_err_wrap(e, "run %d (%s)", i + 1, run->title);
    }
    hy_keys_release(&shapes);
    return rc;
}

/* The share of a matrix product's speed that training small models reaches, roughly. */
static const double usual_share = 0.5;

static int measure(enum hy_precision p, double *seconds_per_flop, struct hy_err *e)
{
    hy_gemm_set_threads(1);
    /* A device may know a precision that this processor does not. */
    const double peak = hy_gemm_peak(hy_gemm_check(p, NULL) ? HY_PRECISION_FLOAT32 : p);
    if (peak <= 0)
        return hy_fail_memory(e);
    *seconds_per_flop = 1 / (usual_share * peak);
    return HY_OK;
}

int hy_plan_time(struct hy_plan *p, struct hy_store *store, struct hy_err *e)
{
    static const char *const kinds[] = {NULL, "cpu", "cuda"}; /* NULL: run.device is auto */
    enum { KINDS = sizeof kinds / sizeof *kinds };
    double known[HY_PRECISION_TF32 + 1][KINDS] = {{0}}; /* seconds per FLOP */
    int rc = HY_OK;
    for (int i = 0; !rc && i < p->count; i++) {
        struct hy_plan_run *run = &p->runs[i];
        const enum hy_precision precision = run->config.train.precision;
        if (run->estimate.total_flops <= 0) /* it trains nothing */
            continue;
        size_t kind = KINDS - 1;
        while (kind && strncmp(run->config.run.device, kinds[kind], strlen(kinds[kind])) != 0)
            kind--;
        double *seconds_per_flop = &known[precision][kind];
        if (!*seconds_per_flop)
            rc = hy_store_seconds_per_flop(store, hy_precision_name(precision), kinds[kind],
                                           seconds_per_flop, e);
        if (!rc && !*seconds_per_flop)
            rc = measure(precision, seconds_per_flop, e);
        run->seconds = run->estimate.total_flops * *seconds_per_flop;
    }
    return rc;
}
