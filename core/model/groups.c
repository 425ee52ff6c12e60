#include "core/model/groups.h"

#include <stddef.h>
#include <string.h>

#include "core/base/pattern.h"

#define PATTERNS(...)     \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

const struct hy_group hy_groups[] = {
    {"all", "everything", PATTERNS("*"), NULL},
    {"embeddings", "the table of tokens, which is the head of a tied model",
     PATTERNS("model.embeddings.weight"), NULL},
    {"head", "the output head of a model that is not tied", PATTERNS("lm_head.weight"), NULL},
    {"mixers", "all that token mixers have",
     PATTERNS("model.layers.*.attn.*", "model.lower_bounds"), PATTERNS("*.lora_*")},
    {"mlp", "the MLPs", PATTERNS("model.layers.*.mlp.*"), PATTERNS("*.lora_*")},
    {"norms", "the norms of the residual stream",
     PATTERNS("model.norm.weight", "model.layers.*attn_norm.weight",
              "model.layers.*mlp_norm.weight", "model.layers.*_post_norm.weight",
              "model.readout.*norm.weight"),
     NULL},
    {"gates", "what decides how much a mixer keeps, writes and lets through",
     PATTERNS("*.attn.*g_proj.*", "*.attn.*gk_proj.*", "*.attn.*f_proj.*", "*.attn.*a_proj.*",
              "*.attn.*b_proj.*", "*.attn.*l_proj.*", "*.attn.*A_log", "*.attn.*dt_bias",
              "*.attn*.L", "*.attn.*gate*", "*.attn.*sinks", "model.lower_bounds"),
     PATTERNS("*.lora_*")},
    {"feature_map", "the maps of queries and keys of linearised attention, and its window's factor",
     PATTERNS("*.attn.*feature_map*", "*.attn.*window_factor"), NULL},
    {"lora", "the low-rank additions that the stage's lora makes", PATTERNS("*.lora_*"), NULL},
    {0},
};

const struct hy_group *hy_group_find(const char *name)
{
    for (const struct hy_group *g = hy_groups; g->name; g++)
        if (!strcmp(g->name, name))
            return g;
    return NULL;
}

static int fits_any(const char *const *patterns, const char *name)
{
    for (; patterns && *patterns; patterns++)
        if (hy_name_fits(*patterns, name))
            return 1;
    return 0;
}

int hy_group_has(const char *group_or_pattern, const char *parameter)
{
    const struct hy_group *g = hy_group_find(group_or_pattern);
    if (!g)
        return hy_name_fits(group_or_pattern, parameter);
    return fits_any(g->patterns, parameter) && !fits_any(g->not_patterns, parameter);
}
