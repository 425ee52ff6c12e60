/* golden [--cuda] DIR: compares the operators, on the CPU or on the first CUDA device, with every
 * vector in DIR (*.safetensors).
 *
 * A file holds an operator's inputs, upstream gradients and, computed in float64 by an independent
 * step-by-step reference, its results: o, ht and d_<input>. The error of a result is the largest
 * deviation relative to the largest reference element. Files of operators that are not known here
 * are listed as skipped. Exit status 1 when a result misses its tolerance or nothing was compared,
 * 77 when there is no device.
 */
#include "tests/golden.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/attention.h"
#include "core/ops/scan/delta_scan.h"
#include "core/ops/scan/gated_scan.h"
#include "core/ops/scan/level_scan.h"
#include "core/ops/scan/vector_scan.h"

struct vector_op {
    const char *name;
    /* Returns o; NULL where finish() puts it together from outputs that were added. */
    struct hy_tensor *(*build)(struct run *r);
    /* Optional: fills leaves from other inputs than those of their name, and puts together the
     * results from the leaves' gradients. */
    int (*prepare)(struct run *r);
    int (*finish)(struct run *r);
    int flags;
};

enum {
    OWN_INPUTS = 1, /* build() makes all of them: there is no q, k, v or h0 */
    CANCELS = 2,    /* gradients are sums whose terms cancel */
    FEATURES = OWN_INPUTS | CANCELS
};

enum group { GROUP_OUTPUT, GROUP_STATE, GROUP_GRADIENT, GROUPS };
enum kind { KIND_REALISTIC, KIND_EXTREME, KINDS };
static const char *const group_names[GROUPS] = {"o", "ht", "gradients"};
static const char *const kind_names[KINDS] = {"realistic", "extreme"};
static const double limits[KINDS][GROUPS] = {{1e-5, 1e-5, 2e-5}, {1e-4, 1e-4, 2e-4}};
/* What such a gradient may be off by in any case, relative to the largest of its file. */
static const double cancelled = 1e-6;

/* ---- Inputs and results ---- */

const float *input(const struct run *r, const char *name)
{
    const struct hy_st_tensor *t = hy_st_find(r->file, name);
    return t && t->dtype == HY_ST_F32 ? t->data : NULL;
}

double number(const struct run *r, const char *key)
{
    const char *text = hy_st_value(r->file, key);
    return text ? atof(text) : 0;
}

/* Fills t with the file's tensor of its name. */
static int fill(const struct run *r, struct hy_tensor *t)
{
    const struct hy_st_tensor *from = hy_st_find(r->file, t->name);
    if (!from || from->dtype != HY_ST_F32 || hy_st_count(from) != t->rows * t->cols)
        return -1;
    memcpy(hy_input(t, 0), from->data, (size_t)(t->rows * t->cols) * sizeof(float));
    return 0;
}

float *add_result(struct run *r, const char *name, int64_t count)
{
    if (r->result_count == MAX_RESULTS)
        return NULL;
    struct result *result = &r->results[r->result_count++];
    *result = (struct result){name, count, calloc((size_t)count, sizeof(float))};
    return result->data;
}

float *find_result(const struct run *r, const char *name)
{
    for (int i = 0; i < r->result_count; i++)
        if (strcmp(r->results[i].name, name) == 0)
            return r->results[i].data;
    return NULL;
}

int take_result(struct run *r, const char *name, const struct hy_tensor *t)
{
    if (!t)
        return 0;
    struct hy_err e;
    float *to = add_result(r, name, t->rows * t->cols);
    if (to && !hy_graph_read(t, 0, to, &e))
        return 0;
    if (to)
        fprintf(stderr, "%s: %s\n", name, e.text);
    return -1;
}

static int take_gradients(struct run *r)
{
    return take_result(r, "d_q", r->q->grad) || take_result(r, "d_k", r->k->grad) ||
           take_result(r, "d_v", r->v->grad) || (r->g && take_result(r, "d_g", r->g->grad)) ||
           (r->beta && take_result(r, "d_beta", r->beta->grad)) ||
           (r->lambda && take_result(r, "d_level_scales", r->lambda->grad)) ||
           (r->h0 && take_result(r, "d_h0", r->h0->grad));
}

/* ---- Operators ---- */

struct hy_tensor *leaf(struct run *r, const char *name, int64_t cols)
{
    return hy_graph_leaf(r->graph, name, (int64_t)r->batch * r->tokens, cols, -1, 1);
}

