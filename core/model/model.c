#include "core/model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/model/groups.h"
#include "core/ops/add_norm.h"
#include "core/ops/constant.h"
#include "core/ops/embedding.h"
#include "core/ops/gate.h"
#include "core/ops/products/head_loss.h"
#include "core/ops/products/linear.h"
#include "core/ops/rmsnorm.h"
#include "core/ops/silu.h"
#include "core/ops/sum.h"

const char hy_norms_choices[] = "pre|post|sandwich";

const struct hy_kind *hy_model_kind(const struct hy_model_spec *spec, int layer)
{
    return &spec->kinds[spec->layout.kinds[layer]];
}

struct hy_mixer hy_model_mixer(const struct hy_model_spec *spec, int layer, struct hy_graph *g)
{
    return (struct hy_mixer){
        .graph = g,
        .d_model = spec->d_model,
        .heads = spec->heads,
        .layer = layer,
        .layers = spec->layers,
        .norm_eps = spec->norm_eps,
        .init_std = spec->init_std,
        .lora = spec->lora,
        .prefix = spec->prefix,
        .component = spec->component,
    };
}

struct hy_layout_text hy_model_layout_text(const struct hy_kind *kinds, const struct hy_layout *l)
{
    struct hy_layout_text out = {{0}};
    for (int i = 0; i < l->layers; i++)
        out.text[i] = kinds[l->kinds[i]].letter;
    return out;
}

int hy_model_owns(const char *parameter)
{
    return strncmp(parameter, HY_TEACHER_PREFIX, strlen(HY_TEACHER_PREFIX)) != 0 &&
           !hy_group_has("lora", parameter);
}

int64_t hy_model_params(const struct hy_slab *params)
{
    int64_t count = 0;
    for (int i = 0; i < params->entry_count; i++)
        if (hy_model_owns(params->entries[i].name))
            count += params->entries[i].count;
    return count;
}

int64_t hy_model_layer_params(const struct hy_slab *params, const struct hy_model_spec *spec,
                              int layer)
{
    char prefix[HY_NAME_SIZE];
    int64_t count = 0;
    snprintf(prefix, sizeof prefix, "%smodel.layers.%d.", spec->prefix ? spec->prefix : "", layer);
    for (int i = 0; i < params->entry_count; i++)
        if (!strncmp(params->entries[i].name, prefix, strlen(prefix)) &&
            !hy_group_has("lora", params->entries[i].name))
            count += params->entries[i].count;
    return count;
}

int64_t hy_model_state_elements(const struct hy_model_spec *spec, int64_t context)
{
    int64_t sum = 0;
    for (int i = 0; i < spec->layers; i++) {
        const struct hy_mixer m = hy_model_mixer(spec, i, NULL);
        sum += hy_kind_state_elements(hy_model_kind(spec, i), &m, context);
    }
    return sum;
}

static struct hy_entry matrix(const struct hy_model_spec *spec, const char *name, int64_t rows,
                              int64_t cols)
{
    struct hy_entry entry = {
        .rank = 2,
        .dims = {rows, cols},
        .init = {.law = HY_INIT_NORMAL, .b = spec->init_std},
        .decays = 1,
    };
    snprintf(entry.name, sizeof entry.name, "%s%s", spec->prefix ? spec->prefix : "", name);
    return entry;
}

static struct hy_tensor *norm_weight(const struct hy_model_spec *spec, struct hy_graph *g,
                                     const char *name)
{
    struct hy_entry entry = {
        .rank = 1,
        .dims = {spec->d_model},
        .init = {.law = HY_INIT_CONSTANT, .a = 1},
    };
    snprintf(entry.name, sizeof entry.name, "%s%s", spec->prefix ? spec->prefix : "", name);
    return hy_graph_param(g, &entry);
}

static struct hy_tensor *layer_norm_weight(const struct hy_model_spec *spec, struct hy_graph *g,
                                           int layer, const char *which)
{
    char name[HY_NAME_SIZE];
    snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, which);
    return norm_weight(spec, g, name);
}

