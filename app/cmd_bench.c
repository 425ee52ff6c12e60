/* cmd_bench.c - how fast this machine trains and decodes each variant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/bench.h"
#include "app/command.h"
#include "app/print.h"
#include "core/base/log.h"
#include "core/base/rate.h"
#include "core/model/decoder.h"
#include "core/model/trainer.h"
#include "core/ops/products/gemm.h"

static const char usage[] = "hylas bench [VARIANT...] [options]";

/* Steps of all replicas together between two looks at a device, which works while the host prepares
 * the next. */
enum { DEVICE_STEPS = 8 };

struct training {
    struct hy_trainer trainer;
    struct hy_update *updates; /* a replica's each */
    int steps;                 /* taken at a time */
    int64_t step;
    struct hy_err e; /* the first failure */
};

static void train(void *context)
{
    struct training *t = context;
    int steps;
    for (int i = 0; i < t->steps; i++)
        hy_trainer_step(&t->trainer, ++t->step, t->updates);
    if (!t->e.code)
        hy_trainer_collect(&t->trainer, &steps, &t->e);
}

/* Random text, every position scored. */
static void fill(struct hy_trainer *t, int replica, int vocab)
{
    const int64_t rows = t->weights->rows;
    struct hy_rng rng = hy_rng_start((uint64_t)replica, HY_RNG_CHECK, 0, 0);
    int32_t *tokens = hy_input(t->ends.tokens, replica);
    int32_t *labels = hy_input(t->ends.labels, replica);
    hy_real *weights = hy_input(t->weights, replica);
    for (int64_t i = 0; i < rows; i++) {
        tokens[i] = (int32_t)hy_rng_below(&rng, (uint32_t)vocab);
        labels[i] = (int32_t)hy_rng_below(&rng, (uint32_t)vocab);
        weights[i] = 1 / (hy_real)rows;
    }
}

/* Gives all replicas the same initial values: drawing each its own would take longer than training.
 */
static int draw_gang(struct hy_slab *params, struct hy_err *e)
{
    int rc = hy_slab_draw(params, 0, 0, e);
    hy_real *values = malloc((size_t)params->count * sizeof *values);
    if (!rc && !values)
        rc = hy_fail_memory(e);
    if (!rc)
        rc = hy_slab_read(params, 0, values, e);
    for (int r = 1; r < params->replicas && !rc; r++)
        rc = hy_slab_write(params, r, values, e);
    free(values);
    return rc;
}

/* profile: NULL where not wanted. */
static int measure_training(const struct hy_model_spec *spec, const struct hy_bench *b,
                            struct hy_bench_point *p, int64_t *params, struct hy_grid *profile,
                            struct hy_err *e)
{
    const struct hy_shape shape = {.replicas = b->gang,
                                   .batch = p->batch,
                                   .tokens = p->tokens,
                                   .mode = HY_TRAIN,
                                   .precision = b->precision};
    const double rows = (double)p->batch * p->tokens;
    struct training t = {.steps = b->device && b->gang < DEVICE_STEPS ? DEVICE_STEPS / b->gang : 1};
    t.updates = calloc((size_t)b->gang, sizeof *t.updates);
    const struct hy_trainer_plan plan = {
        .spec = spec, .shape = &shape, .max_labels = (int64_t)rows, .device = b->device};
    int rc = t.updates ? hy_trainer_init(&t.trainer, &plan, e) : hy_fail_memory(e);
    if (rc || (rc = draw_gang(&t.trainer.params, e)))
        goto out;
    for (int r = 0; r < b->gang; r++)
        t.updates[r] = (struct hy_update){.lr = 1e-4, .weight_decay = .1, .clip = 1};
    t.trainer.optimizer.beta1 = .9;
    t.trainer.optimizer.beta2 = .95;
    t.trainer.optimizer.eps = 1e-8;
    for (int r = 0; r < b->gang; r++)
        fill(&t.trainer, r, spec->vocab);
    if (profile) {
        train(&t);
        t.trainer.graph->timed = 1;
    }
    p->rate = hy_rate(train, &t, b->seconds) * t.steps * rows * b->gang;
    p->flops = t.trainer.cost.flops / rows;
    p->bytes = t.trainer.cost.bytes / rows;
    p->memory = (int64_t)t.trainer.graph->arena_bytes;
    *params = t.trainer.params.count;
    if (t.e.code)
        rc = hy_fail(e, t.e.code, "%s", t.e.text);
    else if (t.trainer.frozen[0])
        rc = hy_fail(e, HY_E_RUN, "%s diverged", spec->kinds[0].name);
    else if (profile)
        hy_bench_add_profile(profile, spec->kinds[0].name, p->tokens, t.trainer.graph);
out:
    hy_trainer_release(&t.trainer);
    free(t.updates);
    return rc;
}

