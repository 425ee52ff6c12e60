/* selector.h - the contract of a method that finds which layers of a model stay full attention and
 * which become linear (section select).
 *
 * A selector is one file under core/selection/ that defines `const struct hy_selector
 * hy_selector_<name>`; CMake generates the table from the file names. A run that selects trains the
 * stages that its selector asks for, on a model of which every layer has both mixers
 * (core/model/gating.h); then the selector chooses a layout, and the run goes on as a model of
 * that layout. Selectors differ in what they look at: logits of trained gates, losses of probes,
 * validation scores of layouts, or nothing.
 *
 * Losses here are of validation data, smaller is better: nats of text, or the recall that is
 * missing to 1. */
#ifndef HY_SELECTION_SELECTOR_H
#define HY_SELECTION_SELECTOR_H

#include "core/base/option.h"
#include "core/model/layout.h"
#include "core/model/stage.h"

/* What a selector knows, and what it finds. */
struct hy_choosing {
    int layers;
    int budget;   /* full layers that are wanted; -1: as few as keep the loss within `limit` */
    double limit; /* the largest loss that is tolerated; NaN with a budget */
    uint64_t seed;
    const struct hy_value *options; /* resolved against the selector's table */
    const double *logits;           /* of gates that were trained: > 0 is linear; NULL: none were */
    const double *probes; /* per layer: the loss at the end of its probe; NULL: there were none */
    /* The validation loss of a layout of the model as it is trained so far; full[i]: layer i is
     * full. NULL: there is none to ask, since nothing was trained before. */
    int (*evaluate)(void *context, const unsigned char *full, double *loss, struct hy_err *e);
    void *context;

    unsigned char full[HY_MAX_LAYERS]; /* found */
    /* Found: how much each layer wants to be full. Where the tolerance is broken after all, the
     * linear layer with the largest is given back first. */
    double importance[HY_MAX_LAYERS];
    double added[HY_MAX_LAYERS]; /* loss that layer i adds when it alone is linear; NaN: unknown */
};

struct hy_selector {
    const char *name, *summary;
    const struct hy_option *options;
    int needs_source; /* chooses among the layers of a model that is already trained */
    int asks;         /* calls evaluate whatever the budget is */
    /* What it trains on the model of both mixers, behind the alignment: HY_STAGE_GATES,
     * HY_STAGE_PROBES or HY_STAGE_PLAIN: nothing. */
    enum hy_stage_role search;
    /* Optional: refuses what cannot be had at that depth. budget: -1 where there is none. */
    int (*check)(const struct hy_value *options, int layers, int budget, struct hy_err *e);
    int (*choose)(struct hy_choosing *c, struct hy_err *e);
};

/* The generated table, sorted by name, ended by NULL. */
extern const struct hy_selector *const hy_selectors[];
const struct hy_selector *hy_selector_find(const char *name); /* NULL where absent */

/* ---- For selectors ---- */

/* Makes full the `count` layers of the largest importance; of equal ones the lower layers. */
void hy_choose_top(struct hy_choosing *c, int count);
/* By importance: as many as the budget says, else the fewest whose loss is within the limit (all
 * layers where none is); none where there is no model to ask. */
int hy_choose_by_importance(struct hy_choosing *c, struct hy_err *e);
/* Whether the layout in c->full keeps the limit; without a model to ask it does. */
int hy_choose_is_within(struct hy_choosing *c, int *within, struct hy_err *e);

/* The linear layer that is to be given back; -1: all are full. */
int hy_choose_next(const double *importance, const unsigned char *full, int layers);

#endif
