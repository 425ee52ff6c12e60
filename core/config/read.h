/* read.h - the parts of hy_config_resolve(), and what they share. Seen by core/config only.
 */
#ifndef HY_CONFIG_READ_H
#define HY_CONFIG_READ_H

#include "core/config/config.h"

/* "file:line:column: " of v, or "" (also where v is NULL). */
struct hy_place {
    char text[512];
};
struct hy_place hy_place_of(const struct hy_value *v);

/* A map that holds keys of its own beside the options of the plug-in that it names. */
struct hy_pair {
    const struct hy_option *own, *plugin;
    const char *own_where;
    const char *plugin_where; /* NULL: no plug-in is named */
};
/* Resolves both halves; *options stays untouched where no plug-in is named. */
int hy_pair_resolve(const struct hy_pair *p, const struct hy_value *given, struct hy_value **keys,
                    struct hy_value **options, struct hy_err *e);

/* Adds copies of from's entries (from may be NULL) to the map to. */
int hy_value_add_all(struct hy_value *to, const struct hy_value *from, struct hy_err *e);

/* The rows of the sections, each in the section's file; data has none. */
extern const struct hy_option hy_model_options[], hy_mixer_options[], hy_full_options[],
    hy_layers_options[], hy_init_options[], hy_train_options[], hy_eval_options[], hy_run_options[],
    hy_select_options[], hy_recipe_options[];

/* Resolves a section and adds it to the canonical tree; *out is borrowed from there. ignore: keys
 * that the caller reads itself, or NULL. */
int hy_config_read_section(const struct hy_value *tree, const char *name, const char *const *ignore,
                           struct hy_config *c, struct hy_value **out, struct hy_err *e);

/* Sections into their part of the configuration and into c->tree, in this order: each needs those
 * before it, and the mixers the model. */
int hy_config_read_model(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);
int hy_config_read_train(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);
int hy_config_read_eval(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);
int hy_config_read_run(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);

/* Sections mixer, full, kinds and layers into c->layers and c->tree. */
int hy_config_read_layers(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);

/* Refuses `what`, at its place, where no layer has parts that can be switched off. */
int hy_config_need_components(const struct hy_config *c, const struct hy_value *at,
                              const char *what, struct hy_err *e);
/* Refuses a window that no sequence fills, of mixers that have linear terms beyond it. */
int hy_config_check_windows(const struct hy_config *c, struct hy_err *e);

/* Section init into c->init and c->tree; needs the rest of the settings. */
int hy_config_read_init(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);
/* What of a run's identity its weights' origin is; nothing is added where they are drawn. */
int hy_config_add_init(const struct hy_config *c, struct hy_value *known, struct hy_value *map,
                       struct hy_err *e);

/* Section stages into c->stages and c->tree; needs c->train, and sets its steps to their sum. */
int hy_config_read_stages(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);
/* Section recipe into c->tree, and the list of stages that it stands for; *stages NULL: there is no
 * such section. */
int hy_config_read_recipe(const struct hy_value *tree, struct hy_config *c,
                          struct hy_value **stages, struct hy_err *e);
/* Refuses stages that do not fit the model, and an objective whose teacher is missing; needs
 * c->init. */
int hy_config_check_stages(const struct hy_config *c, struct hy_err *e);
/* What of a run's identity its stages are; nothing is added without the section. */
int hy_config_add_stages(const struct hy_config *c, struct hy_value *map, struct hy_err *e);

/* Section select into c->select and c->tree: what it says of the model, before that is read. */
int hy_config_read_select(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);
/* The rest of it, behind all other sections: the stages that it adds, and what it needs. */
int hy_config_finish_select(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);
/* What of a run's identity its selection is; nothing is added without the section. */
int hy_config_add_select(const struct hy_config *c, struct hy_value *map, struct hy_err *e);

/* A map that names a variant and has its options, with keys of its own: sections mixer and full, a
 * kind, a branch. */
struct hy_mixer_map {
    const struct hy_variant *variant; /* NULL: none */
    struct hy_value *keys, *options;  /* its own, the variant's */
};
/* name: as written, NULL where it is not. where: "section mixer", for messages. */
int hy_mixer_map_read(const struct hy_value *given, const struct hy_option *own, const char *where,
                      struct hy_mixer_map *out, struct hy_err *e);
void hy_mixer_map_release(struct hy_mixer_map *m);
/* *out: a new map of its keys and options. */
int hy_mixer_map_merge(const struct hy_mixer_map *m, struct hy_value **out, struct hy_err *e);
/* Hands its options over to the configuration, and gives what a kind's branch points to. */
int hy_config_own_options(struct hy_config *c, struct hy_mixer_map *m,
                          const struct hy_value **options, struct hy_err *e);
/* Refuses a kind that does not fit the model, at `given`'s place. */
int hy_config_check_kind(const struct hy_kind *k, const struct hy_config *c,
                         const struct hy_value *given, struct hy_err *e);

/* Section kinds into c->layers.kinds from HY_FURTHER on; *canonical: as it stands in the tree. */
int hy_config_read_kinds(const struct hy_value *given, struct hy_config *c,
                         struct hy_value **canonical, struct hy_err *e);
/* The kind of that name among c->layers.kinds, -1: none. */
int hy_config_find_kind(const struct hy_config *c, const char *name);

/* The rules of section run, as given there, into c->run and the resolved section; needs c->data,
 * c->train and c->eval. */
int hy_config_read_rules(const struct hy_value *given, struct hy_value *section,
                         struct hy_config *c, struct hy_err *e);
/* model.match as given in section model, if there, into the resolved section. */
int hy_config_read_match(const struct hy_value *model, struct hy_value *section, struct hy_err *e);
/* Whether the settings have a model.match that nobody has solved. */
int hy_match_is_open(const struct hy_value *tree);
/* *out: the settings with the sizes that model.match asks for, and with what they reach. An error
 * where no size comes near enough: it names the target, the nearest size and the bounds. */
int hy_match_solve(const struct hy_value *tree, struct hy_value **out, struct hy_err *e);
/* Section data into c->data and c->tree; needs c->train. */
int hy_config_read_data(const struct hy_value *tree, struct hy_config *c, struct hy_err *e);

#endif
