/* estimate.c - what a run will need, from its graphs alone, and whether the machine has it. */
#include "core/trial/trial.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "core/config/read.h"
#include "core/trial/engine.h"
#include "core/trial/noop.h"
#include "core/trial/origin.h"

/* What of a device gangs are laid out for: the rest is the driver's, the library's, and slack. */
static const double usable = 0.8;

static int check_device(const struct hy_engine *x, int gang, struct hy_device *device,
                        struct hy_err *e)
{
    const int64_t alone = hy_engine_bytes(x), wanted = alone * (gang ? gang : 1);
    if (wanted <= (int64_t)hy_device_bytes(device))
        return HY_OK;
    return hy_fail(e, HY_E_USAGE, "the run needs %lld bytes on %s, which has %zu; %s takes less",
                   (long long)wanted, hy_device_name(device), hy_device_bytes(device),
                   gang > 1 ? "a smaller run.gang, or auto,"
                            : "a smaller train.batch or model.d_model");
}

/* How many replicas the machine's devices, or the one that the configuration names, hold at once.
 */
static int fitting(const struct hy_engine *x, const struct hy_config *c, struct hy_device *device)
{
    if (!device)
        return 1;
    const int devices = strchr(c->run.device, ':') ? 1 : hy_device_count(NULL);
    const double fit =
        devices * floor(usable * (double)hy_device_bytes(device) / (double)hy_engine_bytes(x));
    return fit < 1 ? 1 : fit > INT_MAX ? INT_MAX : (int)fit;
}

static int64_t cache_bytes(const struct hy_engine *x, int64_t context)
{
    return hy_model_state_elements(&x->spec, context) * (int64_t)sizeof(hy_real);
}

/* The cache is built once the run is trained: too late to learn that there is no room for it. */
static int check_cache(const struct hy_engine *x, const struct hy_config *c, struct hy_err *e)
{
    const int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    const int longest = hy_config_longest_context(c);
    if (memory <= 0 || cache_bytes(x, longest) <= memory)
        return HY_OK;
    int fits = 0, over = longest;
    while (over - fits > 1) {
        const int middle = fits + (over - fits) / 2;
        if (cache_bytes(x, middle) <= memory)
            fits = middle;
        else
            over = middle;
    }
    return hy_fail(e, HY_E_USAGE,
                   "%seval.contexts %d: the cache of one sequence takes %lld bytes, more than the "
                   "%lld of this machine's memory, which holds at most %d tokens",
                   hy_place_of(hy_value_at(c->tree, "eval.contexts")).text, longest,
                   (long long)cache_bytes(x, longest), (long long)memory, fits);
}

static double evaluation_flops(struct hy_engine *x, const struct hy_config *c)
{
    double flops[3] = {0}; /* of one evaluation, by split */
    for (int s = 0; s < hy_data_eval_count(x->data); s++) {
        const struct hy_evaluator *v = hy_engine_evaluator(x, s);
        const int batch = v->graph->shape.batch;
        for (int split = HY_SPLIT_VALID; split <= HY_SPLIT_TEST; split++) {
            const int64_t count =
                hy_data_eval_task(x->data, s)->count(hy_data_eval_state(x->data, s), split);
            flops[split] += (double)((count + batch - 1) / batch) * v->cost.flops;
        }
    }
    const int64_t validations = c->eval.every ? (c->train.steps - 1) / c->eval.every : 0;
    return flops[HY_SPLIT_VALID] * (double)(validations + 1) + flops[HY_SPLIT_TEST];
}

/* Weights that do not fit are found before anything is trained. */
static int check_weights_of(const struct hy_engine *x, const struct hy_config *c, struct hy_err *e)
{
    const struct hy_config *source = c->init.source;
    struct hy_weights_report report = {0};
    struct hy_origin origin = {0};
    struct hy_engine from;
    if (!hy_config_takes_weights(c))
        return HY_OK;
    const struct hy_engine_plan plan = {.configs = &source, .count = 1, .dry = 1};
    int rc = source ? hy_engine_init(&from, &plan, e) : hy_origin_open(c, NULL, &origin, e);
    if (!rc && source)
        rc = hy_weights_plan(&from.trainer.params, &origin.weights, e);
    const struct hy_weights_order order = hy_origin_order(&origin, c);
    if (!rc)
        rc = hy_weights_check(&origin.weights, &order, &x->trainer.params, &report, e);
    hy_weights_report_release(&report);
    hy_origin_close(&origin);
    if (source)
        hy_engine_release(&from);
    return rc ? hy_mark_wrap(hy_value_get(c->tree, "init")->mark, e) : HY_OK;
}

/* They go into the model of the first stage, which is not the last one's where layers are selected.
 */
static int check_weights(const struct hy_engine *x, const struct hy_config *c, struct hy_err *e)
{
    const struct hy_engine_plan plan = {.configs = &c, .count = 1, .dry = 1};
    struct hy_engine first;
    if (!c->select.method)
        return check_weights_of(x, c, e);
    int rc = hy_engine_init(&first, &plan, e);
    if (!rc)
        rc = check_weights_of(&first, c, e);
    hy_engine_release(&first);
    return rc;
}

int hy_trial_estimate(const struct hy_config *config, struct hy_estimate *out, struct hy_err *e)
{
    if (hy_is_noop(config)) {
        *out = (struct hy_estimate){.replicas = 1};
        return HY_OK;
    }
    struct hy_engine x;
    struct hy_device *device = NULL;
    /* Where the device is another machine's the plan is the CPU's. */
    (void)hy_device_choose(config->run.device, 0, 1, &device, NULL, NULL);
    const struct hy_engine_plan plan = {
        .configs = &config,
        .count = 1,
        .stage = config->select.method ? config->select.stage_count : 0,
        .device = device,
        .dry = 1,
    };
    int rc = hy_engine_init(&x, &plan, e);
    if (!rc && device)
        rc = check_device(&x, config->run.gang, device, e);
    if (!rc)
        rc = check_cache(&x, config, e);
    if (!rc)
        rc = check_weights(&x, config, e);
    if (rc)
        goto out;
    const double tokens = (double)hy_config_step_tokens(config);
    const double step_flops = hy_engine_step_flops(&x, config);
    struct hy_estimate estimate = {
        .params = hy_model_params(&x.trainer.params),
        .replicas = fitting(&x, config, device),
        .train_bytes = x.alone.all,
        .state_bytes = hy_model_state_elements(&x.spec, 1) * (int64_t)sizeof(hy_real),
        .flops_per_token = step_flops / tokens,
        .total_flops = (double)config->train.steps * step_flops + evaluation_flops(&x, config),
    };
    rc = hy_engine_measure_cache(&x, hy_config_longest_context(config), &estimate.cache_bytes, NULL,
                                 e);
    if (!rc)
        *out = estimate;
out:
    hy_engine_release(&x);
    hy_device_close(device);
    return rc;
}
