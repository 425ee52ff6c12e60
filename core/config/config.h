/* config.h - the configuration of one run, checked and complete.
 *
 * Made from a tree of settings: a sweep file's document with one cell of its matrix laid over it,
 * or the canonical JSON that a rank hands to its child. hy_config_resolve() checks every key
 * against the tables of the sections and the variants' and tasks' options, and fills in defaults.
 * What it accepts can be trained, apart from what only the environment (files, memory) and the
 * tasks' data can tell. */
#ifndef HY_CONFIG_CONFIG_H
#define HY_CONFIG_CONFIG_H

#include "core/base/hash.h"
#include "core/base/value.h"
#include "core/model/stage.h"
#include "core/selection/selector.h"
#include "core/tasks/data.h"
#include "core/mixers/variant.h"

/* Raised when a change alters the results of a run: part of every key. */
enum { HY_ENGINE_REVISION = 1 };

enum { HY_MAX_CONTEXTS = 16 };

/* Scores that rules look at, on validation data: as hy_scores and results have them. */
enum hy_metric { HY_METRIC_NONE, HY_METRIC_RECALL, HY_METRIC_PPL };
const char *hy_metric_name(enum hy_metric metric); /* "recall"; in history "valid.recall" */
int hy_metric_is_better(enum hy_metric metric, double a, double b);

/* A run ends once its metric is as good as `at`, or after `patience` evaluations (each eval.every
 * steps) without a better one. */
struct hy_stop_rule {
    enum hy_metric metric; /* HY_METRIC_NONE: no rule */
    double at;             /* 0: not looked at */
    int patience;          /* 0: without end */
};

/* Successive halving: runs are evaluated and compared after min_steps * factor^k steps, and one in
 * factor goes on (runner/lead/halving.h). */
struct hy_halving_rule {
    enum hy_metric metric; /* HY_METRIC_NONE: no rule */
    int64_t min_steps;
    int factor;
    int among_cell; /* compared with the runs that differ in lr and seed alone */
};

/* Rung k: its step; 0 where the rule has none before the end of `steps`. */
int64_t hy_rung_step(const struct hy_halving_rule *rule, int k, int64_t steps);
int hy_is_rung(const struct hy_halving_rule *rule, int64_t step);

struct hy_config {
    char *name; /* of the sweep */
    struct {
        int d_model, layers, heads, mlp;
        int vocab; /* 0: what the data needs (the usual case) */
        double norm_eps, init_std;
        enum hy_norms norms;
        int tied; /* the head is the embedding */
    } model;
    struct {
        /* By the layout's indices: HY_LINEAR, HY_FULL, then those of section kinds, in its order.
         * A kind that no layer has is all zeros. */
        struct hy_kind kinds[HY_MAX_KINDS];
        int kind_count;
        struct hy_layout layout;
        struct hy_value *options; /* a list that owns the options of all branches */
    } layers;
    /* Where the weights come from, unless they are drawn. */
    struct {
        struct hy_config *source; /* owned: the run whose final weights are taken; NULL: none */
        char *folder;             /* owned: or a folder of config.json and model.safetensors */
        int strict;               /* all of them must fit */
        int takes; /* 0: its weights are not taken; it is a teacher, or a reference, alone */
        const struct hy_value *map; /* in the tree, or NULL: as in struct hy_weights_order */
    } init;
    /* How the run finds which of its layers stay full; method NULL: they are given. Until it has,
     * all layers are of the kind that has both mixers. */
    struct {
        const struct hy_selector *method;
        const struct hy_value *options; /* in the tree: section select, the method's among them */
        int kind;                       /* of layers that are not chosen yet */
        int budget;                     /* full layers that are wanted; -1: as few as can be */
        double tolerance;       /* loss beyond the reference's: nats, or recall; NaN: a budget */
        enum hy_metric metric;  /* what that loss is of, and what layouts are compared by */
        int shares;             /* both mixers of a layer have one q, k, v and o projection */
        int restart;            /* the layout that is found is trained from the beginning */
        int stage_count;        /* stages before the layout is known: the first of `stages` */
        int repair;             /* layers that are given back at most */
        struct hy_value *owned; /* what stages made here point to */
    } select;
    struct hy_stage stages[HY_MAX_STAGES + 2]; /* of training, one after the other */
    int stage_count;                           /* 1 at least */
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
        enum hy_precision precision;
    } train;
    struct {
        int64_t every; /* steps between evaluations on the validation split; 0: at the end only */
        int contexts[HY_MAX_CONTEXTS], context_count;
        /* Parts of the model that are evaluated by themselves, beside the whole. */
        enum hy_component components[HY_COMPONENTS];
        int component_count;
    } eval;
    struct {
        char *device; /* "auto", "cpu", ... */
        int threads, retries;
        int gang;                 /* runs that train in one graph at most; 0: auto */
        double timeout, watchdog; /* seconds, 0: none */
        int64_t memory;           /* bytes, 0: no limit */
        int64_t checkpoint_every; /* steps; 0: only when stopped by a signal */
        int keep_checkpoint;
        struct hy_stop_rule stop;
        struct hy_halving_rule halving;
    } run;
    struct hy_value *tree; /* canonical: every key present; what hy_config_json() prints */
};

