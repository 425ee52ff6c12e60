/* cuda.c - every operator on a CUDA device against its twin on the CPU: values and gradients, a
 * gang against each of its replicas alone, a replayed run against the first; without backward; and
 * runs that go on from a cache.
 *
 *   cuda [--precision P] [--short] [--own] [OPERATOR...]
 *
 * --short: only the shorter of two sequence lengths, for runs under sanitizers. --own: only the
 * examples of kernels that the precision has for itself.
 * A program of its own, without a test library, so that it builds wherever the engine does. Exit
 * code 77: there is no device, nothing was compared. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/registry.h"
#include "tests/support/device_program.h"
#include "tests/cuda/wide.h"

enum {
    GANG = 3,
    WIDE = 100,
    HALF = 200,
    PART = 7,
    PARTS = 5,
    MAX_RESULTS = 2 * HY_MAX_INPUTS + HY_MAX_OUTPUTS,
    AMPLIFIED = 4,
    MOST_MISSES = 4 /* told of one operator */
};

static const int sizes[][2] = {{2, 19}, {2, 150}}; /* batch, tokens */

/* Largest error of a result, relative to its largest element, of products in each precision. */
static const double limits[] = {
    [HY_PRECISION_FLOAT32] = 1e-5, [HY_PRECISION_BF16] = 3e-2, [HY_PRECISION_TF32] = 3e-3};

static struct device_program self = {.name = "cuda", .kind = "OPERATOR"};

/* An operator's example, built and planned somewhere, and the tensors that it results in. */
struct subject {
    struct hy_graph *graph;
    int count;
    struct hy_tensor *result[MAX_RESULTS];
    const struct hy_tensor *gradient_of[MAX_RESULTS]; /* NULL: a result is an output */
};

static void stop(const char *what, const struct hy_err *e)
{
    device_program_stop(&self, what, e);
}

/* Replica r of a gang that begins with replica `first` draws what replica first + r would alone.
 * unit: what may be an operand of a product is rounded by so much of it, up or down by chance; a
 * decay is none. */
static void fill(struct hy_tensor *t, uint32_t index, int first, double unit)
{
    const double lo = t->lo < t->hi ? t->lo : -1, hi = t->lo < t->hi ? t->hi : 1;
    for (int r = 0; r < t->graph->shape.replicas; r++) {
        struct hy_rng rng = hy_rng_start(7, HY_RNG_CHECK, (uint32_t)(first + r), index);
        struct hy_rng chance = hy_rng_start(8, HY_RNG_CHECK, (uint32_t)(first + r), index);
        const double by = strstr(t->name, "decay") ? 0 : unit;
        void *data = hy_input(t, r);
        for (int64_t i = 0; i < t->rows * t->cols; i++) {
            if (t->dtype == HY_REAL)
                ((hy_real *)data)[i] = (hy_real)((lo + (hi - lo) * hy_rng_uniform(&rng)) *
                                                 (hy_rng_below(&chance, 2) ? 1 + by : 1 - by));
            else if (strcmp(t->name, "labels") == 0 && i % 2)
                ((int32_t *)data)[i] = -100; /* not scored */
            else
                ((int32_t *)data)[i] = (int32_t)hy_rng_below(&rng, 3);
        }
    }
}

/* What a kernel reads before anything was written there, scratch or a gradient, shows as NaN. Kept
 * tensors lie behind the others; they stay zero, since parts of a leaf may be without gradient. */
static void spoil(struct hy_graph *g)
{
    struct hy_err e = {0};
    size_t bytes = g->arena_bytes;
    for (int i = 0; i < g->tensor_count; i++) {
        const struct hy_tensor *t = g->tensors[i];
        if (t->pinned && !t->base && !t->slab && (size_t)t->place < bytes)
            bytes = (size_t)t->place;
    }
    void *nan = malloc(bytes + 1);
    if (!nan)
        exit(1);
    memset(nan, 0xff, bytes);
    if (bytes && hy_device_write(g->device, g->arena, nan, bytes, &e))
        stop("the arena", &e);
    free(nan);
}

static void add_result(struct subject *s, struct hy_tensor *t, const struct hy_tensor *gradient_of)
{
    if (!t || s->count == MAX_RESULTS)
        return;
    s->gradient_of[s->count] = gradient_of;
    s->result[s->count++] = t;
}

static void fill_rounded(struct subject *s, int first, double unit)
{
    for (int i = 0; i < s->graph->tensor_count; i++)
        if (s->graph->tensors[i]->input)
            fill(s->graph->tensors[i], (uint32_t)i, first, unit);
}

static void fill_all(struct subject *s, int first)
{
    fill_rounded(s, first, 0);
}

