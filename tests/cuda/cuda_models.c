/* cuda_models.c - whole models on a CUDA device: training against the CPU, a gang against each of
 * its replicas alone, replayed steps against launched ones, a diverged replica beside healthy ones,
 * decoding against the parallel form. Every variant, alone and mixed with softmax, and a readout.
 *
 *   cuda_models [--precision P] [--short] [VARIANT...]
 *
 * --short: fewer tokens and steps, of the mixed models only, for where the device is emulated.
 * A program of its own, without a test library, so that it builds wherever the engine does. Exit
 * code 77: there is no device, nothing was compared. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mixers/mixer.h"
#include "core/model/trainer.h"
#include "tests/support/device_program.h"
#include "tests/support/small_model.h"

enum { GANG = 3, BATCH = 2, MOST_DECODED = 40 };

static struct device_program self = {.name = "cuda_models", .kind = "VARIANT"};

/* How much is compared: tokens of a training sequence, steps (the second is captured, later ones
 * are replayed), tokens that are decoded. */
static const struct extent {
    int tokens, steps, decoded;
} whole = {100, 4, MOST_DECODED}, part = {20, 3, 18};
static const struct extent *extent = &whole;

/* What may differ, relative to the size of what is compared: results of `precision` from the CPU's
 * float32; a replica in a gang from itself alone, since cuBLAS may choose its kernels by the batch;
 * a decoded logit from the parallel form's, in nats.
 *
 * Some models answer a rounding with far more than a rounding: a norm of a sum that nearly cancels
 * (the first tokens of linear attention) has the direction of what is left, and steps add to it. So
 * AMPLIFIED times of what a replica does on the CPU when its parameters are rounded once, each up
 * or down, may differ as well. In tf32 and bf16 one such sum of the three replicas still comes
 * nearer to zero than that shows, so there a model is judged by the median of its replicas: what is
 * wrong with a kernel is wrong in all of them, and what a replica has to do with its place in the
 * gang is compared operator by operator (cuda.c). */
enum { AMPLIFIED = 16 };
static const struct bounds {
    double loss, gradient, gang, decoding;
} bounds[] = {
    [HY_PRECISION_FLOAT32] = {1e-5, 1e-4, 1e-5, 1e-4},
    [HY_PRECISION_BF16] = {3e-2, 2e-1, 3e-2, 2e-1},
    [HY_PRECISION_TF32] = {4e-3, 3e-2, 4e-3, 3e-2},
};

/* A mixer of a convolution alone: what all models have in common, without attention or a scan. */
static const struct hy_option no_options[] = {{0}};
enum { TAPS = 3 };

static struct hy_tensor *plain_build(struct hy_mixer *m, struct hy_tensor *x)
{
    const struct hy_projection conv = {"conv1d", m->d_model};
    x = hy_mixer_linear(m, x, "i_proj", m->d_model);
    return hy_mixer_linear(m, hy_mixer_conv(m, x, 1, &conv, TAPS, NULL), "o_proj", m->d_model);
}

static int64_t plain_state(const struct hy_mixer *m, int64_t context)
{
    (void)context;
    return (int64_t)(TAPS - 1) * m->d_model;
}

static const struct hy_variant plain = {.name = "plain",
                                        .options = no_options,
                                        .full = 1,
                                        .build = plain_build,
                                        .state_elements = plain_state};

struct subject {
    const char *name, *letters; /* of the model; its layout */
    struct hy_model_spec spec;
    struct hy_value *linear_options, *full_options;
    const struct hy_stage *stage; /* NULL: all of it is trained, on its labels */
    struct hy_model_spec teacher; /* of the stage: softmax throughout */
};

/* The worst that was seen, in units of what may differ. rounding: what one of the parameters does
 * to a gradient. */
struct verdict {
    double cpu, gang, decoding, rounding;
    int replay_differs, frozen_moved, others_moved;
};

static void stop(const char *what, const struct hy_err *e)
{
    device_program_stop(&self, what, e);
}

