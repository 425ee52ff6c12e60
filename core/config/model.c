/* Section model: the shape of the model. */
#include "core/config/read.h"

#include <string.h>

const struct hy_option hy_model_options[] = {
    {"d_model", HY_OPT_INT, .def = 128, .min = 1, .max = 65536, .help = "width of the model"},
    {"layers", HY_OPT_INT, .def = 4, .min = 1, .max = HY_MAX_LAYERS, .help = "blocks"},
    {"heads", HY_OPT_INT, .def = 4, .min = 1, .max = HY_MAX_HEADS, .help = "heads of a mixer"},
    {"mlp", HY_OPT_INT, .def = -1, .min = -1, .max = 1048576,
     .help = "hidden width of the MLP; 0: no MLP; -1: 256 * ceil(int(8/3 d_model) / 256)"},
    {"vocab", HY_OPT_INT, .def = 0, .min = 0, .max = 16777216,
     .help = "vocabulary; 0: what the tasks need"},
    {"norm_eps", HY_OPT_REAL, .def = 1e-6, .min = 1e-12, .max = 0.1, .help = "epsilon of RMSNorm"},
    {"init_std", HY_OPT_REAL, .def = 0.02, .min = 0, .max = 10,
     .help = "standard deviation of initial weights"},
    {"norm", HY_OPT_CHOICE, .quiet = 1, .text = "pre", .choices = hy_norms_choices,
     .help = "RMSNorm before mixer and MLP, after them, or both"},
    {"tied", HY_OPT_BOOL, .quiet = 1, .max = 1, .help = "the head is the embedding"},
    {0},
};

int hy_config_read_model(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    static const char *const own[] = {"match", NULL};
    struct hy_value *s;
    int rc = hy_config_read_section(tree, "model", own, c, &s, e);
    if (!rc)
        rc = hy_config_read_match(hy_value_get(tree, "model"), s, e);
    if (rc)
        return rc;
    c->model.d_model = (int)hy_get_int(s, "d_model");
    c->model.layers = (int)hy_get_int(s, "layers");
    c->model.heads = (int)hy_get_int(s, "heads");
    c->model.mlp = (int)hy_get_int(s, "mlp");
    c->model.vocab = (int)hy_get_int(s, "vocab");
    c->model.norm_eps = hy_get_real(s, "norm_eps");
    c->model.init_std = hy_get_real(s, "init_std");
    c->model.tied = hy_get_bool_or(s, "tied", 0);
    const char *norm = hy_get_string_or(s, "norm", "pre");
    c->model.norms = *norm == 's'     ? HY_NORMS_SANDWICH
                     : norm[1] == 'o' ? HY_NORMS_POST
                                      : HY_NORMS_PRE;
    if (c->model.d_model % c->model.heads) {
        const struct hy_place at = hy_place_of(hy_value_get(s, "heads"));
        return hy_fail(e, HY_E_USAGE, "%sd_model %d is not a multiple of heads %d", at.text,
                       c->model.d_model, c->model.heads);
    }
    if (c->model.mlp >= 0)
        return HY_OK;
    c->model.mlp = (c->model.d_model * 8 / 3 + 255) / 256 * 256;
    return hy_value_set(s, "mlp", hy_value_int(c->model.mlp), e);
}

int hy_config_default_layers(void)
{
    const struct hy_option *o = hy_model_options;
    while (strcmp(o->key, "layers") != 0)
        o++;
    return (int)o->def;
}