static int measure_decoding(const struct hy_model_spec *spec, const struct hy_bench *b,
                            struct hy_bench_point *p, int64_t *params, struct hy_grid *profile,
                            struct hy_err *e)
{
    struct hy_slab weights;
    struct hy_decoder d;
    hy_slab_init(&weights, 1);
    weights.device = b->device;
    int rc = hy_decoder_init(&d, spec, &weights, p->batch, p->tokens, 0, e);
    if (rc || (rc = hy_slab_draw(&weights, 0, 0, e)))
        goto out;
    if (profile) {
        hy_decoder_rate(&d, 0);
        d.graph->timed = 1;
    }
    p->rate = hy_decoder_rate(&d, b->seconds) * p->batch;
    const struct hy_cost cost = hy_graph_cost(d.graph);
    p->flops = cost.flops / p->batch;
    p->bytes = cost.bytes / p->batch;
    p->memory = d.cache_bytes;
    *params = weights.count;
    if (profile)
        hy_bench_add_profile(profile, spec->kinds[0].name, p->tokens, d.graph);
out:
    hy_decoder_release(&d);
    hy_slab_release(&weights);
    return rc;
}

static int check(const struct hy_model_spec *spec, struct hy_err *e)
{
    const struct hy_mixer m = hy_model_mixer(spec, 0, NULL);
    if (!hy_kind_check(&spec->kinds[0], &m, e))
        return HY_OK;
    return hy_err_wrap(e, "%s", spec->kinds[0].name);
}

/* Measures one variant at all lengths. */
static int measure(const struct hy_variant *v, const struct hy_bench *b, struct hy_grid *table,
                   struct hy_grid *profile, struct hy_err *e)
{
    struct hy_model_spec spec = {.d_model = b->d_model,
                                 .layers = b->layers,
                                 .heads = b->heads,
                                 .mlp = b->mlp,
                                 .vocab = b->vocab,
                                 .norm_eps = 1e-6,
                                 .init_std = .02,
                                 .kind_count = 1};
    struct hy_bench_point points[HY_BENCH_LENGTHS] = {0};
    struct hy_value *options = NULL;
    int64_t params = 0;
    int rc = hy_options_resolve(v->options, NULL, v->name, NULL, &options, e);
    if (!rc) {
        spec.kinds[0] = hy_kind_of(HY_LINEAR, v, options);
        snprintf(spec.kinds[0].name, sizeof spec.kinds[0].name, "%s", v->name);
    }
    if (rc ||
        (rc = hy_layout_from_ratio("pure", HY_PLACE_INTERLEAVE, b->layers, &spec.layout, e)) ||
        (rc = check(&spec, e)))
        goto out;
    for (int i = 0; i < b->length_count && !rc; i++) {
        struct hy_bench_point *p = &points[i];
        const int64_t fit = (int64_t)b->batch * b->lengths[0] / b->lengths[i];
        p->tokens = b->lengths[i];
        p->batch = b->decode ? b->batch : fit > 1 ? (int)fit : 1;
        rc = (b->decode ? measure_decoding : measure_training)(&spec, b, p, &params, profile, e);
        if (!rc)
            hy_info("%s, %d tokens, batch %d: %.0f tokens/s", v->name, p->tokens, p->batch,
                    p->rate);
    }
    if (!rc)
        hy_bench_add(table, b, v->name, params, points);
out:
    hy_value_free(options);
    return rc;
}

/* "256,512,1024" */
static int read_lengths(const char *text, struct hy_bench *b, struct hy_err *e)
{
    char item[16];
    b->length_count = 0;
    do {
        const size_t size = strcspn(text, ",");
        long value;
        if (b->length_count == HY_BENCH_LENGTHS)
            return hy_fail(e, HY_E_USAGE, "--tokens takes %d lengths at most", HY_BENCH_LENGTHS);
        snprintf(item, sizeof item, "%.*s", (int)size, text);
        const int rc = hy_args_int("--tokens", item, 1, 1 << 24, &value, e);
        if (rc)
            return rc;
        b->lengths[b->length_count++] = (int)value;
        text += size;
    } while (*text++ == ',');
    return HY_OK;
}

static int read_precision(const char *name, struct hy_bench *b, struct hy_err *e)
{
    const int precision = hy_precision_parse(name);
    if (precision < 0)
        return hy_fail(e, HY_E_USAGE, "--precision takes %s, not %s", hy_precision_choices, name);
    b->precision = (enum hy_precision)precision;
    return HY_OK;
}