static void subject_init(struct subject *s, const struct hy_variant *v, const char *layout,
                         int readout)
{
    const struct hy_variant *full = small_model_full(v);
    struct hy_err e;
    *s = (struct subject){.name = readout ? "readout" : v->name, .letters = layout};
    if (hy_options_resolve(v->options, NULL, v->name, NULL, &s->linear_options, &e) ||
        hy_options_resolve(full->options, NULL, full->name, NULL, &s->full_options, &e))
        stop(v->name, &e);
    s->spec = small_model(v, layout, s->linear_options, s->full_options);
    s->spec.readout = readout;
}

static void subject_release(struct subject *s)
{
    hy_value_free(s->linear_options);
    hy_value_free(s->full_options);
}

static int32_t token(uint64_t seed, int step, int64_t i)
{
    struct hy_rng rng = hy_rng_start(seed, HY_RNG_CHECK, (uint32_t)step, (uint32_t)i);
    return (int32_t)hy_rng_below(&rng, SMALL_VOCAB);
}

/* A trainer whose replica r is number first + r of the gang. */
static void open_trainer(struct hy_trainer *t, const struct subject *s, int first, int replicas,
                         struct hy_device *device)
{
    const struct hy_shape shape = {.replicas = replicas,
                                   .batch = BATCH,
                                   .tokens = extent->tokens,
                                   .mode = HY_TRAIN,
                                   .precision = device ? self.precision : HY_PRECISION_FLOAT32};
    const struct hy_trainer_plan plan = {.spec = &s->spec,
                                         .shape = &shape,
                                         .max_labels = BATCH * extent->tokens,
                                         .stage = s->stage,
                                         .teacher = s->stage ? &s->teacher : NULL,
                                         .device = device};
    struct hy_err e;
    if (hy_trainer_init(t, &plan, &e))
        stop(s->spec.kinds[HY_LINEAR].branches[0].variant->name, &e);
    for (int r = 0; r < replicas; r++)
        if (hy_slab_draw(&t->params, r, 100 + (uint64_t)(first + r), &e))
            stop("drawing", &e);
    t->optimizer.beta1 = .9;
    t->optimizer.beta2 = .95;
    t->optimizer.eps = 1e-8;
}

/* Takes all steps; the rate of replica number `wild` is absurd. */
static void train(struct hy_trainer *t, int first, int wild)
{
    struct hy_update u[GANG];
    struct hy_err e;
    int steps;
    for (int step = 1; step <= extent->steps; step++) {
        for (int r = 0; r < t->params.replicas; r++) {
            int32_t *tokens = hy_input(t->ends.tokens, r), *labels = hy_input(t->ends.labels, r);
            float *weights = hy_input(t->weights, r);
            for (int64_t i = 0; i < BATCH * extent->tokens; i++) {
                tokens[i] = token((uint64_t)(first + r), step, i);
                labels[i] = i % 3 ? token((uint64_t)(first + r), step, i + 1) : -100;
                weights[i] = i % 3 ? 1.0f / (BATCH * extent->tokens) : 0;
            }
            u[r] = (struct hy_update){1e-3 * (1 + first + r), .1, 1};
            u[r].lr = first + r == wild ? 1e30 : u[r].lr;
        }
        hy_trainer_step(t, step, u);
        /* On a device all are collected together, as a run does it. */
        if (!t->graph->device && hy_trainer_collect(t, &steps, &e))
            stop("collecting", &e);
        if (!t->graph->device)
            memmove(t->outcomes + step * t->params.replicas, t->outcomes,
                    (size_t)t->params.replicas * sizeof *t->outcomes);
    }
    if (t->graph->device && (hy_trainer_collect(t, &steps, &e) || steps != extent->steps))
        stop("collecting", &e);
}

/* Replica r's outcome of a step, from 1 on: on the CPU train() keeps them one place further. */
static struct hy_outcome outcome(const struct hy_trainer *t, int step, int r)
{
    return t->outcomes[(step - (t->graph->device != NULL)) * t->params.replicas + r];
}

static double relative(double x, double reference)
{
    const double error = fabs(x - reference) / fmax(fabs(reference), 1e-30);
    return isnan(error) ? INFINITY : error;
}

