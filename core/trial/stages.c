#include "core/trial/gang.h"

#include <stdlib.h>
#include <string.h>

#include "core/trial/selecting.h"

/* ---- Evaluation of layouts ---- */

static void say_nothing(void *context, int replica, const struct hy_row *row)
{
    (void)context, (void)replica, (void)row;
}

static int pulse(void *context)
{
    hy_gang_tell_progress(context);
    return hy_gang_is_stopped(context);
}

int hy_gang_evaluate_layout(void *place, const unsigned char *full, double *loss, struct hy_err *e)
{
    struct hy_gang *g = ((struct hy_gang_place *)place)->gang;
    const int r = ((struct hy_gang_place *)place)->replica, layers = g->config->model.layers;
    const struct hy_audience to = {say_nothing, pulse, g};
    struct hy_scores *scores = calloc((size_t)g->count, sizeof *scores);
    unsigned char *only = calloc((size_t)g->count, 1);
    int rc = scores && only ? HY_OK : hy_fail_memory(e);
    if (!rc) {
        only[r] = 1;
        memcpy(g->engine.full + (size_t)r * (size_t)layers, full, (size_t)layers);
        rc = hy_engine_evaluate(&g->engine, HY_SPLIT_VALID, only, &to, scores, e);
    }
    if (!rc)
        *loss = hy_selecting_loss(g->config, &scores[r]);
    free(only);
    free(scores);
    return rc;
}

/* What the tolerance is against, where it is a folder's model: that of full layers, at first. */
static int measure_reference(struct hy_gang *g, int r, struct hy_err *e)
{
    struct hy_member *m = &g->members[r];
    struct hy_gang_place place = {g, r};
    unsigned char full[HY_MAX_LAYERS];
    memset(full, 1, sizeof full);
    if (!hy_selecting_is_open(m) || !g->config->init.folder || m->trained.step)
        return HY_OK;
    return hy_gang_evaluate_layout(&place, full, &m->found.reference, e);
}

/* ---- Leaving ---- */

int hy_gang_merge(struct hy_gang *g, struct hy_err *e)
{
    const struct hy_lora *lora = g->engine.spec.lora;
    int rc = HY_OK;
    for (int r = 0; lora && r < g->count && !rc; r++)
        if (g->chosen[r])
            rc = hy_lora_merge(&g->engine.trainer.params, r, lora, e);
    return rc;
}

/* The weights that it goes on with, in place of those that it carries. */
static int pack(struct hy_gang *g, int r, struct hy_err *e)
{
    struct hy_member *m = &g->members[r];
    const int next = m->trained.stage + 1, begins = hy_config_begins_round(g->config, next);
    /* The layers are chosen: what both of their mixers have learnt is where each round begins.
     * After probes it is there already. */
    if (begins && next == g->config->select.stage_count && !m->trained.base.data) {
        const int rc = hy_snapshot_take(&m->trained.base, &g->engine.trainer.params, r, e);
        if (rc)
            return rc;
    }
    hy_snapshot_release(&m->carried);
    if (!begins)
        return hy_snapshot_take(&m->carried, &g->engine.trainer.params, r, e);
    if (g->config->select.restart || !m->trained.base.data)
        return HY_OK;
    const int rc = hy_snapshot_copy(&m->carried, &m->trained.base, e);
    if (!g->config->select.repair)
        hy_snapshot_release(&m->trained.base);
    return rc;
}

/* A member's stage is over: where its layers are to be chosen now, it chooses them. Others of its
 * gang may train before it does again, so what it has is saved. */
static int leave(struct hy_gang *g, int r, struct hy_err *e)
{
    struct hy_member *m = &g->members[r];
    struct hy_gang_place place = {g, r};
    const int next = m->trained.stage + 1;
    int rc =
        g->count > 1 && hy_selecting_is_on(m) ? hy_member_save(m, &g->engine.trainer, e) : HY_OK;
    if (!rc && hy_config_begins_round(g->config, next)) {
        if (next == g->config->select.stage_count)
            rc = hy_selecting_choose(m, &g->engine, hy_gang_evaluate_layout, &place, e);
        else
            hy_selecting_give_back(m);
    }
    if (!rc)
        rc = pack(g, r, e);
    m->is_inside = 0;
    m->goes_on = 1;
    hy_member_enter(m, next);
    return rc;
}

static int leave_all(struct hy_gang *g, struct hy_err *e)
{
    for (int r = 0; r < g->count; r++)
        g->chosen[r] = !g->members[r].ended && g->members[r].is_inside;
    int rc = hy_gang_merge(g, e);
    for (int r = 0; r < g->count && !rc; r++)
        if (g->chosen[r])
            rc = leave(g, r, e);
    return rc;
}