/* tree: borrowed. e names file, line, column and the nearest valid key. What a run does not use is
 * checked and then dropped from out->tree: the linear variant of a full model, the full one of a
 * pure model. model.match is solved, unless the tree says that it is. A linear variant that is
 * itself full attention makes a full model, whatever the ratio; precision where it is float32.
 * out->tree resolves to an equal configuration. */
int hy_config_resolve(const struct hy_value *tree, struct hy_config *out, struct hy_err *e);
void hy_config_release(struct hy_config *c);
/* The same of a model alone: sections model, mixer, full, kinds and layers. The rest of *out is
 * zero.
 */
int hy_config_resolve_model(const struct hy_value *tree, struct hy_config *out, struct hy_err *e);

/* A stage by its number. Behind the last come those of the file again: a round of them for each
 * layer that a selection gives back. */
const struct hy_stage *hy_config_stage(const struct hy_config *c, int stage);
/* Whether a selected layout begins with that stage: the first of a round. */
int hy_config_begins_round(const struct hy_config *c, int stage);
/* Steps before a stage; of the last stage plus one: all steps. */
int64_t hy_config_stage_start(const struct hy_config *c, int stage);
/* Whether the model starts from other weights than those that are drawn. */
int hy_config_takes_weights(const struct hy_config *c);
/* Whether some entry of data.eval reports the metric, where results are taken. */
int hy_config_measures(const struct hy_config *c, enum hy_metric metric);

/* The section init of a sweep file names settings that are laid over the rest of the file: those of
 * the source run. The canonical tree holds that run's own in place of them (init.source). */

/* The run's key: hash of the canonical configuration without what does not change its results
 * (name, section run but for run.stop, eval.every unless run.stop looks at it), the layout in place
 * of ratio and placement, weights as shares, the corpora's content in place of their paths, the key
 * of its source, and the engine revision. known: NULL, or a map that remembers the hashes of
 * corpora from call to call. */
int hy_config_key(const struct hy_config *c, struct hy_value *known, char key[HY_HASH_TEXT],
                  struct hy_err *e);

/* What runs of one gang have in common, as a hash: all settings but train.seed, train.lr and
 * train.weight_decay. */
int hy_config_gang_key(const struct hy_config *c, char key[HY_HASH_TEXT], struct hy_err *e);

/* "gla 3:1 lr=0.001 seed=0": what people call it; the placement too where it is not interleave. */
void hy_config_title(const struct hy_config *c, char *text, size_t size);

/* "3:1", "pure", "full"; where layers are listed the counts ("5:3"). */
void hy_config_ratio(const struct hy_config *c, char *text, size_t size);
/* "interleave", ..., "list" and "pattern" where layers are listed, "" in a pure or full model. */
const char *hy_config_placement(const struct hy_config *c);
/* *out: what a section, mixer or full, of settings not yet checked mixes with: the variant that it
 * names, else its default; NULL: none. An error where it names one that does not exist. */
int hy_config_find_variant(const struct hy_value *tree, const char *section,
                           const struct hy_variant **out, struct hy_err *e);
/* What names the run, a kind's title: the linear one's; where no layer is of that kind, of the
 * first layer whose kind has a name of its own, if there is one, else the full one's. */
void hy_config_variant(const struct hy_config *c, char *text, size_t size);
/* How many layers attend to the whole context; the others' caches do not grow with it. 0 while a
 * run has still to select them. */
int hy_config_full_layers(const struct hy_config *c);
/* "LLLF": a letter per layer. */
struct hy_layout_text hy_config_layout(const struct hy_config *c);

/* Whether a layer has a mixer whose parts can be switched off (core/mixers/component.h). */
int hy_config_has_components(const struct hy_config *c);

/* The model that it describes, for a vocabulary; borrows from c. */
struct hy_model_spec hy_config_model(const struct hy_config *c, int vocab);
/* Of a run that selects its layers: that of a layout; full[i]: layer i is full. */
struct hy_layout hy_config_selected_layout(const struct hy_config *c, const unsigned char *full);
/* Makes it the configuration of the model of the layout that was found, as "LLFL". */
int hy_config_settle_layout(struct hy_config *c, const char *letters, struct hy_err *e);
/* The shape of a training step. */
struct hy_shape hy_config_step_shape(const struct hy_config *c);
/* The depth of a model that does not say. */
int hy_config_default_layers(void);
/* Tokens that a step trains on. */
int64_t hy_config_step_tokens(const struct hy_config *c);
/* The largest of eval.contexts. */
int hy_config_longest_context(const struct hy_config *c);

/* The sections and keys of a sweep file, for documentation and nearest names: NULL-ended tables. */
struct hy_section {
    const char *name; /* "train" */
    const struct hy_option *options;
    const char *help;
};
/* Lists of stages that a sweep file names in one line: recipe: ssd. */
struct hy_recipe {
    const char *name, *summary;
    const struct hy_option *options;
    const char *stages; /* as JSON, where $steps is an option's value */
};
extern const struct hy_recipe *const hy_recipes[]; /* ended by NULL */

extern const struct hy_section hy_sections[];               /* ended by a NULL name */
const struct hy_section *hy_section_find(const char *name); /* NULL where absent */

#endif