static float *read_slab(const struct hy_slab *slab, int replica)
{
    struct hy_err e;
    float *out = malloc((size_t)slab->count * sizeof *out);
    if (!out || hy_slab_read(slab, replica, out, &e))
        stop("reading", &e);
    return out;
}

/* Distance of two vectors over the length of the second. */
static double distance(const float *x, const float *reference, int64_t count)
{
    double apart = 0, length = 0;
    for (int64_t i = 0; i < count; i++) {
        const double d = (double)x[i] - (double)reference[i];
        apart += d * d;
        length += (double)reference[i] * (double)reference[i];
    }
    return isnan(apart) ? INFINITY : sqrt(apart / fmax(length, 1e-30));
}

/* Tells which parameter's gradient is farthest off. */
static void tell_gradient(const struct subject *s, const struct hy_slab *slab, const float *x,
                          const float *reference, int replica, const char *against)
{
    const struct hy_entry *worst = &slab->entries[0];
    double most = -1;
    for (int i = 0; i < slab->entry_count; i++) {
        const struct hy_entry *entry = &slab->entries[i];
        const double apart = distance(x + entry->offset, reference + entry->offset, entry->count);
        if (apart > most) {
            most = apart;
            worst = entry;
        }
    }
    printf("off   %s %s, replica %d, against %s: gradient %.1e off, most in %s: %.1e\n", s->name,
           s->letters, replica, against, distance(x, reference, slab->count), worst->name, most);
}

/* How far a replica of one trainer is from one of another, relative: loss and norm of the gradient
 * at their worst step, and the last gradient. */
struct distances {
    double loss, norm, gradient;
};

static struct distances distances_of(const struct hy_trainer *t, int r,
                                     const struct hy_trainer *twin, int twin_r)
{
    float *x = read_slab(&t->grads, r), *reference = read_slab(&twin->grads, twin_r);
    struct distances d = {.gradient = distance(x, reference, t->grads.count)};
    for (int step = 1; step <= extent->steps; step++) {
        const struct hy_outcome a = outcome(t, step, r), b = outcome(twin, step, twin_r);
        d.loss = fmax(d.loss, relative(a.loss, b.loss));
        d.norm = fmax(d.norm, relative(a.norm, b.norm));
    }
    free(x);
    free(reference);
    return d;
}

/* What is off, in units of what may be. */
static double share(double off, double most, double rounding)
{
    const double x = off / (most + AMPLIFIED * rounding);
    return isnan(x) ? INFINITY : x;
}

/* Compares replica r of t with replica twin_r of another; most: what may differ beyond
 * what a rounding does, which is `rounding`. Returns how far it is off in units of what it may be.
 */
static double judge(const struct subject *s, const struct hy_trainer *t, int r,
                    const struct hy_trainer *twin, int twin_r, const char *against,
                    struct distances most, struct distances rounding)
{
    const struct distances d = distances_of(t, r, twin, twin_r);
    const double loss = share(d.loss, most.loss, rounding.loss);
    const double norm = share(d.norm, most.norm, rounding.norm);
    const double gradient = share(d.gradient, most.gradient, rounding.gradient);
    const double worst = fmax(loss, fmax(norm, gradient));
    if (worst <= 1)
        return worst;
    printf(
        "FAIL  %s %s, replica %d, against %s: loss %.1e, norm %.1e, gradient %.1e off; a rounding "
        "does %.1e, %.1e, %.1e\n",
        s->name, s->letters, r, against, d.loss, d.norm, d.gradient, rounding.loss, rounding.norm,
        rounding.gradient);
    if (gradient > 1) {
        float *x = read_slab(&t->grads, r), *reference = read_slab(&twin->grads, twin_r);
        tell_gradient(s, &t->grads, x, reference, r, against);
        free(x);
        free(reference);
    }
    return worst;
}

/* Rounds every parameter, up or down by chance. */
static void round_params(struct hy_slab *params)
{
    struct hy_err e;
    for (int r = 0; r < params->replicas; r++) {
        float *values = read_slab(params, r);
        struct hy_rng rng = hy_rng_start(3, HY_RNG_CHECK, (uint32_t)r, 0);
        for (int64_t i = 0; i < params->count; i++)
            values[i] *= 1 + (float)device_program_unit(&self) * (hy_rng_below(&rng, 2) ? 1 : -1);
        if (hy_slab_write(params, r, values, &e))
            stop("rounding", &e);
        free(values);
    }
}

