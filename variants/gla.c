/* gla.c - gated linear attention (arXiv 2312.06635).
 *   S_t = diag(exp g_t) S_{t-1} + k_t v_t',  o_t = S_t' q_t / sqrt(dk)
 *   g = logsigmoid(W2 W1 x + b) / 16, one decay per key channel, W1 of low rank */
#include <math.h>

#include "core/ops/gated_scan.h"
#include "core/ops/log_sigmoid.h"
#include "variants/variant.h"

static const struct hy_option gla_options[] = {
    {"expand_k", HY_OPT_REAL, .def = 0.5, .min = 0.0625, .max = 8,
     .help = "key width as a multiple of d_model"},
    {"expand_v", HY_OPT_REAL, .def = 1, .min = 0.0625, .max = 8,
     .help = "value width as a multiple of d_model"},
    {"gate_rank", HY_OPT_INT, .def = 16, .min = 1, .max = 4096,
     .help = "rank of the decay's projection"},
    {"gate_divisor", HY_OPT_REAL, .def = 16, .min = 1, .max = 1024,
     .help = "divides the log decay: larger forgets more slowly"},
    {0},
};

static int gla_check(const struct hy_mixer *m, struct hy_err *e)
{
    const int rc = hy_mixer_check_width(m, "gla", "expand_k", e);
    return rc ? rc : hy_mixer_check_width(m, "gla", "expand_v", e);
}

static struct hy_tensor *gla_build(struct hy_mixer *m, struct hy_tensor *x)
{
    struct hy_graph *g = m->graph;
    const int64_t dk = hy_mixer_width(m, "expand_k"), dv = hy_mixer_width(m, "expand_v");
    const struct hy_scan scan = {
        .heads = m->heads,
        .key_width = (int)dk,
        .value_width = (int)dv,
        .scale = 1 / sqrt((double)dk),
    };
    struct hy_tensor *p[5];
    hy_mixer_project(m, x, 5,
                     (struct hy_projection[]){{"q_proj", m->heads * dk},
                                              {"k_proj", m->heads * dk},
                                              {"v_proj", m->heads * dv},
                                              {"g_proj", m->heads * dv},
                                              {"gk_proj.0", hy_get_int(m->options, "gate_rank")}},
                     p);
    struct hy_tensor *bias = hy_mixer_param(m, "gk_proj.1.bias", 1, (int64_t[]){m->heads * dk},
                                            (struct hy_init){.law = HY_INIT_CONSTANT}, 0);
    struct hy_tensor *decay =
        hy_log_sigmoid_of(g, hy_mixer_linear(m, p[4], "gk_proj.1", m->heads * dk), bias,
                          hy_get_real(m->options, "gate_divisor"));
    struct hy_tensor *state = hy_mixer_state(m, "state", m->heads * dk, dv);
    struct hy_tensor *o =
        hy_gated_scan(g, p[0], p[1], p[2], decay, &scan, state, state ? &state : NULL);
    return hy_mixer_output(m, o, p[3], "g_norm_swish_gate.weight");
}

static int64_t gla_state(const struct hy_mixer *m, int64_t context)
{
    (void)context;
    return m->heads * hy_mixer_width(m, "expand_k") * hy_mixer_width(m, "expand_v");
}

const struct hy_variant hy_variant_gla = {
    .name = "gla",
    .summary = "gated linear attention: a data-dependent decay per key channel",
    .options = gla_options,
    .build = gla_build,
    .state_elements = gla_state,
    .check = gla_check,
};
