/* Section eval: what is measured. */
#include "core/config/read.h"

const struct hy_option hy_eval_options[] = {
    {"every", HY_OPT_INT, .def = 0, .min = 0, .max = 2147483647,
     .help = "steps between evaluations on validation data; 0: at the end only"},
    {"contexts", HY_OPT_INTS, .min = 1, .max = 16777216,
     .help = "context lengths at which cache and decoding are measured; default: seq_len"},
    {0},
};

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
    return HY_OK;
}
