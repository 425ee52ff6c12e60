#include "core/tasks/support/tally.h"

#include <stdio.h>
#include <stdlib.h>

struct mean {
    double sum;
    int64_t n;
};

struct hy_tally {
    struct mean whole;
    int slices;
    struct mean slice[];
};

int hy_tally_new(int slices, struct hy_tally **out, struct hy_err *e)
{
    struct hy_tally *t = calloc(1, sizeof *t + (size_t)slices * sizeof *t->slice);
    if (!t)
        return hy_fail_memory(e);
    t->slices = slices;
    *out = t;
    return HY_OK;
}

void hy_tally_add(struct hy_tally *t, int slice, double value)
{
    struct mean *m = slice == HY_WHOLE ? &t->whole : &t->slice[slice];
    m->sum += value;
    m->n++;
}

void hy_tally_end(struct hy_tally *t, const char *key, const int *values, hy_score_fn *emit,
                  void *context)
{
    for (int i = 0; i < t->slices; i++) {
        const struct mean *m = &t->slice[i];
        char name[32];
        snprintf(name, sizeof name, "%s=%d", key, values[i]);
        if (m->n)
            emit(context, name, "accuracy", m->sum / (double)m->n, m->n);
    }
    if (t->whole.n)
        emit(context, "", "accuracy", t->whole.sum / (double)t->whole.n, t->whole.n);
    free(t);
}
