/* Section train: the optimizer and its batches. */
#include "core/config/read.h"

#include <string.h>

const struct hy_option hy_train_options[] = {
    {"steps", HY_OPT_INT, .def = 1000, .min = 1, .max = 2147483647, .help = "optimizer steps"},
    {"batch", HY_OPT_INT, .def = 16, .min = 1, .max = 65536, .help = "sequences per step"},
    {"seq_len", HY_OPT_INT, .def = 256, .min = 1, .max = 1048576, .help = "tokens per sequence"},
    {"lr", HY_OPT_REAL, .def = 1e-3, .min = 0, .max = 100, .help = "highest learning rate"},
    {"lr_end", HY_OPT_REAL, .def = 0.1, .min = 0, .max = 1,
     .help = "final learning rate as a fraction of lr"},
    {"warmup", HY_OPT_REAL, .def = 0.1, .min = 0, .max = 2147483647,
     .help = "warm-up; below 1 a fraction of steps, else steps"},
    {"schedule", HY_OPT_CHOICE, .text = "cosine", .choices = "cosine|constant",
     .help = "learning rate after the warm-up"},
    {"weight_decay", HY_OPT_REAL, .def = 0.1, .min = 0, .max = 10, .help = "AdamW's decay"},
    {"clip", HY_OPT_REAL, .def = 1, .min = 0, .max = 1e9, .help = "gradient norm limit; 0: none"},
    {"beta1", HY_OPT_REAL, .def = 0.9, .min = 0, .max = 0.999999, .help = "AdamW's beta1"},
    {"beta2", HY_OPT_REAL, .def = 0.95, .min = 0, .max = 0.999999, .help = "AdamW's beta2"},
    {"eps", HY_OPT_REAL, .def = 1e-8, .min = 1e-30, .max = 1, .help = "AdamW's epsilon"},
    {"seed", HY_OPT_INT, .def = 0, .min = 0, .max = 0x1p53,
     .help = "of initial weights and training data"},
    {"precision", HY_OPT_CHOICE, .quiet = 1, .text = "float32", .choices = hy_precision_choices,
     .help = "of the operands of large products; sums, weights, states and losses are float32"},
    {0},
};

int hy_config_read_train(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    struct hy_value *s;
    const int rc = hy_config_read_section(tree, "train", NULL, c, &s, e);
    if (rc)
        return rc;
    c->train.steps = hy_get_int(s, "steps");
    c->train.batch = (int)hy_get_int(s, "batch");
    c->train.seq_len = (int)hy_get_int(s, "seq_len");
    c->train.lr = hy_get_real(s, "lr");
    c->train.lr_end = hy_get_real(s, "lr_end");
    c->train.warmup = hy_get_real(s, "warmup");
    c->train.cosine = !strcmp(hy_get_string(s, "schedule"), "cosine");
    c->train.weight_decay = hy_get_real(s, "weight_decay");
    c->train.clip = hy_get_real(s, "clip");
    c->train.beta1 = hy_get_real(s, "beta1");
    c->train.beta2 = hy_get_real(s, "beta2");
    c->train.eps = hy_get_real(s, "eps");
    c->train.seed = hy_get_int(s, "seed");
    c->train.precision =
        (enum hy_precision)hy_precision_parse(hy_get_string_or(s, "precision", "float32"));
    return HY_OK;
}
