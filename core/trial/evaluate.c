/* evaluate.c - runs the evaluation sets through the model and lets their tasks score the
 * predictions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/trial/engine.h"
#include "core/trial/shares.h"

/* Scores of questions by where their answer lies. */
struct distance {
    int64_t count;
    double hits, nll;
};

/* What one source's scores of one replica are added up in. */
struct collector {
    const struct hy_audience *to;
    int replica;
    void *scorer; /* of the task */
    const char *task, *split;
    const char *component; /* "": the whole model */
    int reach;             /* of windows beside linear terms; 0: there are none */
    struct distance within, beyond;
    int length;                          /* of the sequences where it is not training's, else 0 */
    double accuracy, nll, bits_per_byte; /* of the whole split; NaN where not scored */
};

static void collect(void *context, const char *slice, const char *metric, double value, int64_t n)
{
    struct collector *c = context;
    (void)n;
    if (!*slice && !strcmp(metric, "accuracy"))
        c->accuracy = value;
    if (!*slice && !strcmp(metric, "nll"))
        c->nll = value;
    if (!*slice && !strcmp(metric, "bits_per_byte"))
        c->bits_per_byte = value;
    char named[128];
    if (c->length)
        snprintf(named, sizeof named, "length=%d%s%s", c->length, *slice ? "," : "", slice);
    const struct hy_row row = {
        .type = HY_ROW_SLICE,
        .task = c->task,
        .split = c->split,
        .slice = c->length ? named : slice,
        .component = c->component,
        .name = metric,
        .value = value,
    };
    c->to->emit(c->to->context, c->replica, &row);
}

/* Of a text the likelihood alone: there an answer is a guess among others. */
static void collect_distance(struct collector *c, const struct hy_task *task, const char *side,
                             const struct distance *d)
{
    char slice[64];
    snprintf(slice, sizeof slice, "%s=%d", side, c->reach);
    if (!d->count)
        return;
    if (task->measures_recall)
        collect(c, slice, "accuracy", d->hits / (double)d->count, d->count);
    collect(c, slice, "nll", d->nll / (double)d->count, d->count);
}

static void discard(void *context, const char *slice, const char *metric, double value, int64_t n)
{
    (void)context, (void)slice, (void)metric, (void)value, (void)n;
}

/* One batch of sequences on its way through the model. */
struct window {
    int32_t *tokens, *labels; /* in the shared vocabulary */
    int32_t *local_tokens, *local_labels;
    int32_t *where; /* the answers of the batch's questions are, -1: unknown */
    float *nll;
    uint8_t *hit;
    hy_real *all_nll, *all_hit; /* of the whole batch */
};

static int window_init(struct window *w, size_t sequences, size_t seq_len, struct hy_err *e)
{
    const size_t n = sequences * seq_len;
    w->tokens = calloc(n, sizeof *w->tokens);
    w->labels = calloc(n, sizeof *w->labels);
    w->local_tokens = calloc(seq_len, sizeof *w->local_tokens);
    w->local_labels = calloc(seq_len, sizeof *w->local_labels);
    w->where = calloc(n, sizeof *w->where);
    w->nll = calloc(seq_len, sizeof *w->nll);
    w->hit = calloc(seq_len, sizeof *w->hit);
    w->all_nll = calloc(n, sizeof *w->all_nll);
    w->all_hit = calloc(n, sizeof *w->all_hit);
    if (!w->tokens || !w->labels || !w->local_tokens || !w->local_labels || !w->where || !w->nll ||
        !w->hit || !w->all_nll || !w->all_hit)
        return hy_fail_memory(e);
    return HY_OK;
}

static void window_release(struct window *w)
{
    free(w->tokens);
    free(w->labels);
    free(w->local_tokens);
    free(w->local_labels);
    free(w->where);
    free(w->nll);
    free(w->hit);
    free(w->all_nll);
    free(w->all_hit);
}

/* Row `row` of the batch in the task's own vocabulary. */
static void localise(struct window *w, int seq_len, int row, int shift)
{
    const size_t first = (size_t)row * (size_t)seq_len;
    for (int t = 0; t < seq_len; t++) {
        const int32_t label = w->labels[first + (size_t)t];
        w->local_tokens[t] = w->tokens[first + (size_t)t] - shift;
        w->local_labels[t] = label == HY_NO_LABEL ? label : label - shift;
    }
}