static struct hy_tensor *build_attention(struct run *r)
{
    const struct hy_attention s = {.heads = r->heads,
                                   .kv_heads = r->heads,
                                   .key_width = r->key_width,
                                   .value_width = r->value_width,
                                   .scale = r->scale,
                                   .window = (int)number(r, "window")};
    return hy_attention(r->graph, r->q, r->k, r->v, &s, NULL, NULL);
}

static struct hy_scan scan_of(const struct run *r)
{
    return (struct hy_scan){r->heads, r->key_width, r->value_width, r->scale, 0, 0};
}

static struct hy_tensor *build_gated(struct run *r, struct hy_tensor *decay)
{
    struct hy_scan s = scan_of(r);
    s.key_heads = (int)(r->q->cols / r->key_width);
    return hy_gated_scan(r->graph, r->q, r->k, r->v, decay, &s, r->h0, &r->ht);
}

struct hy_tensor *build_by_head(struct run *r)
{
    return build_gated(r, r->g = leaf(r, "g", r->heads));
}

static struct hy_tensor *build_by_channel(struct run *r)
{
    return build_gated(r, r->g = leaf(r, "g", (int64_t)r->heads * r->key_width));
}

static struct hy_tensor *build_retention(struct run *r)
{
    return build_gated(r, r->g = hy_graph_input(r->graph, "g", HY_REAL, 1, r->heads));
}

static int prepare_retention(struct run *r)
{
    float *g = hy_input(r->g, 0);
    for (int h = 0; h < r->heads; h++)
        g[h] = (hy_real)log1p(-exp2(-5 - h));
    return 0;
}

static struct hy_tensor *build_delta(struct run *r, struct hy_tensor *decay)
{
    const struct hy_scan s = scan_of(r);
    r->beta = leaf(r, "beta", r->heads);
    return hy_delta_scan(r->graph, r->q, r->k, r->v, r->beta, decay, &s, r->h0, &r->ht);
}

static struct hy_tensor *build_delta_rule(struct run *r)
{
    return build_delta(r, NULL);
}

static struct hy_tensor *build_gated_delta_rule(struct run *r)
{
    return build_delta(r, r->g = leaf(r, "g", r->heads));
}

static struct hy_tensor *build_kda(struct run *r)
{
    return build_delta(r, r->g = leaf(r, "g", (int64_t)r->heads * r->key_width));
}

/* HGRN-2: k = 1 - e^g. */
static int prepare_hgrn2(struct run *r)
{
    const float *g = input(r, "g");
    float *k = hy_input(r->k, 0);
    for (int64_t i = 0; g && i < r->k->rows * r->k->cols; i++)
        k[i] = (float)-expm1(g[i]);
    return g ? 0 : -1;
}

static int finish_hgrn2(struct run *r)
{
    const float *g = input(r, "g");
    if (take_gradients(r))
        return -1;
    float *d_g = find_result(r, "d_g"), *d_k = find_result(r, "d_k");
    for (int64_t i = 0; i < r->g->rows * r->g->cols; i++)
        d_g[i] -= (float)(d_k[i] * exp(g[i]));
    return 0;
}

/* HGRN has vectors for states, and x where the others have q, k and v. */
static struct hy_tensor *build_hgrn(struct run *r)
{
    r->v = leaf(r, "x", r->key_width);
    r->g = leaf(r, "g", r->key_width);
    if (input(r, "h0"))
        r->h0 = hy_graph_leaf(r->graph, "h0", r->batch, r->key_width, -1, 1);
    return hy_vector_scan(r->graph, r->v, r->g, r->h0, &r->ht);
}

static int finish_hgrn(struct run *r)
{
    return take_result(r, "d_x", r->v->grad) || take_result(r, "d_g", r->g->grad) ||
           (r->h0 && take_result(r, "d_h0", r->h0->grad));
}

/* Log-linear attention: its states are those of a cache alone. */
static struct hy_tensor *build_log_linear(struct run *r)
{
    const struct hy_scan s = scan_of(r);
    r->g = leaf(r, "g", r->heads);
    r->lambda = leaf(r, "level_scales", (int64_t)r->heads * (int)number(r, "num_levels"));
    return hy_level_scan(r->graph, r->q, r->k, r->v, r->g, NULL, r->lambda, &s, NULL);
}

