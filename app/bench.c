#include "app/bench.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/products/gemm.h"

static const double mebi = 1 << 20;

/* Columns of the data: a row per variant and length. */
static const char *const columns[] = {
    "mode",         "variant", "params",      "d_model", "layers",      "heads",
    "mlp",          "vocab",   "threads",     "tokens",  "batch",       "tokens_per_s",
    "ns_per_token", "growth",  "gflop_per_s", "of_peak", "gbyte_per_s", "memory_bytes",
    "precision",    "gang",    "device"};

__attribute__((format(printf, 5, 6))) static void put(struct hy_grid *g, struct hy_sheet *s,
                                                      int row, int *column, const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    hy_grid_set(g, s, row, (*column)++, text);
}

double hy_bench_growth(const struct hy_bench *b, const struct hy_bench_point *points)
{
    const int n = b->length_count;
    double x = 0, y = 0, xx = 0, xy = 0;
    for (int i = 0; i < n; i++) {
        const double length = log(points[i].tokens);
        const double time = (b->decode ? 0 : length) - log(points[i].rate);
        x += length;
        y += time;
        xx += length * length;
        xy += length * time;
    }
    return n > 1 ? (n * xy - x * y) / (n * xx - x * x) : NAN;
}

void hy_bench_begin(struct hy_grid *g, const struct hy_bench *b)
{
    char text[512];
    const int many = b->length_count > 1;
    int at = snprintf(text, sizeof text, "%s: d_model %d, layers %d, heads %d, mlp %d, vocab %d",
                      b->decode ? "Decoding" : "Training", b->d_model, b->layers, b->heads, b->mlp,
                      b->vocab);
    if (!many)
        at += snprintf(text + at, sizeof text - (size_t)at, ", batch %d, %s %d", b->batch,
                       b->decode ? "context" : "T", b->lengths[0]);
    if (b->gang > 1)
        at += snprintf(text + at, sizeof text - (size_t)at, ", gangs of %d", b->gang);
    if (b->device)
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "; %s, %s, %s, bf16 products %.1f GFLOP/s", hy_precision_name(b->precision),
                       hy_device_name(b->device), hy_device_library(b->device), b->peak * 1e-9);
    else
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "; %s, %s, %d thread%s, products %.1f GFLOP/s",
                       hy_precision_name(b->precision), hy_gemm_library(), b->threads,
                       b->threads > 1 ? "s" : "", b->peak * 1e-9);
    if (many)
        snprintf(text + at, sizeof text - (size_t)at,
                 "; microseconds per token at lengths, growth: exponent of the time per %s",
                 b->decode ? "token" : "sequence");
    hy_grid_title(g, text);
    hy_grid_add_column(g, &g->page, "variant", HY_LEFT);
    hy_grid_add_column(g, &g->page, "params", HY_RIGHT);
    for (int i = 0; i < b->length_count && many; i++) {
        snprintf(text, sizeof text, "%d", b->lengths[i]);
        hy_grid_add_column(g, &g->page, text, HY_RIGHT);
    }
    hy_grid_add_column(g, &g->page, many ? "growth" : "tokens/s", HY_RIGHT);
    if (!many) {
        hy_grid_add_column(g, &g->page, b->decode ? "GB/s" : "GFLOP/s", HY_RIGHT);
        if (!b->decode)
            hy_grid_add_column(g, &g->page, "of peak", HY_RIGHT);
    }
    hy_grid_add_column(g, &g->page, b->decode ? "cache MiB" : "arena MiB", HY_RIGHT);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        hy_grid_add_column(g, &g->data, columns[i], i < 2 ? HY_LEFT : HY_RIGHT);
}

static void add_data(struct hy_grid *g, const struct hy_bench *b, const char *variant,
                     int64_t params, const struct hy_bench_point *p, double growth)
{
    struct hy_sheet *s = &g->data;
    const int row = hy_grid_add_row(g, s);
    const long long numbers[] = {params,   b->d_model, b->layers, b->heads, b->mlp,
                                 b->vocab, b->threads, p->tokens, p->batch};
    int c = 0;
    put(g, s, row, &c, "%s", b->decode ? "decode" : "train");
    put(g, s, row, &c, "%s", variant);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(g, s, row, &c, "%lld", numbers[i]);
    put(g, s, row, &c, "%.6g", p->rate);
    put(g, s, row, &c, "%.6g", 1e9 / p->rate);
    if (isfinite(growth))
        put(g, s, row, &c, "%.4f", growth);
    else
        c++;
    put(g, s, row, &c, "%.6g", p->rate * p->flops * 1e-9);
    put(g, s, row, &c, "%.4f", p->rate * p->flops / b->peak);
    put(g, s, row, &c, "%.6g", p->rate * p->bytes * 1e-9);
    put(g, s, row, &c, "%lld", (long long)p->memory);
    put(g, s, row, &c, "%s", hy_precision_name(b->precision));
    put(g, s, row, &c, "%d", b->gang);
    put(g, s, row, &c, "%s", b->device ? hy_device_name(b->device) : "cpu");
}

