/* golden_gates.c - gate_mix: L layers side by side, each of a linear branch a and a softmax branch
 * b under a gate m, and what is charged for every layer that is not linear. */
#include "tests/golden.h"

#include <stdlib.h>
#include <string.h>

#include "core/ops/blend.h"
#include "core/ops/choice.h"
#include "core/ops/constant.h"
#include "core/ops/skip.h"
#include "core/ops/sum.h"

enum { MAX_LAYERS = MAX_RUN_OUTPUTS - 1 };

struct gates {
    int layers, frozen;
    struct hy_tensor *a, *b, *phi; /* of all layers; frozen: phi is what it comes to, 0 or 1 */
    struct hy_tensor *m[MAX_LAYERS], *o[MAX_LAYERS], *penalty;
};

static double value(int64_t k, double x)
{
    (void)k;
    return x;
}

static struct hy_tensor *constant(struct run *r, double x)
{
    return hy_constant(r->graph, 1, 1, value, x);
}

/* m of each layer. A frozen gate is a number from outside, which nothing is derived by. */
static void build_choices(struct run *r, const char *mode)
{
    struct gates *s = r->gates;
    const enum hy_choice_form form = strcmp(mode, "soft") ? HY_CHOICE_HARD : HY_CHOICE_SOFT;
    struct hy_tensor *noise[MAX_LAYERS], *phi[MAX_LAYERS];
    if (s->frozen) {
        s->phi = hy_graph_input(r->graph, "phi", HY_REAL, 1, s->layers);
        hy_graph_split(r->graph, s->phi, s->layers, NULL, s->m);
        return;
    }
    s->phi = hy_graph_leaf(r->graph, "phi", 1, s->layers, -1, 1);
    hy_graph_split(r->graph, s->phi, s->layers, NULL, phi);
    hy_graph_split(r->graph, hy_graph_input(r->graph, "noise", HY_REAL, 1, s->layers), s->layers,
                   NULL, noise);
    struct hy_tensor *tau = constant(r, number(r, "tau"));
    for (int l = 0; l < s->layers; l++)
        s->m[l] = hy_choice(r->graph, phi[l], noise[l], tau, form, 1);
}

struct hy_tensor *build_gates(struct run *r)
{
    const char *mode = hy_st_value(r->file, "mode");
    struct hy_tensor *a[MAX_LAYERS], *b[MAX_LAYERS], *grad_o[MAX_LAYERS];
    const int layers = (int)number(r, "L");
    const int64_t cols = (int64_t)layers * r->value_width;
    struct gates *s = r->gates = calloc(1, sizeof *s);
    if (!s || !mode || layers < 1 || layers > MAX_LAYERS)
        return hy_graph_fail(r->graph, "a file of %d layers", layers);
    s->layers = layers;
    s->frozen = !strcmp(mode, "frozen");
    hy_graph_split(r->graph, s->a = leaf(r, "a", cols), s->layers, NULL, a);
    hy_graph_split(r->graph, s->b = leaf(r, "b", cols), s->layers, NULL, b);
    hy_graph_split(r->graph,
                   hy_graph_input(r->graph, "grad_o", HY_REAL, (int64_t)r->batch * r->tokens, cols),
                   s->layers, NULL, grad_o);
    build_choices(r, mode);
    for (int l = 0; l < layers; l++) {
        hy_graph_keep(s->m[l]);
        add_output(r, s->o[l] = hy_blend(r->graph, a[l], b[l], s->m[l]), grad_o[l]);
    }
    const double cost = number(r, "cost"); /* cost - cost * mean of m */
    s->penalty =
        hy_skip(r->graph, constant(r, cost), hy_mean(r->graph, layers, s->m), constant(r, -cost));
    add_output(r, s->penalty, hy_graph_input(r->graph, "grad_penalty", HY_REAL, 1, 1));
    return NULL;
}

/* The inputs are filled as the file has them; a frozen gate is 1[phi > 0]. */
int prepare_gates(struct run *r)
{
    float *m = hy_input(r->gates->phi, 0);
    for (int l = 0; r->gates->frozen && l < r->gates->layers; l++)
        m[l] = m[l] > 0;
    return 0;
}

/* Puts what the layers have, each some columns, side by side. */
static int take_layers(struct run *r, const char *name, struct hy_tensor *const *parts)
{
    const int64_t rows = parts[0]->rows, width = parts[0]->cols;
    float *all = add_result(r, name, rows * width * r->gates->layers);
    float *one = malloc((size_t)(rows * width) * sizeof *one);
    struct hy_err e;
    int rc = all && one ? 0 : -1;
    for (int l = 0; !rc && l < r->gates->layers; l++) {
        rc = hy_graph_read(parts[l], 0, one, &e);
        for (int64_t i = 0; i < rows; i++)
            memcpy(all + (i * r->gates->layers + l) * width, one + i * width,
                   (size_t)width * sizeof *one);
    }
    free(one);
    return rc;
}

int finish_gates(struct run *r)
{
    const struct gates *s = r->gates;
    if (take_layers(r, "o", s->o) || take_layers(r, "m", s->m) ||
        take_result(r, "penalty", s->penalty) || take_result(r, "d_a", s->a->grad) ||
        take_result(r, "d_b", s->b->grad))
        return -1;
    return s->frozen ? -!add_result(r, "d_phi", s->layers) : take_result(r, "d_phi", s->phi->grad);
}