/* Runs the same sequence through a cache that starts empty: its states are ht. */
static int continue_log_linear(struct run *r, const struct run *whole, struct hy_slab *cache,
                               struct hy_err *e)
{
    const int levels = (int)number(r, "num_levels");
    const struct hy_shape shape = {.replicas = 1,
                                   .batch = r->batch,
                                   .tokens = r->tokens,
                                   .context = (int)hy_levels_reach(levels),
                                   .mode = HY_CACHED};
    const struct hy_scan s = scan_of(r);
    const struct hy_entry entry = {
        .name = "states",
        .rank = 2,
        .dims = {(int64_t)r->batch * r->heads * levels * r->key_width, r->value_width}};
    r->graph = hy_graph_new(&shape, NULL, NULL, cache);
    if (!r->graph)
        return hy_fail_memory(e);
    r->graph->device = cache->device = r->device;
    struct hy_tensor *const *const from[] = {&whole->q, &whole->k, &whole->v, &whole->g,
                                             &whole->lambda};
    struct hy_tensor *to[5];
    for (int i = 0; i < 5; i++)
        to[i] = leaf(r, (*from[i])->name, (*from[i])->cols);
    r->ht = hy_graph_state(r->graph, &entry);
    r->o = hy_level_scan(r->graph, to[0], to[1], to[2], to[3], NULL, to[4], &s, r->ht);
    int rc = hy_slab_allocate(cache, e);
    if (rc == HY_OK)
        rc = hy_graph_plan(r->graph, e);
    for (int i = 0; rc == HY_OK && i < 5; i++)
        if (fill(r, to[i]))
            rc = hy_fail(e, HY_E_USAGE, "%s is missing", to[i]->name);
    if (rc == HY_OK)
        hy_graph_run(r->graph, NULL);
    return rc;
}

static int finish_log_linear(struct run *r)
{
    struct run cached = *r;
    struct hy_slab cache;
    struct hy_err e;
    hy_slab_init(&cache, 1);
    int rc = continue_log_linear(&cached, r, &cache, &e);
    if (rc)
        fprintf(stderr, "log_linear: %s\n", e.text);
    if (rc == HY_OK)
        rc = take_result(r, "ht", cached.ht) || take_gradients(r);
    hy_graph_free(cached.graph);
    hy_slab_release(&cache);
    return rc;
}

static const struct vector_op operators[] = {
    {"softmax", build_attention, NULL, NULL, 0},
    {"sliding_window", build_attention, NULL, NULL, 0},
    {"retention", build_retention, prepare_retention, NULL, 0},
    {"simple_gla", build_by_head, NULL, NULL, 0},
    {"gla", build_by_channel, NULL, NULL, 0},
    {"hgrn", build_hgrn, NULL, finish_hgrn, OWN_INPUTS},
    {"hgrn2", build_by_channel, prepare_hgrn2, finish_hgrn2, 0},
    {"mamba2_ssd", build_mamba2, prepare_mamba2, finish_mamba2, 0},
    {"delta_rule", build_delta_rule, NULL, NULL, 0},
    {"gated_delta_rule", build_gated_delta_rule, NULL, NULL, 0},
    {"kda", build_kda, NULL, NULL, 0},
    {"log_linear", build_log_linear, NULL, finish_log_linear, 0},
    {"gate_mix", build_gates, prepare_gates, finish_gates, OWN_INPUTS},
    {"hedgehog", build_hedgehog, prepare_features, finish_features, FEATURES},
    {"hedgehog_linear", build_hedgehog_linear, prepare_features, finish_features, FEATURES},
    {"feature_linear", build_feature_linear, prepare_features, finish_features, FEATURES},
    {"hybrid_window", build_hybrid_window, prepare_features, finish_features, FEATURES},
    {"feature_window", build_feature_window, prepare_features, finish_features, FEATURES},
    {"transfer_ce", build_transfer, prepare_features, finish_features, FEATURES},
    {"logit_kl", build_logit_kl, prepare_features, finish_features, FEATURES},
};
enum { OPERATORS = sizeof operators / sizeof *operators };

/* ---- One file ---- */

void add_output(struct run *r, struct hy_tensor *y, struct hy_tensor *dy)
{
    if (!y || !dy || r->outputs == MAX_RUN_OUTPUTS)
        return;
    hy_graph_keep(y);
    r->y[r->outputs] = y;
    r->dy[r->outputs++] = dy;
}

