/* Section stages: training in several stages, each with an objective, a part of the parameters and
 * a schedule of its own. What a stage leaves out is as section train has it. */
#include "core/config/read.h"

#include <stdio.h>
#include <string.h>

#include "core/model/groups.h"

static const char *const stage_keys[] = {"objective", "lora", NULL};

enum {
    STEPS,
    LR,
    LR_END,
    WARMUP,
    WEIGHT_DECAY,
    CLIP,
    SCHEDULE,
    NAME,
    TRAIN,
    COMPONENT,
    DROPOUT,
    STAGE_ROWS
};

/* The rows of a stage, whose defaults are what section train says. */
static void make_rows(const struct hy_config *c, struct hy_option rows[STAGE_ROWS + 1])
{
    static const char *const from_train[] = {"steps",        "lr",   "lr_end",  "warmup",
                                             "weight_decay", "clip", "schedule"};
    memset(rows, 0, (STAGE_ROWS + 1) * sizeof *rows);
    for (int i = 0; i <= SCHEDULE; i++)
        for (const struct hy_option *o = hy_train_options; o->type != HY_OPT_END; o++)
            if (!strcmp(o->key, from_train[i]))
                rows[i] = *o;
    rows[STEPS].def = (double)c->train.steps;
    rows[LR].def = c->train.lr;
    rows[LR_END].def = c->train.lr_end;
    rows[WARMUP].def = c->train.warmup;
    rows[WEIGHT_DECAY].def = c->train.weight_decay;
    rows[CLIP].def = c->train.clip;
    rows[SCHEDULE].text = c->train.cosine ? "cosine" : "constant";
    rows[NAME] = (struct hy_option){"name", HY_OPT_STRING, .help = "what reports call it"};
    rows[TRAIN] = (struct hy_option){"train", HY_OPT_STRINGS,
                                     .help = "groups of parameters, or patterns of names with *"};
    rows[COMPONENT] = (struct hy_option){
        "component", HY_OPT_CHOICE, .text = "full", .choices = hy_component_choices,
        .help = "what mixers of a window and a linear part use meanwhile"};
    rows[DROPOUT] = (struct hy_option){
        "window_dropout", HY_OPT_REALS, .max = 1,
        .help = "rates at which windows are dropped, one for each of as many equal parts"};
}

static const struct hy_option objective_options[] = {
    {"name", HY_OPT_STRING, .required = 1, .help = "what the stage trains towards"},
    {"weight", HY_OPT_REAL, .def = 1, .min = 0, .max = 1e6, .help = "of its loss in the sum"},
    {0},
};

static const struct hy_option lora_options[] = {
    {"rank", HY_OPT_INT, .required = 1, .min = 1, .max = 4096,
     .help = "of the low-rank additions to weights"},
    {"alpha", HY_OPT_REAL, .def = 16, .min = 0, .max = 1e6,
     .help = "additions are scaled by alpha/rank"},
    {"on", HY_OPT_STRINGS, .help = "projections that get one, as q_proj, with * for any text"},
    {0},
};

/* One objective: its name, or a map of name, weight and its options. *out: the canonical map. */
static int read_objective(const struct hy_value *given, struct hy_stage *s, struct hy_value **out,
                          struct hy_err *e)
{
    const struct hy_value *name = given->type == HY_V_MAP ? hy_value_get(given, "name") : given;
    if (!name || name->type != HY_V_STRING)
        return hy_fail(e, HY_E_USAGE,
                       "%sobjective is the name of one, or a list of {name, weight, its options}",
                       hy_place_of(given).text);
    const struct hy_objective *o = hy_objective_find(name->string);
    if (!o)
        return hy_refuse_plugin(name->mark, "objective", name->string,
                                (const void *const *)hy_objectives, e);
    if (s->objective_count == HY_MAX_OBJECTIVES)
        return hy_fail(e, HY_E_USAGE, "%sa stage has at most %d objectives",
                       hy_place_of(given).text, HY_MAX_OBJECTIVES);
    struct hy_value *map = NULL, *options = NULL, *named = hy_value_map();
    const struct hy_pair pair = {objective_options, o->options, "an objective", o->name};
    int rc = named ? hy_value_set(named, "name", hy_value_copy(name), e) : hy_fail_memory(e);
    if (!rc)
        rc = hy_pair_resolve(&pair, given->type == HY_V_MAP ? given : named, &map, &options, e);
    if (!rc)
        rc = hy_value_add_all(map, options, e);
    hy_value_free(options);
    hy_value_free(named);
    if (rc) {
        hy_value_free(map);
        return rc;
    }
    map->mark = name->mark;
    s->objectives[s->objective_count].objective = o;
    s->objectives[s->objective_count].options = map;
    s->objectives[s->objective_count++].weight = hy_get_real(map, "weight");
    *out = map;
    return HY_OK;
}

