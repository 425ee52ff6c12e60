/* The sections of a sweep file: one row per key. */
#include "core/trial/config.h"

#include <string.h>

static const struct hy_option model_options[] = {
    {"d_model", HY_OPT_INT, .def = 128, .min = 1, .max = 65536, .help = "width of the model"},
    {"layers", HY_OPT_INT, .def = 4, .min = 1, .max = HY_MAX_LAYERS, .help = "blocks"},
    {"heads", HY_OPT_INT, .def = 4, .min = 1, .max = 1024, .help = "heads of a mixer"},
    {"mlp", HY_OPT_INT, .def = -1, .min = -1, .max = 1048576,
     .help = "hidden width of the MLP; 0: no MLP; -1: 256 * ceil(int(8/3 d_model) / 256)"},
    {"vocab", HY_OPT_INT, .def = 0, .min = 0, .max = 16777216,
     .help = "vocabulary; 0: what the tasks need"},
    {"norm_eps", HY_OPT_REAL, .def = 1e-6, .min = 1e-12, .max = 0.1, .help = "epsilon of RMSNorm"},
    {"init_std", HY_OPT_REAL, .def = 0.02, .min = 0, .max = 10,
     .help = "standard deviation of initial weights"},
    {0},
};

static const struct hy_option mixer_options[] = {
    {"variant", HY_OPT_STRING, .help = "token mixer of the linear layers; its options go here too"},
    {"ratio", HY_OPT_STRING, .text = "3:1", .help = "linear to full layers: pure, n:1 or full"},
    {"placement", HY_OPT_CHOICE, .text = "interleave", .choices = hy_placement_choices,
     .help = "where the full layers lie"},
    {"layers", HY_OPT_INTS, .min = 0, .max = HY_MAX_LAYERS - 1,
     .help = "the full layers, from 0, in place of ratio and placement"},
    {0},
};

static const struct hy_option full_options[] = {
    {"variant", HY_OPT_STRING, .text = "softmax",
     .help = "mixer of the full layers; its options go here too"},
    {0},
};

static const struct hy_option train_options[] = {
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
    {"precision", HY_OPT_CHOICE, .text = "float32", .choices = hy_precision_choices,
     .help = "of the operands of large products; sums, weights, states and losses are float32"},
    {0},
};

static const struct hy_option eval_options[] = {
    {"every", HY_OPT_INT, .def = 0, .min = 0, .max = 2147483647,
     .help = "steps between evaluations on validation data; 0: at the end only"},
    {"contexts", HY_OPT_INTS, .min = 1, .max = 16777216,
     .help = "context lengths at which cache and decoding are measured; default: seq_len"},
    {0},
};

static const struct hy_option run_options[] = {
    {"device", HY_OPT_STRING, .text = "auto",
     .help = "auto, cpu, cuda or cuda:K; auto: a GPU where there is one"},
    {"threads", HY_OPT_INT, .def = 1, .min = 1, .max = 1024, .help = "CPU threads of a run"},
    {"timeout", HY_OPT_DURATION, .def = 0, .min = 0, .max = 1e9,
     .help = "longest time that a run may take; 0: no limit"},
    {"memory", HY_OPT_AMOUNT, .def = 0, .min = 0, .max = 0x1p50,
     .help = "most bytes that a run may allocate; 0: no limit"},
    {"watchdog", HY_OPT_DURATION, .def = 600, .min = 0, .max = 1e9,
     .help = "a run that reports nothing for so long is killed; 0: never"},
    {"retries", HY_OPT_INT, .def = 1, .min = 0, .max = 100, .help = "new attempts after a failure"},
    {"checkpoint_every", HY_OPT_INT, .def = 0, .min = 0, .max = 2147483647,
     .help = "steps between checkpoints; 0: only when stopped"},
    {"isolate", HY_OPT_CHOICE, .text = "process", .choices = "process|none",
     .help = "none: runs are threads of their rank, begin at once, and may take it along"},
    {"gang", HY_OPT_INT, .def = 0, .min = 0, .max = 1024, .text = "auto",
     .help = "runs that train in one graph, where they differ in seed, lr and weight_decay alone; "
             "auto: what a GPU holds, 1 on CPUs"},
    {"keep_checkpoint", HY_OPT_BOOL, .def = 0, .help = "keep the checkpoint of a finished run"},
    {0},
};

const struct hy_section hy_sections[] = {
    {"model", model_options, "the model's shape"},
    {"mixer", mixer_options, "token mixer of the linear layers, and how many are linear"},
    {"full", full_options, "token mixer of the full-attention layers"},
    {"data", NULL,
     "lists of tasks: train {task, weight, its options}, eval {task, seq_len, its options}"},
    {"train", train_options, "optimizer and batches"},
    {"eval", eval_options, "what is measured"},
    {"run", run_options, "how runs are carried out; does not change results"},
    {0},
};

const struct hy_section *hy_section_find(const char *name)
{
    for (const struct hy_section *s = hy_sections; s->name; s++)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}