static int build_graph(struct run *r, const struct vector_op *op, struct hy_err *e)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = r->batch, .tokens = r->tokens, .mode = HY_TRAIN};
    r->graph = hy_graph_new(&shape, NULL, NULL, NULL);
    if (!r->graph)
        return hy_fail_memory(e);
    r->graph->device = r->device;
    if (!(op->flags & OWN_INPUTS)) {
        r->q = leaf(r, "q", (int64_t)r->heads * r->key_width);
        r->k = leaf(r, "k", (int64_t)r->heads * r->key_width);
        r->v = leaf(r, "v", (int64_t)r->heads * r->value_width);
    }
    if (!(op->flags & OWN_INPUTS) && input(r, "h0"))
        r->h0 = hy_graph_leaf(r->graph, "h0", (int64_t)r->batch * r->heads * r->key_width,
                              r->value_width, -1, 1);
    struct hy_tensor *const o = r->o = op->build(r), *const ht = r->ht;
    hy_graph_keep(ht);
    if (o)
        add_output(r, o, hy_graph_input(r->graph, "grad_o", HY_REAL, o->rows, o->cols));
    if (ht && input(r, "grad_ht"))
        add_output(r, ht, hy_graph_input(r->graph, "grad_ht", HY_REAL, ht->rows, ht->cols));
    const int rc = hy_graph_backward(r->graph, r->outputs, r->y, r->dy, e);
    return rc ? rc : hy_graph_plan(r->graph, e);
}

/* Fills in what the file has, and what prepare() derives from that; gradients are never derived. */
static int fill_inputs(struct run *r, const struct vector_op *op)
{
    for (int i = 0; i < r->graph->tensor_count; i++) {
        struct hy_tensor *t = r->graph->tensors[i];
        if (t->input && fill(r, t) && (!op->prepare || strncmp(t->name, "grad_", 5) == 0))
            return -1;
    }
    return op->prepare ? op->prepare(r) : 0;
}

/* least: what the reference counts as having at least, in its largest element. */
static double error_of(const float *x, const float *reference, int64_t count, double least)
{
    double worst = 0, largest = least;
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs((double)x[i] - reference[i]);
        if (!isfinite(error))
            return INFINITY;
        worst = fmax(worst, error);
        largest = fmax(largest, fabs((double)reference[i]));
    }
    return largest > 0 ? worst / largest : worst;
}

static enum group group_of(const char *name)
{
    if (strncmp(name, "d_", 2) == 0)
        return GROUP_GRADIENT;
    return strcmp(name, "ht") == 0 || strcmp(name, "zt") == 0 ? GROUP_STATE : GROUP_OUTPUT;
}

static double largest_gradient(const struct hy_st_file *file)
{
    double largest = 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct hy_st_tensor *t = &file->tensors[i];
        const float *x = t->data;
        for (int64_t k = 0; group_of(t->name) == GROUP_GRADIENT && k < hy_st_count(t); k++)
            largest = fmax(largest, fabs((double)x[k]));
    }
    return largest;
}

/* Every result that the file has must have been computed. least: of gradients, see error_of();
 * worst: raised, per group. */
static int compare(const struct run *r, double least, double *worst, struct hy_err *e)
{
    for (size_t i = 0; i < r->file->tensor_count; i++) {
        const struct hy_st_tensor *t = &r->file->tensors[i];
        const enum group group = group_of(t->name);
        const float *x = find_result(r, t->name);
        if (!x && group == GROUP_OUTPUT && strcmp(t->name, "o") != 0)
            continue; /* an input */
        if (!x)
            return hy_fail(e, HY_E_USAGE, "%s was not computed", t->name);
        worst[group] = fmax(worst[group], error_of(x, t->data, hy_st_count(t),
                                                   group == GROUP_GRADIENT ? least : 0));
    }
    return HY_OK;
}

/* kind: of the file. */
static int check_file(const struct hy_st_file *file, const struct vector_op *op, enum kind kind,
                      struct hy_device *device, double *worst, struct hy_err *e)
{
    struct run r = {.file = file, .device = device};
    const char *scale = hy_st_value(file, "scale");
    const double least =
        op->flags & CANCELS ? largest_gradient(file) * cancelled / limits[kind][GROUP_GRADIENT] : 0;
    r.batch = number(&r, "B");
    r.tokens = number(&r, "T");
    r.heads = number(&r, "H");
    r.key_width = number(&r, "K");
    r.value_width = number(&r, "V");
    r.scale = scale ? atof(scale) : 1;
    int rc = build_graph(&r, op, e);
    if (rc != HY_OK)
        goto out;
    if (fill_inputs(&r, op)) {
        rc = hy_fail(e, HY_E_USAGE, "an input is missing");
        goto out;
    }
    hy_graph_run(r.graph, NULL);
    if (take_result(&r, "o", r.o) || take_result(&r, "ht", r.ht) ||
        (op->finish ? op->finish(&r) : take_gradients(&r)))
        rc = hy_fail_memory(e);
    else
        rc = compare(&r, least, worst, e);
out:
    for (int i = 0; i < r.result_count; i++)
        free(r.results[i].data);
    free(r.gates);
    free(r.features);
    hy_graph_free(r.graph);
    return rc;
}

