/* golden_features.c - linear attention over features, alone and beside softmax attention in a
 * window; features; attention transfer; divergence of logits. */
#include "tests/golden.h"

#include <stdlib.h>
#include <string.h>

#include "core/ops/attention.h"
#include "core/ops/constant.h"
#include "core/ops/features/feature_map.h"
#include "core/ops/features/joint.h"
#include "core/ops/features/linear_attention.h"
#include "core/ops/features/transfer.h"
#include "core/ops/kl.h"
#include "core/ops/sum.h"

enum { MAX_LEAVES = 7 };

/* What the file says, and the inputs that gradients are taken of. */
struct features {
    int kv_heads, columns; /* columns: F, of the maps' products, or of given features */
    int window, terraced, affine;
    struct hy_tensor *q, *k, *v; /* NULL where the operator has none */
    struct hy_tensor *factor;
    struct hy_tensor *f, *g; /* features of queries and keys; those of keys of g_heads */
    int width, g_heads;
    struct hy_tensor *h0, *ht, *given; /* [B * H * width, V + 1]: S and z; ht's gradient */
    struct {
        const char *gradient; /* its name */
        struct hy_tensor *leaf;
    } leaves[MAX_LEAVES];
    int leaf_count;
};

static double value(int64_t k, double x)
{
    (void)k;
    return x;
}

static struct features *start(struct run *r)
{
    const char *kind = hy_st_value(r->file, "window_kind");
    struct features *s = r->features = calloc(1, sizeof *s);
    if (!s)
        return hy_graph_fail(r->graph, "memory is out");
    s->kv_heads = (int)number(r, "kv_heads");
    s->columns = (int)number(r, "F");
    s->window = (int)number(r, "window");
    s->affine = (int)number(r, "affine");
    s->terraced = kind && !strcmp(kind, "terraced");
    return s;
}

/* ---- Inputs ---- */

/* An input that gradients are taken of, and the name of its gradient. */
static struct hy_tensor *own_leaf(struct run *r, const char *name, const char *gradient,
                                  int64_t rows, int64_t cols)
{
    struct features *s = r->features;
    struct hy_tensor *t = hy_graph_leaf(r->graph, name, rows, cols, -1, 1);
    if (!t || s->leaf_count == MAX_LEAVES)
        return NULL;
    s->leaves[s->leaf_count].gradient = gradient;
    s->leaves[s->leaf_count++].leaf = t;
    return t;
}

static struct hy_tensor *rows_leaf(struct run *r, const char *name, const char *gradient,
                                   int64_t cols)
{
    return own_leaf(r, name, gradient, (int64_t)r->batch * r->tokens, cols);
}

static void read_queries(struct run *r)
{
    struct features *s = r->features;
    s->q = rows_leaf(r, "q", "d_q", (int64_t)r->heads * r->key_width);
    s->k = rows_leaf(r, "k", "d_k", (int64_t)s->kv_heads * r->key_width);
}

static void read_values(struct run *r)
{
    struct features *s = r->features;
    s->v = rows_leaf(r, "v", "d_v", (int64_t)s->kv_heads * r->value_width);
}

static void read_factor(struct run *r)
{
    r->features->factor = own_leaf(r, "window_factor", "d_window_factor", 1, r->heads);
}

static void read_features(struct run *r)
{
    struct features *s = r->features;
    s->f = rows_leaf(r, "fq", "d_fq", (int64_t)r->heads * s->columns);
    s->g = rows_leaf(r, "fk", "d_fk", (int64_t)s->kv_heads * s->columns);
    s->width = s->columns;
    s->g_heads = s->kv_heads;
}

static struct hy_tensor *map(struct run *r, struct hy_tensor *x, int in_heads, const char *weight,
                             const char *gradient)
{
    const struct hy_feature_map s = {HY_MAP_SOFTMAX, r->heads, in_heads, r->key_width,
                                     r->features->columns};
    r->features->width = (int)hy_feature_map_width(&s);
    return hy_feature_map(r->graph, x,
                          own_leaf(r, weight, gradient, r->heads, (int64_t)s.width * s.columns),
                          NULL, &s);
}

/* Keys have a map for each head of the queries. */
static void map_both(struct run *r)
{
    struct features *s = r->features;
    s->f = map(r, s->q, r->heads, "wq", "d_wq");
    s->g = map(r, s->k, s->kv_heads, "wk", "d_wk");
    s->g_heads = r->heads;
}