/* The index-th example of the operator itself; from WIDE and from HALF on those of
 * tests/cuda/wide.h.
 */
static int build(struct hy_graph *g, const struct hy_op_kind *kind, int index)
{
    if (index >= HALF)
        return half_example(g, kind, index - HALF);
    return index < WIDE ? kind->example && kind->example(g, index)
                        : wide_example(g, kind, index - WIDE);
}

/* Builds the example, in HY_TRAIN with all gradients; 0 where there is no such example. */
static int open_subject(struct subject *s, const struct hy_op_kind *kind, int index, int replicas,
                        const int *size, enum hy_mode mode, struct hy_device *device)
{
    const struct hy_shape shape = {
        .replicas = replicas,
        .batch = size[0],
        .tokens = size[1],
        .mode = mode,
        .precision = device ? self.precision : HY_PRECISION_FLOAT32,
    };
    struct hy_tensor *y[HY_MAX_OUTPUTS], *dy[HY_MAX_OUTPUTS];
    struct hy_err e = {0};
    int losses = 0;
    *s = (struct subject){.graph = hy_graph_new(&shape, NULL, NULL, NULL)};
    struct hy_graph *g = s->graph;
    if (!g)
        exit(1);
    g->device = device;
    if (!build(g, kind, index)) {
        hy_graph_free(g);
        return 0;
    }
    const struct hy_op *op = g->ops[g->forward_ops - 1];
    for (int i = 0; i < op->outputs; i++) {
        if (!op->out[i])
            continue;
        hy_graph_keep(op->out[i]);
        add_result(s, op->out[i], NULL);
        if (mode != HY_TRAIN || !op->out[i]->differentiable)
            continue;
        y[losses] = op->out[i];
        dy[losses++] = hy_graph_input(g, "dy", HY_REAL, op->out[i]->rows, op->out[i]->cols);
    }
    if (losses && hy_graph_backward(g, losses, y, dy, &e))
        stop(kind->name, &e);
    if (hy_graph_plan(g, &e))
        stop(kind->name, &e);
    if (device)
        spoil(g);
    for (int i = 0; i < g->tensor_count; i++)
        if (g->tensors[i]->input && g->tensors[i]->differentiable)
            add_result(s, g->tensors[i]->grad, g->tensors[i]);
    return 1;
}

static float *take(const struct hy_tensor *t, int replica)
{
    struct hy_err e = {0};
    float *out = malloc((size_t)(t->rows * t->cols) * sizeof *out);
    if (!out || hy_graph_read(t, replica, out, &e))
        stop(t->name, &e);
    return out;
}

/* The size that t has where nothing cancels by chance: a gradient that is summed over n rows of
 * about 1 has that of a random walk. */
static double size_of(const struct hy_tensor *t, int is_gradient)
{
    const struct hy_shape *shape = &t->graph->shape;
    const double rows = (double)shape->batch * shape->tokens;
    return is_gradient && (double)t->rows < rows ? sqrt(rows / (double)t->rows) : 0;
}

/* The largest error, relative to the largest element of the reference or to `size`. */
struct error {
    double worst;
    int64_t at; /* the element that has it */
};

static struct error error_of(const float *x, const float *reference, int64_t count, double size)
{
    struct error e = {0};
    double largest = size;
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs((double)x[i] - (double)reference[i]);
        if (isnan(error))
            return (struct error){INFINITY, i};
        if (error > e.worst)
            e = (struct error){error, i};
        largest = fmax(largest, fabs((double)reference[i]));
    }
    e.worst = largest > 0 ? e.worst / largest : e.worst;
    return e;
}

/* What a kind's examples showed at worst. */
struct verdict {
    const char *kind;
    int examples, misses;
    double value, gradient, gang; /* against the CPU; a replica in a gang against itself alone */
    int replay_differs;
};

/* Tells of a result beyond the limit: which, how large, how wrong and where. index: of the example;
 * x, reference: the result, and what it should be. */
static void tell(struct verdict *v, const struct subject *s, int i, int index, int replica,
                 struct error e, const float *x, const float *reference, const char *against)
{
    const struct hy_tensor *t = s->result[i], *of = s->gradient_of[i];
    const struct hy_shape *shape = &t->graph->shape;
    if (v->misses++ >= MOST_MISSES)
        return;
    printf("FAIL  %s example %d, %d x %d tokens: %s%s [%lld, %lld], replica %d, against %s: error "
           "%.1e at (%lld, %lld): %g, not %g\n",
           v->kind, index, shape->batch, shape->tokens, of ? "gradient of " : "",
           of         ? of->name
           : *t->name ? t->name
                      : "the output",
           (long long)t->rows, (long long)t->cols, replica, against, e.worst,
           (long long)(e.at / t->cols), (long long)(e.at % t->cols), (double)x[e.at],
           (double)reference[e.at]);
}

