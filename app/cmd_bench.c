/* cmd_bench.c - how fast this machine trains each variant, against its own matrix products. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/command.h"
#include "core/base/clock.h"
#include "core/base/option.h"
#include "core/model/model.h"
#include "core/model/optimizer.h"
#include "core/ops/support/gemm.h"

enum { ROUNDS = 5 };

struct bench {
    int d_model, layers, heads, mlp, vocab, batch, tokens, threads;
    double seconds; /* per variant */
    int profile;
};

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The ten kinds of op that took longest, forward and backward apart. */
static void print_profile(const struct hy_graph *g)
{
    struct {
        const char *name;
        enum hy_pass pass;
        double seconds, flops, bytes;
    } rows[128];
    int count = 0;
    double total = 0;
    for (int i = 0; i < g->op_count; i++) {
        const struct hy_op *op = g->ops[i];
        struct hy_cost cost = {0};
        int k = 0;
        if (!op->calls)
            continue;
        if (op->kind->cost)
            op->kind->cost(op, &cost);
        while (k < count && (rows[k].name != op->kind->name || rows[k].pass != op->pass))
            k++;
        if (k == count) {
            memset(&rows[count], 0, sizeof *rows);
            rows[count].name = op->kind->name;
            rows[count++].pass = op->pass;
        }
        rows[k].seconds += op->seconds;
        rows[k].flops += cost.flops * (double)op->calls;
        rows[k].bytes += cost.bytes * (double)op->calls;
        total += op->seconds;
    }
    for (int n = 0; n < count; n++) {
        int top = 0;
        for (int k = 1; k < count; k++)
            if (rows[k].seconds > rows[top].seconds)
                top = k;
        printf("    %-14s %-8s %5.1f %%  %7.1f GFLOP/s  %6.1f GB/s\n", rows[top].name,
               rows[top].pass == HY_FORWARD ? "forward" : "backward",
               100 * rows[top].seconds / total, rows[top].flops / rows[top].seconds * 1e-9,
               rows[top].bytes / rows[top].seconds * 1e-9);
        rows[top].seconds = -1;
    }
}

struct subject {
    struct hy_slab params, grads;
    struct hy_adamw optimizer;
    struct hy_graph *graph;
    struct hy_model_ends ends;
    struct hy_tensor *weights;
};

static void subject_release(struct subject *s)
{
    hy_graph_free(s->graph);
    hy_adamw_release(&s->optimizer);
    hy_slab_release(&s->grads);
    hy_slab_release(&s->params);
}

static int subject_init(struct subject *s, const struct hy_model_spec *spec, const struct bench *b,
                        struct hy_err *e)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = b->batch, .tokens = b->tokens, .mode = HY_TRAIN};
    const int64_t rows = (int64_t)b->batch * b->tokens;
    int rc;
    hy_slab_init(&s->params, 1);
    s->graph = hy_graph_new(&shape, &s->params, &s->grads, NULL);
    if (!s->graph)
        return hy_fail_memory(e);
    hy_model_build(spec, s->graph, rows, &s->ends);
    s->weights = hy_graph_input(s->graph, "weights", HY_REAL, rows, 1);
    if (s->graph->err.code) {
        *e = s->graph->err;
        return e->code;
    }
    if ((rc = hy_slab_allocate(&s->params, e)) || (rc = hy_slab_like(&s->grads, &s->params, e)) ||
        (rc = hy_adamw_init(&s->optimizer, &s->params, e)) ||
        (rc = hy_graph_backward(s->graph, 1, &s->ends.nll, &s->weights, e)) ||
        (rc = hy_graph_plan(s->graph, e)))
        return rc;
    s->optimizer.beta1 = .9;
    s->optimizer.beta2 = .95;
    s->optimizer.eps = 1e-8;
    hy_slab_draw(&s->params, 0, 0);
    struct hy_rng rng = hy_rng_start(0, HY_RNG_CHECK, 0, 0);
    int32_t *tokens = hy_data(s->ends.tokens, 0), *labels = hy_data(s->ends.labels, 0);
    hy_real *weights = hy_real_data(s->weights, 0);
    for (int64_t i = 0; i < rows; i++) {
        tokens[i] = (int32_t)hy_rng_below(&rng, (uint32_t)b->vocab);
        labels[i] = (int32_t)hy_rng_below(&rng, (uint32_t)b->vocab);
        weights[i] = 1 / (hy_real)rows;
    }
    return HY_OK;
}

static void step(struct subject *s, int64_t index)
{
    hy_graph_run(s->graph, NULL);
    const double norm = hy_adamw_norm(&s->grads, 0);
    hy_adamw_step(&s->optimizer, &s->params, &s->grads, 0, index, 1e-4, .1, 1, norm);
}