/* Do replica r of two trainers end with the same bits? */
static int same_params(const struct hy_trainer *a, const struct hy_trainer *b, int r)
{
    float *x = read_slab(&a->params, r), *y = read_slab(&b->params, r);
    const int same = !memcmp(x, y, (size_t)a->params.count * sizeof *x);
    free(x);
    free(y);
    return same;
}

/* Whether a parameter that the stage does not train has other bits than it began with. */
static int frozen_moved(const struct hy_trainer *t, const struct hy_stage *stage, int r)
{
    struct hy_slab first = t->params;
    struct hy_err e;
    int moved = 0;
    first.device = NULL;
    first.replicas = 1;
    if (hy_slab_allocate(&first, &e) || hy_slab_draw(&first, 0, 100 + (uint64_t)r, &e))
        stop("drawing", &e);
    float *now = read_slab(&t->params, r);
    for (int i = 0; i < t->params.entry_count; i++) {
        const struct hy_entry *entry = &t->params.entries[i];
        if (!hy_stage_trains(stage, entry->name))
            moved |= memcmp(now + entry->offset, first.data + entry->offset,
                            (size_t)entry->count * sizeof *now) != 0;
    }
    free(now);
    free(first.data);
    return moved;
}

/* The worst of the replicas, or their median. */
static double verdict_of(const double *off)
{
    const double least = fmin(off[0], fmin(off[1], off[2]));
    const double most = fmax(off[0], fmax(off[1], off[2]));
    return self.precision == HY_PRECISION_FLOAT32 || isinf(most)
               ? most
               : off[0] + off[1] + off[2] - least - most;
}

static void check_training(const struct subject *s, struct hy_device *device, struct verdict *v)
{
    double off_cpu[GANG], off_gang[GANG];
    const struct bounds *most = &bounds[self.precision];
    const struct distances of_cpu = {most->loss, most->gradient, most->gradient};
    const struct distances of_gang = {most->gang, most->gang, most->gang};
    struct hy_trainer gang, cpu, rounded, eager, wild;
    open_trainer(&gang, s, 0, GANG, device);
    open_trainer(&cpu, s, 0, GANG, NULL);
    open_trainer(&rounded, s, 0, GANG, NULL);
    round_params(&rounded.params);
    train(&gang, 0, -1);
    train(&cpu, 0, -1);
    train(&rounded, 0, -1);
    for (int r = 0; r < GANG; r++) {
        const struct distances rounding = distances_of(&rounded, r, &cpu, r);
        struct hy_trainer solo;
        off_cpu[r] = judge(s, &gang, r, &cpu, r, "the CPU", of_cpu, rounding);
        open_trainer(&solo, s, r, 1, device);
        train(&solo, r, -1);
        off_gang[r] = judge(s, &gang, r, &solo, 0, "itself alone", of_gang, rounding);
        hy_trainer_release(&solo);
        v->frozen_moved |= s->stage && frozen_moved(&gang, s->stage, r);
        v->rounding = fmax(v->rounding, rounding.gradient);
    }
    v->cpu = verdict_of(off_cpu);
    v->gang = verdict_of(off_gang);
    hy_trainer_release(&rounded);
    hy_trainer_release(&cpu);

    open_trainer(&eager, s, 0, GANG, device);
    eager.graph->eager = 1;
    train(&eager, 0, -1);
    for (int r = 0; r < GANG; r++)
        v->replay_differs |= !same_params(&gang, &eager, r);
    hy_trainer_release(&eager);

    open_trainer(&wild, s, 0, GANG, device);
    train(&wild, 0, 1);
    v->frozen_moved |= !wild.frozen[1] || wild.frozen[0] || wild.frozen[2];
    v->others_moved |= !same_params(&gang, &wild, 0) || !same_params(&gang, &wild, 2);
    hy_trainer_release(&wild);
    hy_trainer_release(&gang);
}

