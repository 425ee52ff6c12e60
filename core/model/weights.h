/* weights.h - weights that come from elsewhere: from a checkpoint of another run, or from a folder
 * of another program.
 *
 * Weights are matched by name. What the model has and the source lacks keeps its initial value;
 * what the source has and nobody takes is left. Both are told. A tensor whose shape is another one
 * is an error that names both shapes, unless the map says to leave it. */
#ifndef HY_MODEL_WEIGHTS_H
#define HY_MODEL_WEIGHTS_H

#include "core/base/buf.h"
#include "core/base/hash.h"
#include "core/graph/slab.h"
#include "core/model/safetensors.h"

struct hy_weights {
    struct hy_st_file *files;
    size_t count;
};

/* path: a safetensors file, or a folder with model.safetensors, or with the files that its
 * model.safetensors.index.json names. HY_E_USAGE says what is missing or damaged. */
int hy_weights_open(const char *path, struct hy_weights *out, struct hy_err *e);
/* The hash of what hy_weights_open() would read, and of a folder's config.json, which it must hold.
 */
int hy_weights_hash(const char *path, char text[HY_HASH_TEXT], struct hy_err *e);
void hy_weights_close(struct hy_weights *w);
const struct hy_st_tensor *hy_weights_find(const struct hy_weights *w,
                                           const char *name); /* or NULL */

/* What is taken, and under which names it is looked for. */
struct hy_weights_order {
    const char *prefix; /* of the model's parameters that are meant; taken off. NULL: none */
    /* Optional: the source's name of one of the model's parameters; 0 where it has none. */
    int (*rename)(void *context, const char *name, char out[HY_NAME_SIZE]);
    void *context;
    /* Optional: from names of the model's parameters to names in the source, each with one '*' at
     * most, which stands for the same text in both; null: that parameter is not taken. Comes first.
     */
    const struct hy_value *map;
    /* Optional: parameters that this pattern fits keep their initial values where the source's have
     * another shape, which is an error for all others. */
    const char *may_differ;
    int strict; /* what would keep its initial value, or would be left, is an error */
};

struct hy_weights_report {
    int taken, initialised, unused;
    struct hy_buf initialised_names, unused_names; /* separated by blanks; owned */
};
void hy_weights_report_release(struct hy_weights_report *r);

/* Takes weights into a replica of a slab that is allocated: those of a model's own parameters, or
 * of a teacher's where the prefix says so; low-rank additions are left alone. Numbers of 16 and 64
 * bits are converted. The replica is untouched on failure. report: zeroed by the caller. */
int hy_weights_take(const struct hy_weights *w, const struct hy_weights_order *order,
                    struct hy_slab *params, int replica, struct hy_weights_report *report,
                    struct hy_err *e);

/* As hy_weights_take, but nothing is moved: params need not be allocated. */
int hy_weights_check(const struct hy_weights *w, const struct hy_weights_order *order,
                     const struct hy_slab *params, struct hy_weights_report *report,
                     struct hy_err *e);
/* The weights that a model will have, names and shapes alone: for hy_weights_check. params is
 * borrowed; close *out. */
int hy_weights_plan(const struct hy_slab *params, struct hy_weights *out, struct hy_err *e);

/* One value of a half-precision number, exactly. */
double hy_half_value(uint16_t bits);

#endif
