/* Section recipe: lists of stages that a sweep file names in one line. Those of conversion start
 * from a trained softmax model (init.from) whose mixers have become hedgehog, lolcats or another
 * variant. Steps are for models of hylas' size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/config/read.h"

const struct hy_option hy_recipe_options[] = {
    {"name", HY_OPT_STRING, .required = 1, .help = "of the recipe: hylas recipes lists them"},
    {0},
};

/* clang-format off */
#define TRANSFER_ROWS                                                                            \
    {"transfer", HY_OPT_INT, .def = 300, .min = 1, .max = 2147483647,                            \
     .help = "steps of the first stage"},                                                        \
    {"transfer_lr", HY_OPT_REAL, .def = 1e-2, .min = 1e-12, .max = 10,                           \
     .help = "its learning rate"}
#define ADAPT_ROWS                                                                               \
    {"adapt", HY_OPT_INT, .def = 700, .min = 1, .max = 2147483647,                               \
     .help = "steps of the last stage"},                                                         \
    {"adapt_lr", HY_OPT_REAL, .def = 1e-3, .min = 1e-12, .max = 10, .help = "its learning rate"}
#define LORA_ROWS                                                                                \
    {"rank", HY_OPT_INT, .def = 8, .min = 1, .max = 4096,                                        \
     .help = "of the low-rank additions"},                                                       \
    {"alpha", HY_OPT_REAL, .def = 16, .min = 0, .max = 1e6,                                      \
     .help = "they are scaled by alpha/rank"}
/* clang-format on */

/* Stage lists are JSON; strings are glued together from these. */
#define ADAPT(more)                                                             \
    "{\"name\":\"adapt\",\"steps\":$adapt,\"lr\":$adapt_lr,\"weight_decay\":0," \
    "\"lora\":{\"rank\":$rank,\"alpha\":$alpha,"                                \
    "\"on\":[\"q_proj\",\"k_proj\",\"v_proj\",\"o_proj\"]}" more "}"
#define TRANSFER(objective, train, more)                                                 \
    "{\"name\":\"transfer\",\"steps\":$transfer,\"lr\":$transfer_lr,\"weight_decay\":0," \
    "\"objective\":" objective ",\"train\":[\"" train "\"]" more "}"
#define DROPPED ",\"component\":\"dropped\""

static const struct hy_option swap_options[] = {ADAPT_ROWS, LORA_ROWS, {0}};
static const struct hy_option conversion_options[] = {TRANSFER_ROWS, ADAPT_ROWS, LORA_ROWS, {0}};
static const struct hy_option ssd_options[] = {
    TRANSFER_ROWS,
    ADAPT_ROWS,
    LORA_ROWS,
    {"window_dropout", HY_OPT_REALS, .text = "0.9, 0.75, 0.5", .max = 1,
     .help = "rates at which windows are dropped, one for each of as many equal parts"},
    {0},
};
static const struct hy_option mohawk_options[] = {TRANSFER_ROWS, ADAPT_ROWS, {0}};

static const struct hy_recipe swap = {
    .name = "swap",
    .summary = "low-rank additions alone, maps as they start: what transfer is held against",
    .options = swap_options,
    .stages = "[" ADAPT("") "]",
};

/* arXiv 2410.10254: the squared error, times 1000, of the hybrid's heads; then LoRA. */
static const struct hy_recipe lolcats = {
    .name = "lolcats",
    .summary = "heads of the whole hybrid become the teacher's, then low-rank additions (LoLCATs)",
    .options = conversion_options,
    .stages = "[" TRANSFER("[{\"name\":\"output\",\"of\":\"heads\",\"forced\":true,"
                           "\"weight\":1000}]",
                           "feature_map", "") "," ADAPT("") "]",
};

/* arXiv 2510.05901: weights of the linear part alone; then a short LoRA on the hybrid. */
static const struct hy_recipe hedgecats = {
    .name = "hedgecats",
    .summary = "weights of the linear part alone are transferred, then LoRA on the hybrid",
    .options = conversion_options,
    .stages = "[" TRANSFER("[{\"name\":\"attention\"}]", "feature_map", DROPPED) "," ADAPT("") "]",
};

/* arXiv 2510.05901: the window is dropped at random while LoRA trains. */
static const struct hy_recipe ssd = {
    .name = "ssd",
    .summary = "as hedgecats, but windows are dropped at random meanwhile, ever more rarely",
    .options = ssd_options,
    .stages = "[" TRANSFER("[{\"name\":\"attention\"}]", "feature_map",
                           DROPPED) "," ADAPT(",\"window_dropout\":$window_dropout") "]",
};

