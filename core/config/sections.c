/* The sections of a sweep file. Each has a file of its own, with a row per key. */
#include "core/config/read.h"

#include <string.h>

const struct hy_section hy_sections[] = {
    {"model", hy_model_options, "the model's shape"},
    {"mixer", hy_mixer_options, "token mixer of the linear layers, and how many are linear"},
    {"full", hy_full_options, "token mixer of the full-attention layers"},
    {"kinds", NULL,
     "further kinds of layers, by name: {variant, its options} or {parallel: [...]}"},
    {"layers", hy_layers_options, "the kind of each layer, in place of mixer.ratio"},
    {"select", hy_select_options,
     "the run finds which layers stay full: method, its options, tolerance or budget"},
    {"init", hy_init_options,
     "where the weights come from: from (settings of another run, or a folder), map, strict"},
    {"data", NULL,
     "lists of tasks: train {task, weight, its options}, eval {task, seq_len, its options}"},
    {"train", hy_train_options, "optimizer and batches"},
    {"stages", NULL,
     "training in stages: a list of {objective, train, lora, steps, lr, ...}, each with what "
     "section train says where it says nothing"},
    {"recipe", hy_recipe_options, "a list of stages by its name, or {name, its options}"},
    {"eval", hy_eval_options, "what is measured"},
    {"run", hy_run_options, "how runs are carried out; does not change results"},
    {0},
};

const struct hy_section *hy_section_find(const char *name)
{
    for (const struct hy_section *s = hy_sections; s->name; s++)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}
