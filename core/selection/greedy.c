/* greedy.c - from the full model, one layer after the other is replaced by its aligned linear twin:
 * each time the one whose replacement hurts validation least, as long as the loss stays within the
 * tolerance (Distill-then-Replace, arXiv 2601.11667). L(L+1)/2 evaluations at most. */
#include "core/selection/selector.h"

#include <string.h>

static const struct hy_option greedy_options[] = {{0}};

/* The layer that hurts least when it is made linear, and the loss then; -1: none is full. */
static int find_swap(struct hy_choosing *c, double *best, struct hy_err *e)
{
    int swap = -1;
    for (int i = 0; i < c->layers; i++) {
        double loss;
        if (!c->full[i])
            continue;
        c->full[i] = 0;
        if (c->evaluate(c->context, c->full, &loss, e))
            return -1;
        c->full[i] = 1;
        c->added[i] = loss;
        if (swap < 0 || loss < *best) {
            swap = i;
            *best = loss;
        }
    }
    return swap;
}

static int greedy_choose(struct hy_choosing *c, struct hy_err *e)
{
    double alone[HY_MAX_LAYERS], full_loss = 0;
    int left = c->layers;
    memset(c->full, 1, sizeof c->full);
    if (c->evaluate(c->context, c->full, &full_loss, e))
        return e->code;
    for (; left > (c->budget > 0 ? c->budget : 0); left--) {
        double loss = 0;
        const int swap = find_swap(c, &loss, e);
        if (swap < 0)
            return e->code;
        if (left == c->layers)
            memcpy(alone, c->added, sizeof alone);
        if (c->budget < 0 && !(loss <= c->limit))
            break;
        c->full[swap] = 0;
        /* Those that were replaced late are given back first. */
        c->importance[swap] = c->layers - left;
    }
    for (int i = 0; i < c->layers; i++) {
        if (c->full[i])
            c->importance[i] = c->layers;
        if (c->budget < c->layers) /* at a budget of all layers nothing was tried */
            c->added[i] = alone[i] - full_loss;
    }
    return HY_OK;
}

const struct hy_selector hy_selector_greedy = {
    .name = "greedy",
    .summary = "replaces the layer that hurts validation least by its linear twin, again and again",
    .options = greedy_options,
    .needs_source = 1,
    .asks = 1,
    .choose = greedy_choose,
};