/* ---- Linear attention, and what stands beside it ---- */

static int64_t state_rows(const struct run *r)
{
    return (int64_t)r->batch * r->heads * r->features->width;
}

static struct hy_tensor *attend(struct run *r, int lag, struct hy_tensor **d, struct hy_tensor **ht)
{
    const struct features *s = r->features;
    const struct hy_linear_attention shape = {
        r->heads, s->g_heads, s->kv_heads, s->width, r->value_width, lag, s->terraced && lag};
    const struct hy_linear_attention_in in = {.f = s->f, .g = s->g, .v = s->v, .h0 = s->h0};
    return hy_linear_attention(r->graph, &in, &shape, d, ht);
}

static struct hy_tensor *join(struct run *r, const struct hy_joint_in *in)
{
    const struct hy_joint s = {r->heads, r->value_width, r->features->affine};
    return hy_joint(r->graph, in, &s, NULL);
}

static struct hy_tensor *build_linear(struct run *r)
{
    struct features *s = r->features;
    struct hy_joint_in in = {0};
    if (input(r, "h0"))
        s->h0 = hy_graph_leaf(r->graph, "states", state_rows(r), r->value_width + 1, -1, 1);
    in.n = attend(r, 0, &in.d, &s->ht);
    hy_graph_keep(s->ht);
    if (s->ht && input(r, "grad_ht")) {
        s->given = hy_graph_input(r->graph, "given", HY_REAL, s->ht->rows, s->ht->cols);
        add_output(r, s->ht, s->given);
    }
    return join(r, &in);
}

static struct hy_tensor *window_of(struct run *r, int window, int first, struct hy_tensor **excess)
{
    const struct features *s = r->features;
    const struct hy_attention shape = {.heads = r->heads,
                                       .kv_heads = s->kv_heads,
                                       .key_width = r->key_width,
                                       .value_width = r->value_width,
                                       .scale = r->scale,
                                       .window = window,
                                       .terraced = window && s->terraced,
                                       .first = first};
    return excess ? hy_attention_excess(r->graph, s->q, s->k, s->v, &shape, NULL, NULL, excess)
                  : hy_attention(r->graph, s->q, s->k, s->v, &shape, NULL, NULL);
}

/* Which terms there are, by the name that the file has for them. */
static struct hy_tensor *build_component(struct run *r)
{
    static const struct {
        const char *name;
        int window, lag;
    } joined[] = {{"full", 1, 1}, {"overlap", 1, 0}, {"linear", 0, 1}, {"dropped", 0, 0}};
    const struct features *s = r->features;
    const char *component = hy_st_value(r->file, "component");
    struct hy_joint_in in = {0};
    if (!component)
        return hy_graph_fail(r->graph, "no component is named");
    if (!strcmp(component, "window"))
        return window_of(r, s->window, 0, NULL);
    if (!strcmp(component, "sinks"))
        return window_of(r, 0, (int)number(r, "sinks"), NULL);
    if (!strcmp(component, "none"))
        return hy_constant(r->graph, (int64_t)r->batch * r->tokens,
                           (int64_t)r->heads * r->value_width, value, 0);
    for (size_t i = 0; i < sizeof joined / sizeof *joined; i++) {
        if (strcmp(component, joined[i].name))
            continue;
        in.n = attend(r, joined[i].lag ? s->window : 0, &in.d, NULL);
        if (joined[i].window) {
            in.w = window_of(r, s->window, 0, &in.x);
            in.factor = s->factor;
        }
        return join(r, &in);
    }
    return hy_graph_fail(r->graph, "component %s", component);
}

/* ---- The operators ---- */

struct hy_tensor *build_hedgehog(struct run *r)
{
    if (!start(r))
        return NULL;
    return map(r, rows_leaf(r, "x", "d_x", (int64_t)r->heads * r->key_width), r->heads, "w", "d_w");
}

struct hy_tensor *build_hedgehog_linear(struct run *r)
{
    if (!start(r))
        return NULL;
    read_queries(r);
    read_values(r);
    map_both(r);
    return build_linear(r);
}