/* A list of them, or one; none: lm. */
static int read_objectives(const struct hy_value *given, struct hy_stage *s, struct hy_value *stage,
                           struct hy_err *e)
{
    struct hy_value *list = hy_value_list(), *lm = hy_value_string("lm"), *map = NULL;
    int rc = list && lm ? HY_OK : hy_fail_memory(e);
    const struct hy_value *one = given ? given : lm;
    const int is_list = given && given->type == HY_V_LIST;
    const size_t count = is_list ? given->count : 1;
    if (is_list && !count)
        rc = hy_fail(e, HY_E_USAGE, "%sa stage needs an objective", hy_place_of(given).text);
    for (size_t i = 0; !rc && i < count; i++) {
        rc = read_objective(is_list ? given->items[i] : one, s, &map, e);
        if (!rc)
            rc = hy_value_append(list, map, e);
    }
    hy_value_free(lm);
    if (rc) {
        hy_value_free(list);
        return rc;
    }
    return hy_value_set(stage, "objective", list, e);
}

static int read_lora(const struct hy_value *given, struct hy_stage *s, struct hy_value *stage,
                     struct hy_err *e)
{
    struct hy_value *map;
    if (!given || given->type == HY_V_NULL)
        return HY_OK;
    int rc = hy_options_resolve(lora_options, given, "lora", NULL, &map, e);
    if (rc)
        return rc;
    const struct hy_value *on = hy_get_list(map, "on");
    if (on->type != HY_V_LIST || !on->count)
        rc = hy_fail(e, HY_E_USAGE,
                     "%slora.on names the projections that get an addition: [q_proj, v_proj]",
                     hy_place_of(given).text);
    s->lora = (struct hy_lora){(int)hy_get_int(map, "rank"), hy_get_real(map, "alpha"), on};
    if (rc) {
        hy_value_free(map);
        return rc;
    }
    return hy_value_set(stage, "lora", map, e);
}

/* A name without a dot or a star is a group's. */
static int check_groups(const struct hy_value *trains, struct hy_err *e)
{
    for (size_t i = 0; i < trains->count; i++) {
        const struct hy_value *name = trains->items[i];
        const char *names[32];
        size_t count = 0;
        if (hy_group_find(name->string) || strpbrk(name->string, ".*"))
            continue;
        for (const struct hy_group *g = hy_groups; g->name; g++)
            names[count++] = g->name;
        return hy_refuse_name(name->mark, "group of parameters", name->string, names, count, e);
    }
    return HY_OK;
}

/* A stage with additions trains these, unless it says otherwise. */
static int read_trains(const struct hy_value *rows, struct hy_stage *s, struct hy_value *stage,
                       struct hy_err *e)
{
    const struct hy_value *given = hy_get_list(rows, "train");
    if (given->type == HY_V_LIST) {
        s->trains = hy_value_get(stage, "train");
        return check_groups(given, e);
    }
    if (!s->lora.rank)
        return HY_OK;
    struct hy_value *list = hy_value_list();
    int rc = list ? hy_value_append(list, hy_value_string("lora"), e) : hy_fail_memory(e);
    if (rc) {
        hy_value_free(list);
        return rc;
    }
    rc = hy_value_set(stage, "train", list, e);
    s->trains = hy_value_get(stage, "train");
    return rc;
}