static struct hy_tensor *mlp(const struct hy_model_spec *spec, struct hy_graph *g, int layer,
                             struct hy_tensor *x)
{
    char gate[HY_NAME_SIZE], up[HY_NAME_SIZE], down[HY_NAME_SIZE];
    snprintf(gate, sizeof gate, "model.layers.%d.mlp.gate_proj.weight", layer);
    snprintf(up, sizeof up, "model.layers.%d.mlp.up_proj.weight", layer);
    snprintf(down, sizeof down, "model.layers.%d.mlp.down_proj.weight", layer);
    const struct hy_entry in[] = {matrix(spec, gate, spec->mlp, spec->d_model),
                                  matrix(spec, up, spec->mlp, spec->d_model)};
    const struct hy_entry out = matrix(spec, down, spec->d_model, spec->mlp);
    struct hy_tensor *h[2];
    hy_graph_split(g, hy_lora_linear(g, spec->lora, x, 2, in, NULL), 2,
                   (int64_t[]){spec->mlp, spec->mlp}, h);
    return hy_lora_linear(g, spec->lora, hy_gated(g, h[1], h[0], HY_GATE_SILU), 1, &out, NULL);
}

/* The row of the last token in row k's sequence. */
static double last_row(int64_t k, double tokens)
{
    const int64_t length = (int64_t)tokens;
    return (double)((k / length + 1) * length - 1);
}

static double position_of(int64_t k, double tokens)
{
    return (double)(k % (int64_t)tokens);
}

/* Element k of the sinusoids of positions (arXiv 1706.03762): sines, then cosines. */
static double sinusoid(int64_t k, double d_model)
{
    const int64_t width = (int64_t)d_model, half = (width + 1) / 2, column = k % width;
    const double angle = (double)(k / width) * pow(1e4, -(double)(column % half) / (double)half);
    return column < half ? sin(angle) : cos(angle);
}

/* The decoder of MAD's autoencoder (arXiv 2403.17844): it has the last state of a sequence and a
 * position, and nothing else of what was read. */
static struct hy_tensor *readout(const struct hy_model_spec *spec, struct hy_graph *g,
                                 struct hy_tensor *x)
{
    static const char *const norms[] = {"model.readout.0.norm.weight",
                                        "model.readout.1.norm.weight", "model.readout.norm.weight"};
    static const char *const projections[] = {"model.readout.0.proj.weight",
                                              "model.readout.1.proj.weight"};
    const int tokens = g->shape.tokens, d = spec->d_model;
    const int64_t rows = (int64_t)g->shape.batch * tokens;
    struct hy_tensor *last = hy_embedding(g, hy_constant_index(g, rows, last_row, tokens), x);
    struct hy_tensor *position = hy_embedding(g, hy_constant_index(g, rows, position_of, tokens),
                                              hy_constant(g, tokens, d, sinusoid, d));
    x = hy_add_norm(g, last, position, norm_weight(spec, g, norms[0]), spec->norm_eps, &last);
    for (int i = 0; i < 2; i++) {
        const struct hy_entry entry = matrix(spec, projections[i], d, d);
        x = hy_silu_of(g, hy_linear(g, x, hy_graph_param(g, &entry)));
        x = hy_rmsnorm(g, x, norm_weight(spec, g, norms[i + 1]), spec->norm_eps);
    }
    return x;
}

/* The layers under construction: the residual stream x, and what the block before is still to add
 * to it, so that the addition is fused with the norm that follows. */
struct stack {
    const struct hy_model_spec *spec;
    struct hy_graph *graph;
    int layer;
    struct hy_tensor *x, *delta;              /* delta: NULL where nothing is to be added */
    struct hy_tensor *dropped[HY_MAX_LAYERS]; /* ends' dropped, layer by layer, or NULL */
    struct hy_model_ends *ends;               /* gets what the mixers read, are and give */
};

static void add_delta(struct stack *s)
{
    if (s->delta)
        s->x = hy_sum(s->graph, 2, (struct hy_tensor *[]){s->x, s->delta}, 1);
    s->delta = NULL;
}

/* RMSNorm of the stream with weight w. */
static struct hy_tensor *normed(struct stack *s, struct hy_tensor *w)
{
    struct hy_tensor *y = s->delta
                              ? hy_add_norm(s->graph, s->x, s->delta, w, s->spec->norm_eps, &s->x)
                              : hy_rmsnorm(s->graph, s->x, w, s->spec->norm_eps);
    s->delta = NULL;
    return y;
}

