/* objective.h - the contract of what a model is trained towards.
 *
 * An objective is one file under core/objectives/ that defines
 * `const struct hy_objective hy_objective_<name>`; CMake generates the table from the file names.
 * It gives a loss for each position, from the ends of the student, which is trained, and of the
 * teacher, which is not. */
#ifndef HY_MODEL_OBJECTIVE_H
#define HY_MODEL_OBJECTIVE_H

#include "core/base/option.h"
#include "core/model/model.h"

struct hy_objective_ends {
    struct hy_graph *graph;
    const struct hy_model_spec *spec;    /* the student's */
    struct hy_model_ends *student;       /* body alone; nll and hit are the objective's to set */
    const struct hy_model_ends *teacher; /* body alone; NULL: there is none */
    struct hy_tensor *labels;            /* [batch*tokens, 1], HY_NO_LABEL where unscored */
    int64_t max_labels;                  /* positions that are scored, at most */
    const struct hy_value *options;      /* resolved against the objective's table */
};

struct hy_objective {
    const char *name, *summary;
    const struct hy_option *options;
    int needs_teacher;
    /* Its loss is the mean over all positions; 0: their sum by the weights that the task gives the
     * labelled ones. */
    int every_token;
    /* The student's mixers read what the teacher's do (hy_model_spec.forced). Where it is left to
     * the user, the objective has an option "forced". */
    int is_forced;
    /* Returns the losses [batch*tokens, 1]. */
    struct hy_tensor *(*build)(const struct hy_objective_ends *ends);
};

extern const struct hy_objective hy_objective_lm; /* the ordinary one */
/* The generated table, sorted by name, ended by NULL. */
extern const struct hy_objective *const hy_objectives[];
int hy_objective_is_forced(const struct hy_objective *o, const struct hy_value *options);
const struct hy_objective *hy_objective_find(const char *name); /* NULL where absent */

#endif