static void read_numbers(const struct hy_value *rows, struct hy_stage *s)
{
    s->steps = hy_get_int(rows, "steps");
    s->lr = hy_get_real(rows, "lr");
    s->lr_end = hy_get_real(rows, "lr_end");
    s->warmup = hy_get_real(rows, "warmup");
    s->weight_decay = hy_get_real(rows, "weight_decay");
    s->clip = hy_get_real(rows, "clip");
    s->cosine = !strcmp(hy_get_string(rows, "schedule"), "cosine");
}

static int read_name(const struct hy_value *rows, const struct hy_config *c, struct hy_stage *s,
                     struct hy_value *stage, struct hy_err *e)
{
    const char *name = hy_get_string(rows, "name");
    if (name && (!*name || strlen(name) >= sizeof s->name))
        return hy_fail(e, HY_E_USAGE, "%sa stage's name has 1 to %d letters",
                       hy_place_of(hy_value_get(rows, "name")).text, HY_STAGE_NAME_SIZE - 1);
    if (name)
        snprintf(s->name, sizeof s->name, "%s", name);
    else
        snprintf(s->name, sizeof s->name, "%s%d", s->objectives[0].objective->name,
                 c->stage_count + 1);
    return hy_value_set(stage, "name", hy_value_string(s->name), e);
}

static int read_components(const struct hy_value *given, const struct hy_value *rows,
                           struct hy_stage *s, struct hy_err *e)
{
    const struct hy_value *rates = hy_value_get(given, "window_dropout");
    s->component = hy_component_find(hy_get_string(rows, "component"));
    if (!rates || rates->type == HY_V_NULL)
        return HY_OK;
    const struct hy_value *list = hy_get_list(rows, "window_dropout");
    if (list->count > HY_MAX_DROPOUTS)
        return hy_fail(e, HY_E_USAGE, "%swindow_dropout has %zu rates, the most is %d",
                       hy_place_of(rates).text, list->count, HY_MAX_DROPOUTS);
    if (s->component != HY_COMPONENT_FULL)
        return hy_fail(e, HY_E_USAGE,
                       "%swindow_dropout drops windows of component full; component is %s",
                       hy_place_of(rates).text, hy_component_name(s->component));
    for (size_t i = 0; i < list->count; i++)
        s->window_dropout[i] = list->items[i]->real;
    s->dropout_count = (int)list->count;
    return HY_OK;
}

/* What the stage says itself, without what section train says for it. */
static int keep_given(const struct hy_value *given, const struct hy_value *rows,
                      struct hy_value *stage, struct hy_err *e)
{
    int rc = HY_OK;
    for (size_t i = 0; !rc && i < rows->count; i++)
        if (hy_value_get(given, rows->keys[i]) && rows->items[i]->type != HY_V_NULL)
            rc = hy_value_set(stage, rows->keys[i], hy_value_copy(rows->items[i]), e);
    return rc;
}

static int check_warmup(const struct hy_stage *s, const struct hy_value *at, struct hy_err *e)
{
    const double warmup = s->warmup < 1 ? 0 : s->warmup;
    return warmup > (double)s->steps
               ? hy_fail(e, HY_E_USAGE,
                         "%swarmup of %.10g steps is longer than the %lld steps of stage %s",
                         hy_place_of(at).text, warmup, (long long)s->steps, s->name)
               : HY_OK;
}

static int check_stage(const struct hy_config *c, const struct hy_stage *s,
                       const struct hy_value *given, struct hy_err *e)
{
    const int rc = check_warmup(s, given, e);
    if (rc)
        return rc;
    for (int i = 0; i < c->stage_count; i++)
        if (!strcmp(c->stages[i].name, s->name))
            return hy_fail(e, HY_E_USAGE, "%stwo stages are called %s", hy_place_of(given).text,
                           s->name);
    return HY_OK;
}