struct hy_tensor *build_feature_linear(struct run *r)
{
    if (!start(r))
        return NULL;
    read_features(r);
    read_values(r);
    return build_linear(r);
}

struct hy_tensor *build_hybrid_window(struct run *r)
{
    if (!start(r))
        return NULL;
    read_queries(r);
    read_values(r);
    read_factor(r);
    map_both(r);
    return build_component(r);
}

struct hy_tensor *build_feature_window(struct run *r)
{
    if (!start(r))
        return NULL;
    read_queries(r);
    read_values(r);
    read_factor(r);
    read_features(r);
    return build_component(r);
}

struct hy_tensor *build_transfer(struct run *r)
{
    struct features *s = start(r);
    if (!s)
        return NULL;
    read_queries(r);
    read_factor(r);
    map_both(r);
    const struct hy_transfer shape = {.heads = r->heads,
                                      .kv_heads = s->kv_heads,
                                      .g_heads = s->g_heads,
                                      .key_width = r->key_width,
                                      .features = s->width,
                                      .scale = r->scale,
                                      .window = s->window,
                                      .terraced = s->terraced,
                                      .affine = s->affine};
    struct hy_transfer_in in = {.tq = s->q, .tk = s->k, .f = s->f, .g = s->g};
    if (s->window) {
        in.q = s->q;
        in.k = s->k;
        in.factor = s->factor;
    }
    return hy_transfer(r->graph, &in, &shape);
}

/* Every row is labelled; the operator's factor tau^2 is divided out. */
struct hy_tensor *build_logit_kl(struct run *r)
{
    const int64_t rows = (int64_t)r->batch * r->tokens;
    const double tau = number(r, "tau");
    if (!start(r))
        return NULL;
    struct hy_tensor *student = rows_leaf(r, "student", "d_student", r->value_width);
    struct hy_tensor *teacher = hy_graph_input(r->graph, "teacher", HY_REAL, rows, r->value_width);
    struct hy_tensor *y =
        hy_kl(r->graph, student, teacher, hy_constant_index(r->graph, rows, value, 0), tau);
    return y ? hy_sum(r->graph, 1, &y, 1 / (tau * tau)) : NULL;
}

/* ---- States: the file has S and z apart ---- */

static int fill_states(const struct run *r, struct hy_tensor *t, const char *s_name,
                       const char *z_name)
{
    if (!t)
        return 0;
    const float *s = input(r, s_name), *z = input(r, z_name);
    const int64_t width = t->cols - 1;
    float *to = hy_input(t, 0);
    if (!s || !z)
        return -1;
    for (int64_t i = 0; i < t->rows; i++, to += width + 1) {
        memcpy(to, s + i * width, (size_t)width * sizeof *to);
        to[width] = z[i];
    }
    return 0;
}

static int take_states(struct run *r, const struct hy_tensor *t, const char *s_name,
                       const char *z_name)
{
    if (!t)
        return 0;
    const int64_t width = t->cols - 1;
    float *s = add_result(r, s_name, t->rows * width), *z = add_result(r, z_name, t->rows);
    float *all = malloc((size_t)(t->rows * t->cols) * sizeof *all);
    struct hy_err e;
    const int rc = s && z && all ? hy_graph_read(t, 0, all, &e) : -1;
    for (int64_t i = 0; !rc && i < t->rows; i++) {
        memcpy(s + i * width, all + i * t->cols, (size_t)width * sizeof *s);
        z[i] = all[i * t->cols + width];
    }
    free(all);
    return rc;
}

int prepare_features(struct run *r)
{
    const struct features *s = r->features;
    return fill_states(r, s->h0, "h0", "z0") || fill_states(r, s->given, "grad_ht", "grad_zt") ? -1
                                                                                               : 0;
}

/* What no result depends on has a gradient of zero. */
int finish_features(struct run *r)
{
    const struct features *s = r->features;
    for (int i = 0; i < s->leaf_count; i++) {
        const struct hy_tensor *t = s->leaves[i].leaf;
        const char *name = s->leaves[i].gradient;
        if (t->grad ? take_result(r, name, t->grad) : !add_result(r, name, t->rows * t->cols))
            return -1;
    }
    return take_states(r, s->ht, "ht", "zt") ||
                   take_states(r, s->h0 ? s->h0->grad : NULL, "d_h0", "d_z0")
               ? -1
               : 0;
}