/* Where the answers of the batch's questions are. */
static void find_evidence(const struct hy_data *data, struct window *w, int source, int seq_len,
                          int rows, int shift)
{
    const struct hy_task *task = hy_data_eval_task(data, source);
    for (int i = 0; i < rows * seq_len; i++)
        w->where[i] = -1;
    for (int row = 0; task->evidence && row < rows; row++) {
        localise(w, seq_len, row, shift);
        task->evidence(hy_data_eval_state(data, source), w->local_tokens, w->local_labels,
                       w->where + (size_t)row * (size_t)seq_len);
    }
}

/* Hands row `row` of the batch, as a replica predicted it, to its scorer. */
static void score(const struct hy_data *data, const struct hy_evaluator *v, struct window *w,
                  int source, struct collector *c, int row, int64_t index, int shift)
{
    const int seq_len = v->graph->shape.tokens;
    const size_t first = (size_t)row * (size_t)seq_len;
    const hy_real *nll = w->all_nll + first, *hit = w->all_hit + first;
    const int32_t *where = w->where + first;
    localise(w, seq_len, row, shift);
    for (int t = 0; t < seq_len; t++) {
        w->nll[t] = (float)nll[t];
        w->hit[t] = hit[t] > 0;
        if (!c->reach || where[t] < 0)
            continue;
        struct distance *d = t - where[t] >= c->reach ? &c->beyond : &c->within;
        d->count++;
        d->hits += w->hit[t];
        d->nll += (double)w->nll[t];
    }
    const struct hy_prediction p = {.index = index,
                                    .tokens = w->local_tokens,
                                    .labels = w->local_labels,
                                    .nll = w->nll,
                                    .hit = w->hit};
    hy_data_eval_task(data, source)->score_add(hy_data_eval_state(data, source), c->scorer, &p);
}

/* Which branches the layers follow, where they are being selected. */
static void fill_gates(const struct hy_engine *x, const struct hy_evaluator *v)
{
    const int layers = x->spec.layers;
    for (int r = 0; v->ends.gates.given && r < x->replicas; r++) {
        hy_real *gates = hy_input(v->ends.gates.given, r);
        for (int i = 0; i < layers; i++)
            gates[i] = !x->full[r * layers + i];
    }
}

/* Runs `rows` sequences from `first` on through the chosen replicas, who see the same. */
static int evaluate_batch(struct hy_engine *x, int source, enum hy_split split, int64_t first,
                          int rows, const unsigned char *chosen, struct window *w,
                          struct collector *c, struct hy_err *e)
{
    const struct hy_evaluator *v = hy_engine_evaluator(x, source);
    const int batch = v->graph->shape.batch, seq_len = v->graph->shape.tokens;
    const size_t bytes = (size_t)batch * (size_t)seq_len * sizeof(int32_t);
    int shift = 0, rc = HY_OK;
    for (int k = 0; k < batch * seq_len; k++)
        w->labels[k] = HY_NO_LABEL;
    for (int i = 0; i < rows; i++)
        hy_data_eval_fill(x->data, source, split, first + i, w->tokens + i * seq_len,
                          w->labels + i * seq_len, &shift);
    for (int r = 0; r < x->replicas; r++) {
        memcpy(hy_input(v->ends.tokens, r), w->tokens, bytes);
        memcpy(hy_input(v->ends.labels, r), w->labels, bytes);
    }
    fill_gates(x, v);
    if (c->reach) /* else nobody asks */
        find_evidence(x->data, w, source, seq_len, rows, shift);
    hy_graph_run(v->graph, chosen);
    for (int r = 0; r < x->replicas && !rc; r++) {
        if (!chosen[r])
            continue;
        rc = hy_graph_read(v->ends.nll, r, w->all_nll, e);
        if (!rc)
            rc = hy_graph_read(v->ends.hit, r, w->all_hit, e);
        if (!rc && x->shares && split == HY_SPLIT_TEST && x->component == HY_COMPONENT_FULL)
            rc = hy_shares_add(x, v, r, rows, w->where, e);
        for (int i = 0; i < rows && !rc; i++)
            score(x->data, v, w, source, &c[r], i, first + i, shift);
    }
    return rc;
}

