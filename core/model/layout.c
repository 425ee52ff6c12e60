#include "core/model/layout.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

const char hy_placement_choices[] = "interleave|every|first|middle|last";

int hy_placement_parse(const char *name)
{
    static const char *const names[] = {"interleave", "every", "first", "middle", "last"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (!strcmp(name, names[i]))
            return i;
    return -1;
}

static int check_depth(int layers, struct hy_err *e)
{
    if (layers >= 1 && layers <= HY_MAX_LAYERS)
        return HY_OK;
    return hy_fail(e, HY_E_USAGE, "%d layers: a model has 1 to %d", layers, HY_MAX_LAYERS);
}

static void fill(struct hy_layout *l, int kind, int layers)
{
    memset(l, 0, sizeof *l);
    memset(l->kinds, kind, (size_t)layers);
    l->layers = layers;
}

int hy_layout_count(const struct hy_layout *l, int kind)
{
    int count = 0;
    for (int i = 0; i < l->layers; i++)
        count += l->kinds[i] == kind;
    return count;
}

/* The n of "n:1", 0 where ratio is something else. */
static long ratio_of(const char *ratio)
{
    char *end;
    if (*ratio < '1' || *ratio > '9')
        return 0;
    const long n = strtol(ratio, &end, 10);
    return n < INT_MAX && !strcmp(end, ":1") ? n : 0;
}

int hy_layout_from_ratio(const char *ratio, enum hy_placement placement, int layers,
                         struct hy_layout *out, struct hy_err *e)
{
    if (check_depth(layers, e))
        return HY_E_USAGE;
    struct hy_layout l;
    if (!strcmp(ratio, "pure") || !strcmp(ratio, "full")) {
        fill(&l, *ratio == 'p' ? HY_LINEAR : HY_FULL, layers);
        *out = l;
        return HY_OK;
    }
    const long n = ratio_of(ratio);
    if (!n)
        return hy_fail(e, HY_E_USAGE, "ratio '%s' is none of pure, full and n:1 (such as 3:1)",
                       ratio);
    if (placement == HY_PLACE_EVERY && n == 1)
        return hy_fail(e, HY_E_USAGE,
                       "ratio 1:1 placed every layer leaves no linear layer; write ratio full");
    const long period = placement == HY_PLACE_EVERY ? n : n + 1;
    if (period > layers)
        return hy_fail(e, HY_E_USAGE, "ratio %s needs at least %ld layers, the model has %d", ratio,
                       period, layers);
    fill(&l, HY_LINEAR, layers);
    const int full = (int)(layers / period);
    for (int i = 0; i < full; i++) {
        int at = (int)((i + 1) * period - 1);
        if (placement == HY_PLACE_FIRST)
            at = i;
        else if (placement == HY_PLACE_MIDDLE)
            at = (layers - full) / 2 + i;
        else if (placement == HY_PLACE_LAST)
            at = layers - full + i;
        l.kinds[at] = HY_FULL;
    }
    *out = l;
    return HY_OK;
}

int hy_layout_from_list(const int *full_layers, int n, int layers, struct hy_layout *out,
                        struct hy_err *e)
{
    if (check_depth(layers, e))
        return HY_E_USAGE;
    struct hy_layout l;
    fill(&l, HY_LINEAR, layers);
    for (int i = 0; i < n; i++) {
        const int at = full_layers[i];
        if (at < 0 || at >= layers)
            return hy_fail(e, HY_E_USAGE, "full layer %d: the model's layers are 0 to %d", at,
                           layers - 1);
        if (l.kinds[at] == HY_FULL)
            return hy_fail(e, HY_E_USAGE, "full layer %d is listed twice", at);
        l.kinds[at] = HY_FULL;
    }
    *out = l;
    return HY_OK;
}