/* *canonical: the stage as it stands in the tree, which owns what s points to. */
static int read_stage(const struct hy_value *given, struct hy_config *c,
                      struct hy_value **canonical, struct hy_err *e)
{
    struct hy_option table[STAGE_ROWS + 1];
    struct hy_stage *s = &c->stages[c->stage_count];
    struct hy_value *rows, *stage = NULL;
    make_rows(c, table);
    if (given->type != HY_V_MAP)
        return hy_fail(e, HY_E_USAGE, "%sa stage is a map: {objective: lm, steps: 100}",
                       hy_place_of(given).text);
    int rc = hy_options_resolve(table, given, "a stage", stage_keys, &rows, e);
    if (rc)
        return rc;
    stage = hy_value_map();
    rc = stage ? keep_given(given, rows, stage, e) : hy_fail_memory(e);
    read_numbers(rows, s);
    if (!rc)
        rc = read_objectives(hy_value_get(given, "objective"), s, stage, e);
    if (!rc)
        rc = read_name(rows, c, s, stage, e);
    if (!rc)
        rc = read_lora(hy_value_get(given, "lora"), s, stage, e);
    if (!rc)
        rc = read_trains(rows, s, stage, e);
    if (!rc)
        rc = read_components(given, rows, s, e);
    if (!rc)
        rc = check_stage(c, s, given, e);
    hy_value_free(rows);
    if (rc) {
        hy_value_free(stage);
        return rc;
    }
    stage->mark = given->mark;
    *canonical = stage;
    return HY_OK;
}

/* Without a section there is one stage, which section train describes. */
static int make_only_stage(struct hy_config *c, struct hy_err *e)
{
    c->stage_count = 1;
    c->stages[0] = (struct hy_stage){
        .name = "train",
        .objective_count = 1,
        .objectives = {{&hy_objective_lm, NULL, 1}},
        .steps = c->train.steps,
        .lr = c->train.lr,
        .lr_end = c->train.lr_end,
        .warmup = c->train.warmup,
        .weight_decay = c->train.weight_decay,
        .clip = c->train.clip,
        .cosine = c->train.cosine,
    };
    return check_warmup(&c->stages[0], hy_value_at(c->tree, "train.warmup"), e);
}

static int read_list(const struct hy_value *given, struct hy_config *c, struct hy_value *list,
                     struct hy_err *e)
{
    int rc = HY_OK;
    int64_t steps = 0;
    for (size_t i = 0; !rc && i < given->count; i++) {
        struct hy_value *stage = NULL;
        rc = read_stage(given->items[i], c, &stage, e);
        if (rc)
            break;
        rc = hy_value_append(list, stage, e);
        steps += c->stages[c->stage_count++].steps;
    }
    if (!rc && steps > INT32_MAX)
        rc = hy_fail(e, HY_E_USAGE, "%sthe stages have %lld steps; %d are possible",
                     hy_place_of(given).text, (long long)steps, INT32_MAX);
    c->train.steps = steps;
    return rc;
}

static int read_given(const struct hy_value *given, struct hy_config *c, struct hy_err *e)
{
    if (given->type != HY_V_LIST || !given->count || given->count > HY_MAX_STAGES)
        return hy_fail(e, HY_E_USAGE, "%sstages is a list of 1 to %d stages",
                       hy_place_of(given).text, HY_MAX_STAGES);
    struct hy_value *list = hy_value_list();
    const int rc = list ? read_list(given, c, list, e) : hy_fail_memory(e);
    if (rc) {
        hy_value_free(list);
        return rc;
    }
    list->mark = given->mark;
    return hy_value_set(c->tree, "stages", list, e);
}

/* The stages of a recipe. Where there is a section beside it, it is what a configuration that was
 * read before says of the same. */
static int read_made(const struct hy_value *made, const struct hy_value *recipe,
                     const struct hy_value *given, struct hy_config *c, struct hy_err *e)
{
    const int rc = read_given(made, c, e);
    if (rc)
        return hy_mark_wrap(recipe->mark, e);
    return !given || given->type == HY_V_NULL ||
                   hy_value_equal(hy_value_get(c->tree, "stages"), given)
               ? HY_OK
               : hy_fail(e, HY_E_USAGE,
                         "%sa recipe is a list of stages: leave out section stages, or section "
                         "recipe",
                         hy_place_of(recipe).text);
}