/* arXiv 2510.05901, inference-time hybridisation: the window comes with the evaluation. */
static const struct hy_recipe late_window = {
    .name = "late_window",
    .summary = "the linear part is trained alone; the window is there when it is evaluated",
    .options = conversion_options,
    .stages =
        "[" TRANSFER("[{\"name\":\"attention\"}]", "feature_map", DROPPED) "," ADAPT(DROPPED) "]",
};

/* After MOHAWK, arXiv 2408.10189: mixers' outputs, then the predictions of the whole model. */
static const struct hy_recipe mohawk = {
    .name = "mohawk",
    .summary = "mixers of any variant learn the teacher's outputs, then the model its predictions",
    .options = mohawk_options,
    .stages = "[" TRANSFER("[{\"name\":\"output\",\"forced\":true}]", "mixers",
                           "") ","
                               "{\"name\":\"adapt\",\"steps\":$adapt,\"lr\":$adapt_lr,"
                               "\"objective\":[{\"name\":\"logits\"}]}]",
};

const struct hy_recipe *const hy_recipes[] = {&hedgecats, &late_window, &lolcats, &mohawk,
                                              &ssd,       &swap,        NULL};

const struct hy_recipe *hy_recipe_find(const char *name)
{
    for (int i = 0; hy_recipes[i]; i++)
        if (!strcmp(hy_recipes[i]->name, name))
            return hy_recipes[i];
    return NULL;
}

int hy_recipe_stages(const struct hy_recipe *r, const struct hy_value *options,
                     struct hy_value **out, struct hy_err *e)
{
    struct hy_buf text = {0};
    const char *at = r->stages;
    for (const char *next; (next = strchr(at, '$')); at = next) {
        char key[64];
        hy_buf_printf(&text, "%.*s", (int)(next - at), at);
        const size_t length = strspn(++next, "abcdefghijklmnopqrstuvwxyz_");
        snprintf(key, sizeof key, "%.*s", (int)length, next);
        char *value = hy_value_to_json(hy_value_get(options, key), 0);
        hy_buf_printf(&text, "%s", value ? value : "null");
        free(value);
        next += length;
    }
    hy_buf_printf(&text, "%s", at);
    const int rc =
        hy_buf_failed(&text) ? hy_fail_memory(e) : hy_value_from_json(text.data, r->name, out, e);
    hy_buf_release(&text);
    return rc;
}

/* {name, the options that were given}: one day others may have other defaults. */
static int keep(const struct hy_value *given, const struct hy_value *name, struct hy_config *c,
                struct hy_err *e)
{
    struct hy_value *map = given->type == HY_V_MAP ? hy_value_copy(given) : hy_value_map();
    const int rc = map ? hy_value_set(map, "name", hy_value_copy(name), e) : hy_fail_memory(e);
    if (rc) {
        hy_value_free(map);
        return rc;
    }
    map->mark = given->mark;
    return hy_value_set(c->tree, "recipe", map, e);
}

int hy_config_read_recipe(const struct hy_value *tree, struct hy_config *c,
                          struct hy_value **stages, struct hy_err *e)
{
    const struct hy_value *given = hy_value_get(tree, "recipe");
    struct hy_value *keys = NULL, *options = NULL;
    char where[64];
    if (!given || given->type == HY_V_NULL)
        return HY_OK;
    const struct hy_value *name = given->type == HY_V_MAP ? hy_value_get(given, "name") : given;
    if (!name || name->type != HY_V_STRING)
        return hy_fail(e, HY_E_USAGE, "%srecipe is a name, or {name, its options}",
                       hy_place_of(given).text);
    const struct hy_recipe *r = hy_recipe_find(name->string);
    if (!r)
        return hy_refuse_plugin(name->mark, "recipe", name->string, (const void *const *)hy_recipes,
                                e);
    snprintf(where, sizeof where, "recipe %s", r->name);
    const struct hy_pair pair = {hy_recipe_options, r->options, "section recipe", where};
    int rc = keep(given, name, c, e);
    if (!rc)
        rc = hy_pair_resolve(&pair, hy_value_get(c->tree, "recipe"), &keys, &options, e);
    if (!rc)
        rc = hy_recipe_stages(r, options, stages, e);
    for (size_t i = 0; !rc && i < (*stages)->count; i++)
        (*stages)->items[i]->mark = given->mark; /* where the file says them */
    hy_value_free(options);
    hy_value_free(keys);
    return rc;
}
