/* Section eval: what is measured. */
#include "core/config/read.h"

const struct hy_option hy_eval_options[] = {
    {"every", HY_OPT_INT, .def = 0, .min = 0, .max = 2147483647,
     .help = "steps between evaluations on validation data; 0: at the end only"},
    {"contexts", HY_OPT_INTS, .min = 1, .max = 16777216,
     .help = "context lengths at which cache and decoding are measured; default: seq_len"},
    {"components", HY_OPT_STRINGS,
     .help = "parts of mixers with a window and a linear part that are evaluated by themselves; "
             "default: full, window, linear, sinks, none"},
    {0},
};

/* Of models that have no such mixer the section says nothing. */
static int read_components(struct hy_value *s, const struct hy_value *given, struct hy_config *c,
                           struct hy_err *e)
{
    static const enum hy_component usual[] = {HY_COMPONENT_FULL, HY_COMPONENT_WINDOW,
                                              HY_COMPONENT_LINEAR, HY_COMPONENT_SINKS,
                                              HY_COMPONENT_NONE};
    const char *names[HY_COMPONENTS];
    const int is_given = given && given->type != HY_V_NULL;
    if (is_given && hy_config_need_components(c, given, "eval.components", e))
        return e->code;
    if (!hy_config_has_components(c)) {
        hy_value_remove(s, "components");
        return HY_OK;
    }
    for (int i = 0; i < HY_COMPONENTS; i++)
        names[i] = hy_component_name((enum hy_component)i);
    struct hy_value *list = hy_value_list();
    const struct hy_value *asked = hy_get_list(s, "components");
    const size_t count = is_given ? asked->count : sizeof usual / sizeof *usual;
    int rc = list ? HY_OK : hy_fail_memory(e);
    for (size_t i = 0; i < count && !rc; i++) {
        const enum hy_component one =
            is_given ? hy_component_find(asked->items[i]->string) : usual[i];
        if (one == HY_COMPONENTS)
            rc = hy_refuse_name(asked->items[i]->mark, "component", asked->items[i]->string, names,
                                HY_COMPONENTS, e);
        for (int k = 0; k < c->eval.component_count && !rc; k++)
            if (c->eval.components[k] == one)
                rc = hy_fail(e, HY_E_USAGE, "%seval.components has %s twice",
                             hy_place_of(asked->items[i]).text, hy_component_name(one));
        if (rc)
            break;
        c->eval.components[c->eval.component_count++] = one;
        rc = hy_value_append(list, hy_value_string(hy_component_name(one)), e);
    }
    if (rc) {
        hy_value_free(list);
        return rc;
    }
    return hy_value_set(s, "components", list, e);
}

int hy_config_read_eval(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    struct hy_value *s;
    int rc = hy_config_read_section(tree, "eval", NULL, c, &s, e);
    if (rc)
        return rc;
    if (!hy_value_at(tree, "eval.contexts")) {
        struct hy_value *list = hy_value_list();
        rc = list ? hy_value_append(list, hy_value_int(c->train.seq_len), e) : hy_fail_memory(e);
        if (rc) {
            hy_value_free(list);
            return rc;
        }
        rc = hy_value_set(s, "contexts", list, e);
        if (rc)
            return rc;
    }
    const struct hy_value *contexts = hy_get_list(s, "contexts");
    if (contexts->count > HY_MAX_CONTEXTS) {
        const struct hy_place at = hy_place_of(contexts);
        return hy_fail(e, HY_E_USAGE, "%seval.contexts has %zu entries, the most is %d", at.text,
                       contexts->count, HY_MAX_CONTEXTS);
    }
    c->eval.every = hy_get_int(s, "every");
    for (size_t i = 0; i < contexts->count; i++)
        c->eval.contexts[i] = (int)contexts->items[i]->integer;
    c->eval.context_count = (int)contexts->count;
    return read_components(s, hy_value_at(tree, "eval.components"), c, e);
}
