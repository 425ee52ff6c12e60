/* config.h - the configuration of one run, checked and complete.
 *
 * Made from a tree of settings (a sweep file's document with one cell of its matrix laid over it, or the
 * canonical JSON that a rank hands to its child): hy_config_resolve() checks every key against the
 * tables in config.c, the variant's and the tasks' options, fills in defaults and drops nothing. What
 * it accepts can be trained, apart from the environment (files, memory). */
#ifndef HY_TRIAL_CONFIG_H
#define HY_TRIAL_CONFIG_H

#include "core/base/hash.h"
#include "core/base/value.h"
#include "core/model/layout.h"
#include "core/tasks/data.h"
#include "variants/variant.h"

/* Raised when a change alters the results of a run: part of every key. */
enum { HY_ENGINE_REVISION = 1 };

enum { HY_MAX_CONTEXTS = 16 };

struct hy_config {
    char *name; /* of the sweep */
    struct {
        int d_model, layers, heads, mlp;
        int vocab; /* 0: what the data needs (the usual case) */
        double norm_eps, init_std;
    } model;
    struct {
        const struct hy_variant *linear; /* the mixer of linear layers; NULL in a full model */
        struct hy_value *linear_options; /* resolved, or NULL */
        const struct hy_variant *full;   /* the mixer of full layers; NULL in a pure model */
        struct hy_value *full_options;
        struct hy_layout layout;
    } mixer;
    struct {
        struct hy_source train[HY_MAX_SOURCES], eval[HY_MAX_SOURCES];
        int train_count, eval_count;
    } data;
    struct {
        int64_t steps;
        int batch, seq_len;
        double lr, lr_end; /* lr_end: final rate as a fraction of lr */
        double warmup;     /* below 1: a fraction of steps; else steps */
        int cosine;        /* schedule: cosine, else constant after warm-up */
        double weight_decay, clip, beta1, beta2, eps;
        int64_t seed;
    } train;
    struct {
        int64_t every; /* steps between evaluations on the validation split; 0: at the end only */
        int contexts[HY_MAX_CONTEXTS], context_count;
    } eval;
    struct {
        char *device; /* "auto", "cpu", ... */
        int threads, retries;
        double timeout; /* seconds, 0: none */
        int64_t checkpoint_every; /* steps; 0: only when stopped by a signal */
        int keep_checkpoint;
    } run;
    struct hy_value *tree; /* canonical: every key present; what hy_config_json() prints */
};

/* tree: borrowed. e names file, line, column and the nearest valid key. */
int hy_config_resolve(const struct hy_value *tree, struct hy_config *out, struct hy_err *e);
void hy_config_release(struct hy_config *c);

/* The run's key: hash of the canonical configuration without what does not change its results (name,
 * run, eval.every, placement of a pure model, ...), with the corpora's content and the engine revision. */
int hy_config_key(const struct hy_config *c, char key[HY_HASH_TEXT], struct hy_err *e);

/* "gla 3:1 lr=0.001 seed=0": what people call it. */
void hy_config_title(const struct hy_config *c, char *text, size_t size);

/* The sections and keys of a sweep file, for documentation and nearest names: NULL-ended tables. */
struct hy_section {
    const char *name; /* "train" */
    const struct hy_option *options;
    const char *help;
};
extern const struct hy_section hy_sections[]; /* ended by a NULL name */

#endif