static struct hy_graph *open_graph(const struct subject *s, struct hy_slab *params,
                                   struct hy_slab *cache, int tokens, struct hy_model_ends *ends)
{
    const struct hy_shape shape = {.replicas = 1,
                                   .batch = BATCH,
                                   .tokens = tokens,
                                   .context = extent->decoded,
                                   .mode = cache ? HY_CACHED : HY_EVAL,
                                   .precision =
                                       params->device ? self.precision : HY_PRECISION_FLOAT32};
    struct hy_err e = {0};
    struct hy_graph *g = hy_graph_new(&shape, params, NULL, cache);
    if (!g)
        exit(1);
    g->device = params->device;
    hy_model_build(&s->spec, g, 0, ends);
    if ((!params->data && hy_slab_allocate(params, &e)) || (cache && hy_slab_allocate(cache, &e)) ||
        hy_graph_plan(g, &e))
        stop(s->spec.kinds[HY_LINEAR].branches[0].variant->name, &e);
    return g;
}

typedef float logit_rows[BATCH * MOST_DECODED][SMALL_VOCAB];

static void fill_tokens(const struct hy_model_ends *ends)
{
    int32_t *tokens = hy_input(ends->tokens, 0);
    for (int64_t i = 0; i < BATCH * extent->decoded; i++)
        tokens[i] = token(5, 0, i);
}

static void run_parallel(struct hy_graph *g, const struct hy_model_ends *ends, logit_rows out)
{
    struct hy_err e;
    fill_tokens(ends);
    hy_graph_run(g, NULL);
    if (hy_graph_read(ends->logits, 0, out, &e))
        stop("reading", &e);
}

static double apart(const float *x, const float *y)
{
    double worst = 0;
    for (int c = 0; c < SMALL_VOCAB; c++) {
        const double error = fabs((double)x[c] - (double)y[c]);
        worst = fmax(worst, isnan(error) ? INFINITY : error);
    }
    return worst;
}

/* What a rounding of the parameters does to a logit, on the CPU. */
static double rounding_of_logits(const struct subject *s)
{
    static logit_rows exact, rounded;
    struct hy_slab params;
    struct hy_model_ends ends;
    struct hy_err e;
    double worst = 0;
    hy_slab_init(&params, 1);
    struct hy_graph *g = open_graph(s, &params, NULL, extent->decoded, &ends);
    if (hy_slab_draw(&params, 0, 7, &e))
        stop("drawing", &e);
    run_parallel(g, &ends, exact);
    round_params(&params);
    run_parallel(g, &ends, rounded);
    for (int i = 0; i < BATCH * extent->decoded; i++)
        worst = fmax(worst, apart(exact[i], rounded[i]));
    hy_graph_free(g);
    hy_slab_release(&params);
    return worst;
}

/* Decodes tokens one by one and compares their logits with those of the whole sequence. A readout
 * speaks of position 0, and has seen all when the last token is read. */
static void check_decoding(const struct subject *s, struct hy_device *device, struct verdict *v)
{
    static logit_rows parallel;
    static float one[BATCH][SMALL_VOCAB];
    struct hy_slab params, cache;
    struct hy_model_ends ends, cached;
    struct hy_err e;
    hy_slab_init(&params, 1);
    hy_slab_init(&cache, 1);
    params.device = cache.device = device;
    struct hy_graph *all = open_graph(s, &params, NULL, extent->decoded, &ends);
    struct hy_graph *next = open_graph(s, &params, &cache, 1, &cached);
    const double most = bounds[self.precision].decoding + AMPLIFIED * rounding_of_logits(s);
    if (hy_slab_draw(&params, 0, 7, &e))
        stop("drawing", &e);
    run_parallel(all, &ends, parallel);
    for (int t = 0; t < extent->decoded; t++) {
        int32_t *tokens = hy_input(cached.tokens, 0);
        for (int b = 0; b < BATCH; b++)
            tokens[b] = token(5, 0, b * extent->decoded + t);
        next->position = t;
        hy_graph_run(next, NULL);
        if (hy_graph_read(cached.logits, 0, one, &e))
            stop("reading", &e);
        if (s->spec.readout && t < extent->decoded - 1)
            continue;
        for (int b = 0; b < BATCH; b++) {
            const int row = b * extent->decoded + (s->spec.readout ? 0 : t);
            v->decoding = fmax(v->decoding, apart(one[b], parallel[row]) / most);
        }
    }
    hy_graph_free(next);
    hy_graph_free(all);
    hy_slab_release(&cache);
    hy_slab_release(&params);
}