static int read_options(int argc, char **argv, struct hy_bench *b, const struct hy_format **format,
                        int *profile, struct hy_err *e)
{
    int *const numbers[] = {&b->d_model, &b->layers, &b->heads,   &b->mlp,
                            &b->vocab,   &b->batch,  &b->threads, &b->gang};
    static const struct option options[] = {
        {"d-model", 1, NULL, 0},     {"layers", 1, NULL, 1},
        {"heads", 1, NULL, 2},       {"mlp", 1, NULL, 3},
        {"vocab", 1, NULL, 4},       {"batch", 1, NULL, 5},
        {"threads", 1, NULL, 6},     {"gang", 1, NULL, 7},
        {"device", 1, NULL, 'D'},    {"seconds", 1, NULL, 's'},
        {"tokens", 1, NULL, 't'},    {"decode", 0, NULL, 'd'},
        {"format", 1, NULL, 'f'},    {"profile", 0, NULL, 'p'},
        {"precision", 1, NULL, 'P'}, {0},
    };
    const char *device = "cpu";
    int c, rc = HY_OK;
    hy_args_begin();
    while (!rc && (c = hy_args_next(argc, argv, ":", options, e)) != -1) {
        long value;
        if (c == '?')
            return HY_E_USAGE;
        if (c == 't')
            rc = read_lengths(optarg, b, e);
        else if (c == 's')
            rc = hy_args_real("--seconds", optarg, 0, 3600, &b->seconds, e);
        else if (c == 'd')
            b->decode = 1;
        else if (c == 'p')
            *profile = 1;
        else if (c == 'P')
            rc = read_precision(optarg, b, e);
        else if (c == 'D')
            rc = (device = optarg, hy_is_device(optarg))
                     ? HY_OK
                     : hy_fail(e, HY_E_USAGE, "--device takes auto, cpu, cuda or cuda:K, not %s",
                               optarg);
        else if (c == 'f')
            rc = (*format = hy_format_find(optarg, e)) ? HY_OK : HY_E_USAGE;
        else if (!(rc = hy_args_int(options[c].name, optarg, 1, 1 << 24, &value, e)))
            *numbers[c] = (int)value;
    }
    if (rc)
        return rc;
    if (b->decode && b->precision)
        return hy_fail(e, HY_E_USAGE, "--decode computes in float32, not in %s",
                       hy_precision_name(b->precision));
    if (!b->mlp)
        b->mlp = 256 * ((b->d_model * 4 * 2 / 3 + 255) / 256);
    if (!b->batch)
        b->batch = b->decode ? 1 : 16;
    if (b->d_model % b->heads)
        return hy_fail(e, HY_E_USAGE, "--heads %d does not divide --d-model %d", b->heads,
                       b->d_model);
    for (int i = optind; i < argc; i++)
        if (!hy_variant_find(argv[i]))
            return hy_refuse_plugin((struct hy_mark){0}, "variant", argv[i],
                                    (const void *const *)hy_variants, e);
    if ((rc = hy_device_choose(device, 0, 0, &b->device, NULL, e)))
        return rc;
    return b->device ? HY_OK : hy_gemm_check(b->precision, e);
}

static int is_wanted(const char *name, int argc, char **argv)
{
    for (int i = optind; i < argc; i++)
        if (!strcmp(argv[i], name))
            return 1;
    return optind == argc;
}

static int run(int argc, char **argv, struct hy_err *e)
{
    struct hy_bench b = {.d_model = 256,
                         .layers = 8,
                         .heads = 4,
                         .vocab = 256,
                         .threads = 1,
                         .gang = 1,
                         .seconds = 5,
                         .lengths = {256},
                         .length_count = 1};
    const struct hy_format *format = &hy_formats[0];
    struct hy_grid table = {0}, profile = {0};
    int profiled = 0, rc = read_options(argc, argv, &b, &format, &profiled, e);
    if (rc)
        goto out;
    hy_gemm_set_threads(b.threads);
    b.peak = b.device ? hy_device_peak(b.device) : hy_gemm_peak(b.precision);
    hy_bench_begin(&table, &b);
    hy_bench_begin_profile(&profile);
    for (int i = 0; hy_variants[i] && !rc; i++)
        if (is_wanted(hy_variants[i]->name, argc, argv))
            rc = measure(hy_variants[i], &b, &table, profiled ? &profile : NULL, e);
    if (!rc)
        rc = hy_print_grid(&table, format, e);
    if (!rc && profiled) {
        printf("\n");
        rc = hy_print_grid(&profile, format, e);
    }
out:
    hy_grid_release(&profile);
    hy_grid_release(&table);
    hy_device_close(b.device);
    return rc;
}

const struct hy_command hy_command_bench = {
    .name = "bench",
    .usage = usage,
    .summary = "speed of each variant in training and decoding, against the GEMM peak and length",
    .help =
        "  --decode      one-token steps that fill a cache of --tokens, instead of training\n"
        "  --tokens LIST tokens per sequence (256); several, as in 256,512,1024, show the growth\n"
        "  --batch N     sequences per step (16; decoding: 1); in training fewer of longer ones,\n"
        "                so that a step has the tokens of the first length\n"
        "  --d-model N   width (256)\n"
        "  --layers N    layers (8)\n"
        "  --heads N     heads (4)\n"
        "  --mlp N       hidden width of the MLP (from the width)\n"
        "  --vocab N     vocabulary (256)\n"
        "  --threads N   threads (1)\n"
        "  --device D    cpu, cuda, cuda:K, or auto: a GPU where there is one (cpu)\n"
        "  --gang N      replicas that train in one graph; rates are those of all together (1)\n"
        "  --seconds S   time per variant and length (5)\n"
        "  --precision P float32, bf16 or tf32, of the operands of products in training (float32)\n"
        "  --format F    text, md, csv, latex or html\n"
        "  --profile     also the time of each kind of op\n",
    .run = run,
};