/* ---- All files ---- */

struct tally {
    int files[OPERATORS], skipped, broken;
    double worst[OPERATORS][KINDS][GROUPS];
};

static void check_path(const char *path, struct hy_device *device, struct tally *tally)
{
    struct hy_st_file file;
    struct hy_err e;
    if (hy_st_read(path, &file, &e) != HY_OK) {
        printf("FAIL  %s\n", e.text);
        tally->broken++;
        return;
    }
    const char *name = hy_st_value(&file, "op"), *kind = hy_st_value(&file, "kind");
    const enum kind row = kind && strcmp(kind, "extreme") == 0 ? KIND_EXTREME : KIND_REALISTIC;
    int i = 0;
    while (i < OPERATORS && (!name || strcmp(name, operators[i].name) != 0))
        i++;
    if (i == OPERATORS) {
        printf("skip  %s: no operator %s here\n", path, name ? name : "named");
        tally->skipped++;
    } else if (check_file(&file, &operators[i], row, device, tally->worst[i][row], &e) != HY_OK) {
        printf("FAIL  %s: %s\n", path, e.text);
        tally->broken++;
    } else {
        tally->files[i]++;
    }
    hy_st_release(&file);
}

static int is_vector(const struct dirent *entry)
{
    static const char suffix[] = ".safetensors";
    const size_t size = strlen(entry->d_name);
    return size > strlen(suffix) && strcmp(entry->d_name + size - strlen(suffix), suffix) == 0;
}

/* Prints the table; returns whether all is well. */
static int judge(const struct tally *tally)
{
    int files = 0, misses = 0;
    printf("%-6s%-18s%-11s%-11s%10s%10s\n", "", "operator", "kind", "tensors", "worst", "limit");
    for (int i = 0; i < OPERATORS; i++) {
        files += tally->files[i];
        for (int row = 0; tally->files[i] && row < KINDS; row++) {
            for (int group = 0; group < GROUPS; group++) {
                const double worst = tally->worst[i][row][group], limit = limits[row][group];
                if (worst < 0)
                    continue;
                misses += worst > limit;
                printf("%-6s%-18s%-11s%-11s%10.1e%10.1e\n", worst > limit ? "FAIL" : "ok",
                       operators[i].name, kind_names[row], group_names[group], worst, limit);
            }
        }
    }
    printf("%d files compared, %d results beyond their limit, %d files unusable, %d skipped\n",
           files, misses, tally->broken, tally->skipped);
    return files > 0 && misses == 0 && tally->broken == 0;
}

int main(int argc, char **argv)
{
    struct tally tally = {0};
    struct dirent **entries;
    struct hy_device *device = NULL;
    struct hy_err e;
    const int on_device = argc == 3 && !strcmp(argv[1], "--cuda");
    if (argc != 2 + on_device) {
        fprintf(stderr, "usage: golden [--cuda] DIR\n");
        return 2;
    }
    const char *folder = argv[1 + on_device];
    if (on_device && hy_device_count(&e) < 1) {
        printf("nothing was compared: %s\n", e.text);
        return 77;
    }
    if (on_device && hy_device_open(0, 0, &device, &e)) {
        fprintf(stderr, "golden: %s\n", e.text);
        return 1;
    }
    const int count = scandir(folder, &entries, is_vector, alphasort);
    if (count < 0) {
        perror(folder);
        return 2;
    }
    for (int i = 0; i < OPERATORS; i++)
        for (int row = 0; row < KINDS; row++)
            for (int group = 0; group < GROUPS; group++)
                tally.worst[i][row][group] = -1; /* nothing compared */
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        check_path(path, device, &tally);
        free(entries[i]);
    }
    free(entries);
    hy_device_close(device);
    return judge(&tally) ? 0 : 1;
}