/* Prints a model's line; 1 where it is beyond its bounds. */
static int report(const struct subject *s, struct verdict v)
{
    const int bad = !(v.cpu <= 1 && v.gang <= 1 && v.decoding <= 1) || v.replay_differs ||
                    v.frozen_moved || v.others_moved;
    printf("%-6s%-26s%-4s%8.2f%8.2f%10.2f%10.1e  %-8s%s\n", bad ? "FAIL" : "ok", s->name,
           s->letters, v.cpu, v.gang, v.decoding, v.rounding,
           v.replay_differs ? "differs" : "equal",
           v.frozen_moved   ? "not frozen"
           : v.others_moved ? "spreads"
                            : "alone");
    fflush(stdout);
    return bad;
}

static int check(const struct hy_variant *variant, const char *layout, int readout)
{
    struct verdict v = {0};
    struct subject s;
    subject_init(&s, variant, layout, readout);
    check_training(&s, self.device, &v);
    check_decoding(&s, self.device, &v);
    subject_release(&s);
    return report(&s, v);
}

/* A stage of training with a teacher, every objective, parameters that are not trained, and
 * low-rank additions. */
static int check_stage(void)
{
    struct hy_value *trains, *on, *temperature;
    struct verdict v = {0};
    struct subject s;
    struct hy_err e;
    if (hy_value_from_json("[\"lora\", \"norms\", \"*b_proj*\"]", "stage", &trains, &e) ||
        hy_value_from_json("[\"q_proj\", \"v_proj\", \"down_proj\"]", "stage", &on, &e) ||
        hy_value_from_json("{\"temperature\": 2.0}", "stage", &temperature, &e))
        stop("the stage", &e);
    const struct hy_stage stage = {
        .objective_count = 3,
        .objectives = {{&hy_objective_lm, NULL, .5},
                       {hy_objective_find("logits"), temperature, 1},
                       {hy_objective_find("output"), NULL, 2}},
        .trains = trains,
        .lora = {4, 8, on},
    };
    subject_init(&s, hy_variant_find("gated_deltanet"), "LF", 0);
    s.name = "stage";
    s.stage = &stage;
    s.teacher = s.spec;
    s.teacher.prefix = HY_TEACHER_PREFIX;
    s.teacher.layout =
        small_model(hy_variant_find("gated_deltanet"), "FF", s.linear_options, s.full_options)
            .layout;
    check_training(&s, self.device, &v);
    subject_release(&s);
    hy_value_free(temperature);
    hy_value_free(on);
    hy_value_free(trains);
    return report(&s, v);
}

int main(int argc, char **argv)
{
    int missed = 0, compared = 0;
    device_program_begin(&self, argc, argv);
    extent = self.is_short ? &part : &whole;
    printf("%-6s%-30s%8s%8s%10s%10s  %-8s%s\n", "", "model", "CPU", "gang", "decoding", "rounding",
           "replay", "divergence");
    for (int i = -1; i < 0 || hy_variants[i]; i++) {
        const struct hy_variant *v = i < 0 ? &plain : hy_variants[i];
        const int mixes = v != &plain;
        if (!device_program_wants(&self, v->name))
            continue;
        if (!mixes || !self.is_short) {
            missed += check(v, "LL", 0);
            compared++;
        }
        missed += check(v, mixes ? "LF" : "LL", !mixes);
        compared++;
    }
    if (device_program_wants(&self, "gated_deltanet")) {
        missed += check_stage();
        compared++;
    }
    printf("%d models compared, %d missed\n", compared, missed);
    hy_device_close(self.device);
    return missed > 0 || !compared;
}
