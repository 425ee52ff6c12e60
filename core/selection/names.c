#include "core/selection/names.h"

#include <stdio.h>
#include <string.h>

/* What follows "model.layers.3.attn."; NULL: it is no parameter of a layer's mixer. */
static const char *behind_attn(const char *name, int *layer)
{
    int end = 0;
    return sscanf(name, "model.layers.%d.attn.%n", layer, &end) == 1 && end ? name + end : NULL;
}

void hy_plain_name(const char *name, char out[HY_NAME_SIZE])
{
    int layer;
    const char *rest = behind_attn(name, &layer), *dot = rest ? strchr(rest, '.') : NULL;
    char branch[HY_KIND_NAME_SIZE] = "";
    if (dot && dot - rest < (long)sizeof branch)
        memcpy(branch, rest, (size_t)(dot - rest));
    if (*branch && hy_variant_find(branch))
        snprintf(out, HY_NAME_SIZE, "%.*s%s", (int)(rest - name), name, dot + 1);
    else
        snprintf(out, HY_NAME_SIZE, "%s", name);
}

int hy_branch_name(const char *name, const char *branch, char out[HY_NAME_SIZE])
{
    int layer;
    const char *rest = behind_attn(name, &layer);
    if (!rest)
        return 0;
    snprintf(out, HY_NAME_SIZE, "%.*s%s.%s", (int)(rest - name), name, branch, rest);
    return 1;
}

int hy_mixer_layer(const char *name)
{
    int layer;
    return behind_attn(name, &layer) ? layer : -1;
}