void hy_bench_add(struct hy_grid *g, const struct hy_bench *b, const char *variant, int64_t params,
                  const struct hy_bench_point *points)
{
    const double growth = hy_bench_growth(b, points);
    const struct hy_bench_point *last = &points[b->length_count - 1];
    struct hy_sheet *s = &g->page;
    const int row = hy_grid_add_row(g, s);
    int c = 0;
    put(g, s, row, &c, "%s", variant);
    put(g, s, row, &c, "%lld", (long long)params);
    if (b->length_count > 1) {
        for (int i = 0; i < b->length_count; i++)
            put(g, s, row, &c, "%.1f", 1e6 / points[i].rate);
        put(g, s, row, &c, "%.2f", growth);
    } else {
        put(g, s, row, &c, "%.0f", last->rate);
        put(g, s, row, &c, "%.1f", last->rate * (b->decode ? last->bytes : last->flops) * 1e-9);
        if (!b->decode)
            put(g, s, row, &c, "%.1f %%", 100 * last->rate * last->flops / b->peak);
    }
    put(g, s, row, &c, "%.2f", (double)last->memory / mebi);
    for (int i = 0; i < b->length_count; i++)
        add_data(g, b, variant, params, &points[i], growth);
}

void hy_bench_begin_profile(struct hy_grid *g)
{
    static const char *const heads[] = {"variant", "T", "op", "pass", "time", "GFLOP/s", "GB/s"};
    hy_grid_title(g, "Time by kind of operator");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        const enum hy_align align = i == 0 || i == 2 || i == 3 ? HY_LEFT : HY_RIGHT;
        hy_grid_add_column(g, &g->page, heads[i], align);
        hy_grid_add_column(g, &g->data, heads[i], align);
    }
}

struct usage {
    const struct hy_op *first; /* of its kind and pass */
    double seconds, flops, bytes;
};

static int slower(const void *a, const void *b)
{
    const double x = ((const struct usage *)a)->seconds, y = ((const struct usage *)b)->seconds;
    return (x < y) - (x > y);
}

void hy_bench_add_profile(struct hy_grid *g, const char *variant, int tokens,
                          const struct hy_graph *graph)
{
    struct usage *rows = calloc((size_t)graph->op_count + 1, sizeof *rows);
    int count = 0;
    double total = 0;
    if (!rows) {
        g->failed = 1;
        return;
    }
    for (int i = 0; i < graph->op_count; i++) {
        const struct hy_op *op = graph->ops[i];
        struct hy_cost cost = {0};
        int k = 0;
        if (!op->calls)
            continue;
        if (op->kind->cost)
            op->kind->cost(op, &cost);
        while (k < count && (rows[k].first->kind != op->kind || rows[k].first->pass != op->pass))
            k++;
        if (k == count)
            rows[count++].first = op;
        rows[k].seconds += op->seconds;
        rows[k].flops += cost.flops * (double)op->calls;
        rows[k].bytes += cost.bytes * (double)op->calls;
        total += op->seconds;
    }
    qsort(rows, (size_t)count, sizeof *rows, slower);
    for (int i = 0; i < count; i++) {
        struct hy_sheet *const sheets[] = {&g->page, &g->data};
        for (int k = 0; k < 2; k++) {
            const int row = hy_grid_add_row(g, sheets[k]);
            int c = 0;
            put(g, sheets[k], row, &c, "%s", variant);
            put(g, sheets[k], row, &c, "%d", tokens);
            put(g, sheets[k], row, &c, "%s", rows[i].first->kind->name);
            put(g, sheets[k], row, &c, "%s",
                rows[i].first->pass == HY_FORWARD ? "forward" : "backward");
            put(g, sheets[k], row, &c, "%.1f %%", 100 * rows[i].seconds / total);
            put(g, sheets[k], row, &c, "%.1f", rows[i].flops / rows[i].seconds * 1e-9);
            put(g, sheets[k], row, &c, "%.1f", rows[i].bytes / rows[i].seconds * 1e-9);
        }
    }
    free(rows);
}