/* How far the result i is from the twin's in the replica. */
static struct error compare_result(const struct subject *s, const struct subject *twin, int i,
                                   int replica, float **x, float **reference)
{
    const struct hy_tensor *t = s->result[i];
    *x = take(t, replica);
    *reference = take(twin->result[i], replica);
    return error_of(*x, *reference, t->rows * t->cols, size_of(t, s->gradient_of[i] != NULL));
}

/* rounded: what the twin results in when its inputs are rounded. What is left of a sum that cancels
 * is as wrong as its terms, so a result may also be off by AMPLIFIED times of what that does to it.
 * NULL: it is not known. */
static void compare_with(const struct subject *s, const struct subject *twin,
                         const struct subject *rounded, int index, struct verdict *v)
{
    float *x, *reference;
    for (int i = 0; i < s->count; i++) {
        double *worst = s->gradient_of[i] ? &v->gradient : &v->value, most = limits[self.precision];
        for (int r = 0; rounded && r < GANG; r++) {
            const double rounding = compare_result(rounded, twin, i, r, &x, &reference).worst;
            most = fmax(most, isinf(rounding) ? 0 : AMPLIFIED * rounding);
            free(x);
            free(reference);
        }
        for (int r = 0; r < GANG; r++) {
            const struct error e = compare_result(s, twin, i, r, &x, &reference);
            *worst = fmax(*worst, e.worst);
            if (!(e.worst <= most))
                tell(v, s, i, index, r, e, x, reference, "the CPU");
            free(x);
            free(reference);
        }
    }
}

static void compare_replay(struct subject *s, int index, struct verdict *v)
{
    float *first[MAX_RESULTS];
    for (int i = 0; i < s->count; i++)
        first[i] = take(s->result[i], GANG - 1);
    for (int run = 0; run < 2; run++) { /* the first of them is captured */
        fill_all(s, 0);
        hy_graph_run(s->graph, NULL);
    }
    for (int i = 0; i < s->count; i++) {
        float *again = take(s->result[i], GANG - 1);
        const int64_t count = s->result[i]->rows * s->result[i]->cols;
        if (memcmp(first[i], again, (size_t)count * sizeof *again)) {
            v->replay_differs = 1;
            tell(v, s, i, index, GANG - 1, error_of(again, first[i], count, 0), again, first[i],
                 "the first run");
        }
        free(again);
        free(first[i]);
    }
}

static void compare_solo(const struct subject *gang, const struct hy_op_kind *kind, int index,
                         const int *size, struct verdict *v)
{
    for (int r = 0; r < GANG; r++) {
        struct subject solo;
        open_subject(&solo, kind, index, 1, size, HY_TRAIN, gang->graph->device);
        fill_all(&solo, r);
        hy_graph_run(solo.graph, NULL);
        for (int i = 0; i < gang->count; i++) {
            float *x = take(gang->result[i], r), *alone = take(solo.result[i], 0);
            const struct error e =
                error_of(x, alone, solo.result[i]->rows * solo.result[i]->cols, 0);
            v->gang = fmax(v->gang, e.worst);
            if (!(e.worst <= limits[self.precision]))
                tell(v, gang, i, index, r, e, x, alone, "itself alone");
            free(x);
            free(alone);
        }
        hy_graph_free(solo.graph);
    }
}

/* Forward alone, which may keep less. */
static void check_eval(const struct hy_op_kind *kind, int index, const int *size,
                       struct hy_device *device, struct verdict *v)
{
    struct subject s, twin;
    open_subject(&twin, kind, index, GANG, size, HY_EVAL, NULL);
    open_subject(&s, kind, index, GANG, size, HY_EVAL, device);
    fill_all(&s, 0);
    fill_all(&twin, 0);
    hy_graph_run(s.graph, NULL);
    hy_graph_run(twin.graph, NULL);
    compare_with(&s, &twin, NULL, index, v);
    hy_graph_free(s.graph);
    hy_graph_free(twin.graph);
}

/* Compares one example; 0 where there is none. */
static int check_example(const struct hy_op_kind *kind, int index, const int *size,
                         struct hy_device *device, struct verdict *v)
{
    struct subject s, twin, rounded;
    if (!open_subject(&twin, kind, index, GANG, size, HY_TRAIN, NULL))
        return 0;
    open_subject(&rounded, kind, index, GANG, size, HY_TRAIN, NULL);
    fill_rounded(&rounded, 0, device_program_unit(&self));
    hy_graph_run(rounded.graph, NULL);
    open_subject(&s, kind, index, GANG, size, HY_TRAIN, device);
    fill_all(&s, 0);
    fill_all(&twin, 0);
    hy_graph_run(s.graph, NULL);
    hy_graph_run(twin.graph, NULL);
    compare_with(&s, &twin, &rounded, index, v);
    hy_graph_free(rounded.graph);
    compare_replay(&s, index, v);
    compare_solo(&s, kind, index, size, v);
    v->examples++;
    hy_graph_free(s.graph);
    hy_graph_free(twin.graph);
    check_eval(kind, index, size, device, v);
    return 1;
}