/* What a mixer or an MLP reads; which: "attn", "mlp". */
static struct hy_tensor *enter(struct stack *s, const char *which)
{
    char name[HY_NAME_SIZE];
    if (s->spec->norms == HY_NORMS_POST) {
        add_delta(s);
        return s->x;
    }
    snprintf(name, sizeof name, "%s_norm", which);
    return normed(s, layer_norm_weight(s->spec, s->graph, s->layer, name));
}

/* What it gives goes into the stream. */
static void leave(struct stack *s, const char *which, struct hy_tensor *y)
{
    char name[HY_NAME_SIZE];
    snprintf(name, sizeof name, "%s_post_norm", which);
    if (s->spec->norms != HY_NORMS_PRE)
        y = hy_rmsnorm(s->graph, y, layer_norm_weight(s->spec, s->graph, s->layer, name),
                       s->spec->norm_eps);
    s->delta = y;
}

static void build_layer(struct stack *s)
{
    const struct hy_kind *kind = hy_model_kind(s->spec, s->layer);
    if (kind->branch_count) {
        struct hy_mixer m = hy_model_mixer(s->spec, s->layer, s->graph);
        struct hy_tensor *x = enter(s, "attn");
        m.dropped = s->dropped[s->layer];
        m.inside = &s->ends->inside[s->layer];
        if (s->spec->forced)
            x = s->spec->forced->inputs[s->layer];
        s->ends->inputs[s->layer] = x;
        struct hy_tensor *y = kind->combine == HY_COMBINE_SELECT
                                  ? hy_gates_layer(s->spec->gating, kind, &m, x, &s->ends->gates)
                                  : hy_kind_build(kind, &m, x);
        s->ends->outputs[s->layer] = y;
        leave(s, "attn", y);
    }
    if (s->spec->mlp && kind->has_mlp)
        leave(s, "mlp", mlp(s->spec, s->graph, s->layer, enter(s, "mlp")));
}

void hy_model_body(const struct hy_model_spec *spec, struct hy_graph *g, struct hy_model_ends *ends)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const struct hy_entry table =
        matrix(spec, "model.embeddings.weight", spec->vocab, spec->d_model);
    const struct hy_entry head = matrix(spec, "lm_head.weight", spec->vocab, spec->d_model);
    if (!ends->tokens)
        ends->tokens = hy_graph_input(g, "tokens", HY_INT32, rows, 1);
    struct stack s = {.spec = spec, .graph = g, .ends = ends};
    if (spec->drops) {
        ends->dropped = hy_graph_input(g, "dropped", HY_REAL, 1, spec->layers);
        hy_graph_split(g, ends->dropped, spec->layers, NULL, s.dropped);
    }
    if (spec->gating)
        hy_gates_build(spec->gating, g, spec->prefix, spec->layers, &ends->gates);
    s.x = hy_embedding(g, ends->tokens, hy_graph_param(g, &table));
    for (s.layer = 0; s.layer < spec->layers; s.layer++) {
        g->section = spec->prefix ? 0 : s.layer + 1;
        build_layer(&s);
    }
    g->section = 0;
    struct hy_tensor *y = normed(&s, norm_weight(spec, g, "model.norm.weight"));
    if (spec->readout)
        y = readout(spec, g, y);
    ends->hidden = y;
    ends->head = hy_graph_param(g, spec->tied ? &table : &head);
}

void hy_model_build(const struct hy_model_spec *spec, struct hy_graph *g, int64_t max_labels,
                    struct hy_model_ends *ends)
{
    *ends = (struct hy_model_ends){0};
    hy_model_body(spec, g, ends);
    if (max_labels > 0) {
        ends->labels =
            hy_graph_input(g, "labels", HY_INT32, (int64_t)g->shape.batch * g->shape.tokens, 1);
        ends->nll = hy_head_loss(g, ends->hidden, ends->head, ends->labels, max_labels, &ends->hit);
        hy_graph_keep(ends->nll);
        hy_graph_keep(ends->hit);
    } else {
        ends->logits = hy_linear(g, ends->hidden, ends->head);
        hy_graph_keep(ends->logits);
    }
}
