/* output.c - hidden states: what each layer's mixer gives becomes what the teacher's gives, whose
 * layers are as many and as wide. Student and teacher each read their own stream; or, where forced,
 * each layer of the student reads what the teacher's does, so that layers learn by themselves
 * (MOHAWK, arXiv 2408.10189; RADLADS, arXiv 2505.03005). With `of: heads` what is compared are
 * the heads' outputs in front of o_proj (LoLCATs, arXiv 2410.10254). */
#include <string.h>

#include "core/model/objective.h"
#include "core/ops/squared_error.h"
#include "core/ops/sum.h"

static const struct hy_option output_options[] = {
    {"forced", HY_OPT_BOOL, .quiet = 1, .max = 1,
     .help = "each layer reads what the teacher's layer reads"},
    {"of", HY_OPT_CHOICE, .quiet = 1, .text = "mixers", .choices = "mixers|heads",
     .help = "whose outputs: mixers', or those of attention's heads"},
    {0},
};

static struct hy_tensor *output_build(const struct hy_objective_ends *ends)
{
    const int heads = !strcmp(hy_get_string_or(ends->options, "of", "mixers"), "heads");
    struct hy_tensor *errors[HY_MAX_LAYERS];
    int count = 0;
    for (int i = 0; i < ends->spec->layers; i++) {
        const struct hy_model_ends *s = ends->student, *t = ends->teacher;
        struct hy_tensor *own = heads ? s->inside[i].o : s->outputs[i];
        struct hy_tensor *wanted = heads ? t->inside[i].o : t->outputs[i];
        if (own && wanted)
            errors[count++] = hy_squared_error(ends->graph, own, wanted);
    }
    if (!count)
        return hy_graph_fail(ends->graph,
                             "objective output: no layer of the model and of its "
                             "teacher both have %s",
                             heads ? "heads of attention" : "mixers");
    return hy_mean(ends->graph, count, errors);
}

const struct hy_objective hy_objective_output = {
    .name = "output",
    .summary = "squared error of the mixers' outputs, mean over layers",
    .options = output_options,
    .needs_teacher = 1,
    .every_token = 1,
    .build = output_build,
};