/* Builds the index-th example with a cache of its own; 0 where there is none. */
static int open_cached(struct subject *s, struct hy_slab *cache, const struct hy_op_kind *kind,
                       int index, struct hy_device *device)
{
    const struct hy_shape shape = {
        .replicas = GANG, .batch = 2, .tokens = PART, .context = PART * PARTS, .mode = HY_CACHED};
    struct hy_err e = {0};
    hy_slab_init(cache, GANG);
    cache->device = device;
    *s = (struct subject){.graph = hy_graph_new(&shape, NULL, NULL, cache)};
    struct hy_graph *g = s->graph;
    if (!g)
        exit(1);
    g->device = device;
    if (!cached_example(g, kind, index)) {
        hy_graph_free(g);
        return 0;
    }
    const struct hy_op *op = g->ops[g->forward_ops - 1];
    for (int i = 0; i < op->outputs; i++) {
        hy_graph_keep(op->out[i]);
        add_result(s, op->out[i], NULL);
    }
    if (hy_slab_allocate(cache, &e) || hy_graph_plan(g, &e))
        stop(kind->name, &e);
    return 1;
}

/* Runs that go on from each other; the later ones are replayed. 0 where there is no example. */
static int check_cached(const struct hy_op_kind *kind, int index, struct hy_device *device,
                        struct verdict *v)
{
    struct subject s, twin;
    struct hy_slab cache, other;
    if (!open_cached(&twin, &other, kind, index, NULL))
        return 0;
    open_cached(&s, &cache, kind, index, device);
    for (int part = 0; part < PARTS; part++) {
        s.graph->position = twin.graph->position = part * PART;
        fill_all(&s, part);
        fill_all(&twin, part);
        hy_graph_run(s.graph, NULL);
        hy_graph_run(twin.graph, NULL);
        compare_with(&s, &twin, NULL, index, v);
    }
    v->examples++;
    hy_graph_free(s.graph);
    hy_graph_free(twin.graph);
    hy_slab_release(&cache);
    hy_slab_release(&other);
    return 1;
}

static void check_kind(const struct hy_op_kind *kind, struct hy_device *device, struct verdict *v)
{
    for (size_t n = 0; n < (self.is_short ? 1 : sizeof sizes / sizeof *sizes); n++) {
        for (int index = 0; !self.is_own && check_example(kind, index, sizes[n], device, v);)
            index++;
        for (int index = WIDE; !self.is_own && check_example(kind, index, sizes[n], device, v);)
            index++;
        for (int index = HALF; self.precision != HY_PRECISION_FLOAT32 &&
                               check_example(kind, index, sizes[n], device, v);)
            index++;
    }
    for (int index = 0; !self.is_own && check_cached(kind, index, device, v);)
        index++;
}

static int has_twin(const struct hy_op_kind *kind)
{
    for (int i = 0; hy_cuda_ops[i].name; i++)
        if (!strcmp(hy_cuda_ops[i].name, kind->name))
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    int missed = 0, compared = 0;
    device_program_begin(&self, argc, argv);
    printf("%-6s%-14s%9s%10s%10s%10s  %s\n", "", "operator", "examples", "values", "gradients",
           "gang", "replay");
    for (int i = 0; hy_ops[i]; i++) {
        struct verdict v = {.kind = hy_ops[i]->name};
        if (!device_program_wants(&self, hy_ops[i]->name))
            continue;
        if (!has_twin(hy_ops[i])) {
            printf("%-6s%-14s has no CUDA kernel\n", "FAIL", hy_ops[i]->name);
            missed++;
            continue;
        }
        check_kind(hy_ops[i], self.device, &v);
        if (self.is_own && !v.examples)
            continue;
        const int ok = v.examples && !v.misses;
        printf("%-6s%-14s%9d%10.1e%10.1e%10.1e  %s\n", ok ? "ok" : "FAIL", hy_ops[i]->name,
               v.examples, v.value, v.gradient, v.gang, v.replay_differs ? "differs" : "equal");
        fflush(stdout);
        missed += !ok;
        compared++;
    }
    printf("%d operators compared, %d missed\n", compared, missed);
    hy_device_close(self.device);
    return missed > 0;
}