int hy_config_read_stages(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    const struct hy_value *given = hy_value_get(tree, "stages");
    struct hy_value *made = NULL;
    int rc = hy_config_read_recipe(tree, c, &made, e);
    if (rc)
        return rc;
    if (made)
        rc = read_made(made, hy_value_get(tree, "recipe"), given, c, e);
    else
        rc = given && given->type != HY_V_NULL ? read_given(given, c, e) : make_only_stage(c, e);
    hy_value_free(made);
    return rc;
}

static int check_teacher(const struct hy_config *c, const struct hy_stage *s, struct hy_err *e)
{
    for (int k = 0; k < s->objective_count; k++)
        if (s->objectives[k].objective->needs_teacher && !c->init.source && !c->init.folder)
            return hy_fail(e, HY_E_USAGE,
                           "%sobjective %s needs a teacher: the run, or the folder, of init.from",
                           hy_place_of(s->objectives[k].options).text,
                           s->objectives[k].objective->name);
    return HY_OK;
}

/* Either all of a stage's objectives have layers read what the teacher's do, or none. */
static int check_forced(const struct hy_stage *s, struct hy_err *e)
{
    const int first = hy_objective_is_forced(s->objectives[0].objective, s->objectives[0].options);
    for (int k = 1; k < s->objective_count; k++)
        if (hy_objective_is_forced(s->objectives[k].objective, s->objectives[k].options) != first)
            return hy_fail(e, HY_E_USAGE,
                           "%sobjectives %s and %s cannot share a stage: in one of them layers "
                           "read what the teacher's do, in the other what the layers before give",
                           hy_place_of(s->objectives[k].options).text,
                           s->objectives[0].objective->name, s->objectives[k].objective->name);
    return HY_OK;
}

/* Parts can be switched off where there are parts. */
static int check_parts(const struct hy_config *c, const struct hy_stage *s,
                       const struct hy_value *at, struct hy_err *e)
{
    const char *key = s->dropout_count ? "window_dropout" : s->component ? "component" : NULL;
    return key ? hy_config_need_components(c, hy_value_get(at, key), key, e) : HY_OK;
}

int hy_config_check_stages(const struct hy_config *c, struct hy_err *e)
{
    const struct hy_value *list = hy_value_get(c->tree, "stages");
    int rc = HY_OK;
    for (size_t i = 0; list && !rc && i < list->count; i++) {
        const struct hy_stage *s = &c->stages[(size_t)c->select.stage_count + i];
        rc = check_teacher(c, s, e);
        if (!rc)
            rc = check_forced(s, e);
        if (!rc)
            rc = check_parts(c, s, list->items[i], e);
    }
    return rc;
}

const struct hy_stage *hy_config_stage(const struct hy_config *c, int stage)
{
    const int first = c->select.stage_count, own = c->stage_count - first;
    return &c->stages[stage < first ? stage : first + (stage - first) % own];
}

int hy_config_begins_round(const struct hy_config *c, int stage)
{
    const int first = c->select.stage_count, own = c->stage_count - first;
    return c->select.method && stage >= first && (stage - first) % own == 0;
}

int64_t hy_config_stage_start(const struct hy_config *c, int stage)
{
    int64_t start = 0;
    for (int i = 0; i < stage; i++)
        start += hy_config_stage(c, i)->steps;
    return start;
}

int hy_config_add_stages(const struct hy_config *c, struct hy_value *map, struct hy_err *e)
{
    const struct hy_value *list = hy_value_get(c->tree, "stages");
    if (!list)
        return HY_OK;
    struct hy_value *copy = hy_value_copy(list);
    for (size_t i = 0; copy && i < copy->count; i++)
        hy_value_remove(copy->items[i], "name");
    return copy ? hy_value_set(map, "stages", copy, e) : hy_fail_memory(e);
}