/* ---- Entering ---- */

/* The layout that an engine for the member is to have; 0: the configuration says. */
static int layout_of(const struct hy_member *m, struct hy_layout *out)
{
    if (!hy_selecting_is_on(m) || hy_selecting_is_open(m))
        return 0;
    *out = hy_selecting_layout(m);
    return 1;
}

/* Whose stage and model the next engine is for. */
static const struct hy_member *find_first(const struct hy_gang *g)
{
    const struct hy_member *first = NULL;
    for (int r = 0; r < g->count; r++) {
        const struct hy_member *m = &g->members[r];
        if (!m->ended && (!first || m->trained.stage < first->trained.stage))
            first = m;
    }
    return first;
}

static int fits(const struct hy_member *m, const struct hy_member *first)
{
    struct hy_layout own, other;
    const int has = layout_of(first, &other);
    return !m->ended && m->trained.stage == first->trained.stage &&
           (!has || (layout_of(m, &own) && !memcmp(own.kinds, other.kinds, (size_t)own.layers)));
}

static int open_engine(struct hy_gang *g, const struct hy_member *first, struct hy_err *e)
{
    struct hy_layout layout;
    const struct hy_engine_plan plan = {
        .configs = g->configs,
        .count = g->count,
        .stage = first->trained.stage,
        .layout = layout_of(first, &layout) ? &layout : NULL,
        .device = g->device,
    };
    hy_engine_release(&g->engine);
    return hy_engine_init(&g->engine, &plan, e);
}

/* A member begins, or goes on from its checkpoint, in the stage that the engine is for. */
static int join(struct hy_gang *g, int r, struct hy_err *e)
{
    struct hy_member *m = &g->members[r];
    struct hy_trainer *t = &g->engine.trainer;
    int rc = hy_selecting_is_on(m) && !hy_selecting_is_open(m)
                 ? hy_selecting_hand_over(m, &g->engine, &t->params, e)
                 : hy_member_begin(m, &t->params, e);
    if (!rc)
        rc = hy_member_resume(m, t, e);
    if (!rc && g->count > 1 && m->trained.step < m->stage_start)
        rc = hy_fail(e, HY_E_ENV, "%s is damaged: the run is to begin again, by itself",
                     m->order.checkpoint);
    if (!rc)
        rc = hy_selecting_read_reference(m, e);
    if (!rc)
        rc = measure_reference(g, r, e);
    hy_member_progress(m, 1);
    return rc;
}

/* A member comes from the stage before. */
static int carry_on(struct hy_gang *g, int r, struct hy_err *e)
{
    struct hy_member *m = &g->members[r];
    struct hy_slab *params = &g->engine.trainer.params;
    int rc;
    if (hy_selecting_is_on(m) && !hy_selecting_is_open(m)) {
        rc = hy_selecting_hand_over(m, &g->engine, params, e);
        if (!rc)
            hy_member_introduce(m, &g->engine); /* its model is another one now */
    } else {
        rc = hy_slab_draw(params, r, (uint64_t)m->order.config->train.seed, e);
        if (!rc)
            rc = hy_snapshot_give(&m->carried, NULL, NULL, params, r, e);
    }
    hy_snapshot_release(&m->carried);
    return rc;
}

int hy_gang_change(struct hy_gang *g, struct hy_err *e)
{
    const int is_first = !g->engine.trainer.graph;
    int rc = leave_all(g, e);
    const struct hy_member *first = find_first(g);
    if (!rc)
        rc = open_engine(g, first, e);
    for (int r = 0; r < g->count && !rc; r++) {
        struct hy_member *m = &g->members[r];
        if (is_first)
            hy_member_introduce(m, &g->engine);
        g->engine.trainer.frozen[r] = 1;
        if (!fits(m, first))
            continue;
        if (!is_first && !m->goes_on && hy_selecting_is_on(m))
            hy_member_introduce(m, &g->engine); /* the first engine was for another model */
        rc = m->goes_on ? carry_on(g, r, e) : join(g, r, e);
        m->is_inside = 1;
        g->engine.trainer.frozen[r] = m->ended || hy_gang_is_held(m);
        if (!rc && hy_selecting_is_on(m) && !hy_selecting_is_open(m))
            hy_selecting_tell(m, &g->engine);
        if (!rc && !g->engine.trainer.frozen[r])
            rc = hy_member_teach(m, &g->engine, &g->engine.trainer.params, e);
    }
    return rc;
}
