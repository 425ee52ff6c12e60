/* gated_deltanet.c - the gated delta rule (arXiv 2412.06464): decay, then correct what the key
 * recalls. S'  = exp(g_t) S_{t-1},  S_t = S' + beta_t k_t (v_t - S'' k_t)',  o_t = S_t' q_t /
 * sqrt(dk) g = -exp(A_log) softplus(a x + dt_bias), beta = sigmoid(b x), both per head; q, k, v
 * pass a short convolution and SiLU, q and k are l2-normalised */
#include <math.h>
#include <stdio.h>

#include "core/ops/conv_silu.h"
#include "core/ops/decay_gate.h"
#include "core/ops/delta_scan.h"
#include "core/ops/l2norm.h"
#include "core/ops/sigmoid.h"
#include "variants/variant.h"

static const struct hy_option gated_deltanet_options[] = {
    {"expand_k", HY_OPT_REAL, .def = 1, .min = 0.0625, .max = 8,
     .help = "key width as a multiple of d_model"},
    {"expand_v", HY_OPT_REAL, .def = 2, .min = 0.0625, .max = 8,
     .help = "value width as a multiple of d_model"},
    {"conv", HY_OPT_INT, .def = 4, .min = 1, .max = 16,
     .help = "tokens that the short convolution sees"},
    {"negative_eigenvalues", HY_OPT_BOOL, .def = 0, .max = 1,
     .help = "beta up to 2, so that a key can flip what it recalls"},
    {0},
};

static int gated_deltanet_check(const struct hy_mixer *m, struct hy_err *e)
{
    const int rc = hy_mixer_check_width(m, "gated_deltanet", "expand_k", e);
    return rc ? rc : hy_mixer_check_width(m, "gated_deltanet", "expand_v", e);
}

static double draw_a_log(struct hy_rng *rng)
{
    return log(16 * hy_rng_uniform(rng));
}

/* The inverse softplus of dt, dt log-uniform in [1e-3, .1]. */
static double draw_dt_bias(struct hy_rng *rng)
{
    const double dt = fmax(exp(log(1e-3) + hy_rng_uniform(rng) * (log(.1) - log(1e-3))), 1e-4);
    return dt + log(-expm1(-dt));
}

static struct hy_tensor *per_head(struct hy_mixer *m, const char *name,
                                  double (*draw)(struct hy_rng *))
{
    return hy_mixer_param(m, name, 1, (int64_t[]){m->heads},
                          (struct hy_init){.law = HY_INIT_DRAW, .draw = draw}, 0);
}

/* One convolution over q, k and v side by side: three public weights as one matrix. */
static struct hy_tensor *convolve(struct hy_mixer *m, struct hy_tensor *qkv, int64_t keys,
                                  int64_t values)
{
    static const char *const names[] = {"q", "k", "v"};
    const int64_t channels[] = {keys, keys, values}, taps = hy_get_int(m->options, "conv");
    struct hy_entry entries[3];
    for (int i = 0; i < 3; i++) {
        entries[i] = (struct hy_entry){
            .rank = 3,
            .dims = {channels[i], 1, taps},
            .init = {.law = HY_INIT_NORMAL, .b = m->init_std},
            .decays = 1,
        };
        snprintf(entries[i].name, sizeof entries[i].name, "model.layers.%d.attn.%s_conv1d.weight",
                 m->layer, names[i]);
    }
    struct hy_tensor *state =
        taps > 1 ? hy_mixer_state(m, "conv", taps - 1, 2 * keys + values) : NULL;
    return hy_conv_silu(m->graph, qkv, hy_graph_params(m->graph, 3, entries), state);
}

static struct hy_tensor *gated_deltanet_build(struct hy_mixer *m, struct hy_tensor *x)
{
    struct hy_graph *g = m->graph;
    const int64_t dk = hy_mixer_width(m, "expand_k"), dv = hy_mixer_width(m, "expand_v");
    const int64_t keys = m->heads * dk, values = m->heads * dv;
    const struct hy_scan scan = {
        .heads = m->heads,
        .key_width = (int)dk,
        .value_width = (int)dv,
        .scale = 1 / sqrt((double)dk),
    };
    const int64_t parts[] = {2 * keys + values, values, m->heads, m->heads};
    struct hy_tensor *p[4], *kv[2], *qk[2];
    hy_mixer_project_parts(m, x, 6,
                           (struct hy_projection[]){{"q_proj", keys},
                                                    {"k_proj", keys},
                                                    {"v_proj", values},
                                                    {"g_proj", values},
                                                    {"b_proj", m->heads},
                                                    {"a_proj", m->heads}},
                           4, parts, p);
    struct hy_tensor *qkv = convolve(m, p[0], keys, values);
    hy_graph_split(g, qkv, 2, (int64_t[]){2 * keys, values}, kv);
    hy_graph_split(g, hy_l2norm(g, kv[0], 2 * m->heads, 1e-6), 2, (int64_t[]){keys, keys}, qk);
    struct hy_tensor *beta =
        hy_sigmoid_of(g, p[2], hy_get_bool(m->options, "negative_eigenvalues") ? 2 : 1);
    struct hy_tensor *decay = hy_decay_gate(g, p[3], per_head(m, "A_log", draw_a_log),
                                            per_head(m, "dt_bias", draw_dt_bias));
    struct hy_tensor *state = hy_mixer_state(m, "state", keys, dv);
    struct hy_tensor *o =
        hy_delta_scan(g, qk[0], qk[1], kv[1], beta, decay, &scan, state, state ? &state : NULL);
    return hy_mixer_output(m, o, p[1], "o_norm.weight");
}

static int64_t gated_deltanet_state(const struct hy_mixer *m, int64_t context)
{
    (void)context;
    const int64_t dk = hy_mixer_width(m, "expand_k"), dv = hy_mixer_width(m, "expand_v");
    const int64_t conv = hy_get_int(m->options, "conv") - 1;
    return m->heads * (dk * dv + conv * (2 * dk + dv));
}

const struct hy_variant hy_variant_gated_deltanet = {
    .name = "gated_deltanet",
    .summary = "gated delta rule: decays, then overwrites what a key recalls",
    .options = gated_deltanet_options,
    .build = gated_deltanet_build,
    .state_elements = gated_deltanet_state,
    .check = gated_deltanet_check,
};