static int evaluate_source(struct hy_engine *x, int source, enum hy_split split,
                           const unsigned char *chosen, const struct hy_audience *to,
                           struct collector *c, struct hy_err *e)
{
    const struct hy_shape *shape = &hy_engine_evaluator(x, source)->graph->shape;
    const struct hy_task *task = hy_data_eval_task(x->data, source);
    const void *state = hy_data_eval_state(x->data, source);
    const int64_t count = task->count(state, split);
    const int batch = shape->batch;
    struct window w = {0};
    int rc = window_init(&w, (size_t)batch, (size_t)shape->tokens, e);
    for (int r = 0; r < x->replicas && !rc; r++)
        if (chosen[r])
            rc = task->score_begin(state, split, &c[r].scorer, e);
    for (int64_t first = 0; first < count && !rc; first += batch) {
        const int rows = count - first < batch ? (int)(count - first) : batch;
        rc = evaluate_batch(x, source, split, first, rows, chosen, &w, c, e);
        if (!rc && to->pulse(to->context))
            rc = hy_fail(e, HY_E_INTERRUPTED, "stopped during evaluation");
    }
    /* score_end also frees the scorer; a cut-off evaluation has no scores. */
    for (int r = 0; r < x->replicas; r++) {
        if (!c[r].scorer)
            continue;
        task->score_end(state, c[r].scorer, rc ? discard : collect, &c[r]);
        if (!rc) {
            collect_distance(&c[r], task, "within", &c[r].within);
            collect_distance(&c[r], task, "beyond", &c[r].beyond);
        }
    }
    window_release(&w);
    return rc;
}

/* What rows call a source: its task, numbered from the second entry of one task and length on,
 * since rows of equal names replace each other. */
static void name_source(const struct hy_data *d, int source, char *text, size_t size)
{
    const struct hy_task *task = hy_data_eval_task(d, source);
    const int seq_len = hy_data_eval_seq_len(d, source);
    int number = 1;
    for (int s = 0; s < source; s++)
        number += hy_data_eval_task(d, s) == task && hy_data_eval_seq_len(d, s) == seq_len;
    if (number == 1)
        snprintf(text, size, "%s", task->name);
    else
        snprintf(text, size, "%s#%d", task->name, number);
}

/* A replica's sums over the sources that count. */
struct sums {
    double accuracy, nll, bits_per_byte;
    int recalls;
};

static void add_source(struct sums *s, const struct hy_task *task, const struct collector *c)
{
    if (task->measures_recall) {
        s->accuracy += c->accuracy;
        s->recalls++;
    }
    if (task->measures_text) {
        s->nll = c->nll;
        s->bits_per_byte = c->bits_per_byte;
    }
}

int hy_engine_evaluate(struct hy_engine *x, enum hy_split split, const unsigned char *chosen,
                       const struct hy_audience *to, struct hy_scores *out, struct hy_err *e)
{
    const size_t replicas = (size_t)x->replicas;
    struct collector *collectors = calloc(replicas, sizeof *collectors);
    struct sums *sums = calloc(replicas, sizeof *sums);
    const int reach = hy_shares_reach(&x->spec);
    const char *component = x->component ? hy_component_name(x->component) : NULL;
    int rc = collectors && sums ? HY_OK : hy_fail_memory(e);
    if (split == HY_SPLIT_TEST && x->component == HY_COMPONENT_FULL)
        hy_shares_clear(x);
    for (int r = 0; !rc && r < x->replicas; r++)
        sums[r] = (struct sums){.nll = NAN, .bits_per_byte = NAN};
    for (int s = 0; !rc && s < hy_data_eval_count(x->data); s++) {
        const struct hy_task *task = hy_data_eval_task(x->data, s);
        const int length = hy_data_eval_seq_len(x->data, s), usual = x->trainer.graph->shape.tokens;
        char name[64];
        name_source(x->data, s, name, sizeof name);
        for (int r = 0; r < x->replicas; r++)
            collectors[r] = (struct collector){.to = to,
                                               .replica = r,
                                               .task = name,
                                               .split = hy_split_name(split),
                                               .component = component,
                                               .reach = reach,
                                               .length = length == usual ? 0 : length,
                                               .accuracy = NAN,
                                               .nll = NAN,
                                               .bits_per_byte = NAN};
        rc = evaluate_source(x, s, split, chosen, to, collectors, e);
        for (int r = 0; r < x->replicas && length == usual; r++)
            add_source(&sums[r], task, &collectors[r]);
    }
    for (int r = 0; !rc && r < x->replicas; r++)
        out[r] = (struct hy_scores){
            .ppl = exp(sums[r].nll),
            .bits_per_byte = sums[r].bits_per_byte,
            .recall = sums[r].recalls ? sums[r].accuracy / sums[r].recalls : NAN,
        };
    free(sums);
    free(collectors);
    return rc;
}
