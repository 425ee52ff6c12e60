#include "core/mixers/component.h"

#include <string.h>

const char hy_component_choices[] = "full|overlap|window|linear|dropped|sinks|none";

static const char *const names[HY_COMPONENTS] = {
    [HY_COMPONENT_FULL] = "full",       [HY_COMPONENT_OVERLAP] = "overlap",
    [HY_COMPONENT_WINDOW] = "window",   [HY_COMPONENT_LINEAR] = "linear",
    [HY_COMPONENT_DROPPED] = "dropped", [HY_COMPONENT_SINKS] = "sinks",
    [HY_COMPONENT_NONE] = "none",
};

const char *hy_component_name(enum hy_component component)
{
    return names[component];
}

enum hy_component hy_component_find(const char *name)
{
    int i = 0;
    while (i < HY_COMPONENTS && strcmp(names[i], name) != 0)
        i++;
    return (enum hy_component)i;
}
