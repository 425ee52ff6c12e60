#include "core/model/update.h"

#include <math.h>
#include <string.h>

/* On the CPU the trainer updates replica by replica; this operator stands in graphs on a device. */
static const struct hy_op_kind adamw = {.name = "adamw"};

void hy_update_append(struct hy_trainer *t)
{
    struct hy_graph *g = t->graph;
    const struct hy_update_attr attr = {&t->params, &t->grads, &t->optimizer};
    t->control = hy_graph_input(g, "control", HY_REAL, 1, HY_CONTROLS);
    t->segments =
        hy_graph_input(g, "segments", HY_INT32, t->optimizer.m.entry_count, HY_SEGMENT_COLUMNS);
    t->log = hy_graph_tensor(g, HY_TRAINER_BACKLOG + 1, 2);
    hy_graph_keep(t->log);
    if (t->log)
        hy_graph_op(g, &adamw, HY_UPDATE_INPUTS,
                    (struct hy_tensor *[]){t->loss, t->weights, t->token_loss, t->token_weights,
                                           t->control, t->segments},
                    1, &t->log, &attr, sizeof attr);
}

static void fill_segments(struct hy_trainer *t)
{
    for (int r = 0; r < t->params.replicas; r++) {
        int32_t *segment = hy_input(t->segments, r);
        for (int i = 0; i < t->optimizer.m.entry_count; i++, segment += HY_SEGMENT_COLUMNS) {
            const struct hy_trained_entry *entry = &t->optimizer.entries[i];
            segment[HY_SEGMENT_END] = (int32_t)(entry->moment + entry->count);
            segment[HY_SEGMENT_DECAYS] = entry->decays;
            segment[HY_SEGMENT_PARAM] = (int32_t)(entry->param - entry->moment);
            segment[HY_SEGMENT_GRAD] = (int32_t)(entry->grad - entry->moment);
        }
    }
}

void hy_update_fill(struct hy_trainer *t, int64_t step, const struct hy_update *u)
{
    if (!t->described)
        fill_segments(t);
    t->described = 1;
    for (int r = 0; r < t->params.replicas; r++) {
        const double taken = (double)(step + t->ahead[r]);
        const double correct1 = 1 - pow(t->optimizer.beta1, taken);
        const double correct2 = 1 - pow(t->optimizer.beta2, taken);
        hy_real *control = hy_input(t->control, r);
        control[HY_CONTROL_RATE] = (hy_real)(u[r].lr / correct1);
        control[HY_CONTROL_ROOT] = (hy_real)(1 / sqrt(correct2));
        control[HY_CONTROL_KEEP] = (hy_real)(1 - u[r].lr * u[r].weight_decay);
        control[HY_CONTROL_CLIP] = (hy_real)u[r].clip;
        control[HY_CONTROL_SLOT] = (hy_real)t->pending;
        control[HY_CONTROL_FROZEN] = t->frozen[r];
    }
}

int hy_update_read(struct hy_trainer *t, struct hy_err *e)
{
    hy_real log[HY_TRAINER_BACKLOG + 1][2];
    const int replicas = t->params.replicas;
    for (int r = 0; r < replicas; r++) {
        const int rc = hy_graph_read(t->log, r, log, e);
        if (rc)
            return rc;
        for (int i = 0; i < t->pending; i++) {
            struct hy_outcome *out = &t->outcomes[i * replicas + r];
            *out = t->frozen[r] ? (struct hy_outcome){NAN, NAN}
                                : (struct hy_outcome){(double)log[i][0], (double)log[i][1]};
            t->frozen[r] |= !isfinite(out->loss) || !isfinite(out->norm);
        }
    }
    return HY_OK;
}