/* Trains one variant for about b->seconds and prints its line. */
static int bench_variant(const struct hy_variant *v, const struct bench *b, double peak,
                         struct hy_err *e)
{
    struct hy_model_spec spec = {.d_model = b->d_model,
                                 .layers = b->layers,
                                 .heads = b->heads,
                                 .mlp = b->mlp,
                                 .vocab = b->vocab,
                                 .norm_eps = 1e-6,
                                 .init_std = .02,
                                 .linear = v,
                                 .full = v};
    struct hy_value *options = NULL;
    struct subject s = {0};
    double rates[ROUNDS];
    int rc = hy_options_resolve(v->options, NULL, v->name, NULL, &options, e);
    if (rc || (rc = hy_layout_from_ratio(v->full ? "full" : "pure", HY_PLACE_INTERLEAVE, b->layers,
                                         &spec.layout, e)))
        goto out;
    spec.linear_options = spec.full_options = options;
    if ((rc = subject_init(&s, &spec, b, e)))
        goto out;
    const struct hy_cost cost = hy_graph_cost(s.graph);
    const double tokens = (double)b->batch * b->tokens;
    int64_t index = 1;
    step(&s, index++); /* the library compiles its kernels in the first step */
    s.graph->timed = b->profile;
    for (int round = 0; round < ROUNDS; round++) {
        const double start = hy_now();
        int steps = 0;
        do {
            step(&s, index++);
            steps++;
        } while (hy_now() - start < b->seconds / ROUNDS);
        rates[round] = steps / (hy_now() - start);
    }
    qsort(rates, ROUNDS, sizeof *rates, compare);
    const double rate = rates[ROUNDS / 2];
    printf("%-16s %9lld %10.0f %9.1f %7.1f %% %9.1f\n", v->name, (long long)s.params.count,
           rate * tokens, rate * cost.flops * 1e-9, 100 * rate * cost.flops / peak,
           (double)s.graph->arena_bytes / (1 << 20));
    if (b->profile)
        print_profile(s.graph);
    fflush(stdout);
out:
    subject_release(&s);
    hy_value_free(options);
    return rc;
}

static int read_number(const char *text, int *out, const char *option, struct hy_err *e)
{
    char *end;
    const long value = strtol(text, &end, 10);
    if (*end || end == text || value < 1 || value > 1 << 24)
        return hy_fail(e, HY_E_USAGE, "--%s takes a number from 1, not %s", option, text);
    *out = (int)value;
    return HY_OK;
}

static int bench_run(int argc, char **argv, struct hy_err *e)
{
    static const struct option longs[] = {{"d-model", 1, NULL, 'd'},
                                          {"layers", 1, NULL, 'l'},
                                          {"heads", 1, NULL, 'h'},
                                          {"mlp", 1, NULL, 'm'},
                                          {"vocab", 1, NULL, 'v'},
                                          {"batch", 1, NULL, 'b'},
                                          {"tokens", 1, NULL, 't'},
                                          {"threads", 1, NULL, 'n'},
                                          {"seconds", 1, NULL, 's'},
                                          {"profile", 0, NULL, 'p'},
                                          {0}};
    struct bench b = {.d_model = 256,
                      .layers = 8,
                      .heads = 4,
                      .vocab = 256,
                      .batch = 16,
                      .tokens = 256,
                      .threads = 1};
    int c, index, seconds = 5, rc = HY_OK;
    optind = 1;
    while (!rc && (c = getopt_long(argc, argv, "", longs, &index)) != -1) {
        int *const numbers[] = {&b.d_model, &b.layers, &b.heads,   &b.mlp,  &b.vocab,
                                &b.batch,   &b.tokens, &b.threads, &seconds};
        if (c == '?')
            rc = hy_fail(e, HY_E_USAGE, "usage: hylas bench [VARIANT...] [options]");
        else if (c == 'p')
            b.profile = 1;
        else
            rc = read_number(optarg, numbers[index], longs[index].name, e);
    }
    if (rc)
        return rc;
    if (!b.mlp)
        b.mlp = 256 * ((b.d_model * 4 * 2 / 3 + 255) / 256);
    if (b.d_model % b.heads)
        return hy_fail(e, HY_E_USAGE, "--heads %d does not divide --d-model %d", b.heads,
                       b.d_model);
    b.seconds = seconds;
    for (int i = optind; i < argc; i++)
        if (!hy_variant_find(argv[i]))
            return hy_fail(e, HY_E_USAGE, "no variant is called %s; hylas variants lists them",
                           argv[i]);
    hy_gemm_set_threads(b.threads);
    const double peak = hy_gemm_peak();
    printf("d_model %d, layers %d, heads %d, mlp %d, vocab %d, batch %d, T %d; float32, %s\n",
           b.d_model, b.layers, b.heads, b.mlp, b.vocab, b.batch, b.tokens, hy_gemm_library());
    printf("matrix products: %.1f GFLOP/s\n\n", peak * 1e-9);
    printf("%-16s %9s %10s %9s %9s %9s\n", "variant", "params", "tokens/s", "GFLOP/s", "of peak",
           "arena MiB");
    for (int i = 0; hy_variants[i] && !rc; i++) {
        int wanted = optind == argc;
        for (int k = optind; k < argc; k++)
            wanted |= !strcmp(argv[k], hy_variants[i]->name);
        if (wanted)
            rc = bench_variant(hy_variants[i], &b, peak, e);
    }
    return rc;
}

const struct hy_command hy_command_bench = {
    .name = "bench",
    .usage = "hylas bench [VARIANT...] [options]",
    .summary = "training speed per variant: tokens/s, FLOP/s and share of the GEMM peak",
    .help = "  --d-model N   width (256)\n"
            "  --layers N    layers (8)\n"
            "  --heads N     heads (4)\n"
            "  --mlp N       hidden width of the MLP (from the width)\n"
            "  --vocab N     vocabulary (256)\n"
            "  --batch N     sequences per step (16)\n"
            "  --tokens N    tokens per sequence (256)\n"
            "  --threads N   threads (1)\n"
            "  --seconds N   time per variant (5)\n"
            "  --profile     also the time of each kind of op\n",
    .run = bench_run,
};
