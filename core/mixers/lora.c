#include "core/mixers/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/pattern.h"
#include "core/ops/products/linear.h"
#include "core/ops/products/lora.h"

static const char weight[] = ".weight", part_a[] = ".lora_A.weight", part_b[] = ".lora_B.weight";

static int is_chosen(const struct hy_lora *lora, const struct hy_entry *entry)
{
    for (size_t i = 0; lora && i < lora->on->count; i++) {
        char pattern[HY_NAME_SIZE];
        snprintf(pattern, sizeof pattern, "*.%s%s", lora->on->items[i]->string, weight);
        if (hy_name_fits(pattern, entry->name))
            return 1;
    }
    return 0;
}

/* The part of an addition to a weight. */
static struct hy_entry part_of(const struct hy_entry *entry, const char *suffix, int64_t rows,
                               int64_t cols, struct hy_init init)
{
    struct hy_entry part = {.rank = 2, .dims = {rows, cols}, .init = init, .decays = 1};
    const int stem = (int)(strlen(entry->name) - strlen(weight));
    snprintf(part.name, sizeof part.name, "%.*s%s", stem, entry->name, suffix);
    return part;
}

struct hy_tensor *hy_lora_linear(struct hy_graph *g, const struct hy_lora *lora,
                                 struct hy_tensor *x, int count, const struct hy_entry *entries,
                                 struct hy_tensor *bias)
{
    struct hy_tensor *y = hy_linear_biased(g, x, hy_graph_params(g, count, entries), bias);
    struct hy_entry a[HY_MAX_LORA], b[HY_MAX_LORA];
    int64_t first[HY_MAX_LORA], column = 0;
    int chosen = 0;
    for (int i = 0; y && i < count; i++) {
        const struct hy_entry *w = &entries[i];
        if (is_chosen(lora, w)) {
            const double in = (double)w->dims[1];
            a[chosen] = part_of(w, part_a, lora->rank, w->dims[1],
                                (struct hy_init){.law = HY_INIT_NORMAL, .b = 1 / sqrt(in)});
            b[chosen] = part_of(w, part_b, w->dims[0], lora->rank,
                                (struct hy_init){.law = HY_INIT_CONSTANT});
            first[chosen++] = column;
        }
        column += w->dims[0];
    }
    if (!chosen)
        return y;
    struct hy_tensor *h = hy_linear(g, x, hy_graph_params(g, chosen, a)), *parts[HY_MAX_LORA];
    for (int i = 0; i < chosen; i++)
        parts[i] = hy_graph_param(g, &b[i]);
    return hy_lora(g, y, h, chosen, parts, first, lora->alpha / lora->rank);
}

/* w [rows, cols] += scale b a; b = 0. */
static void merge(hy_real *w, const hy_real *a, hy_real *b, int64_t rows, int64_t cols,
                  int64_t rank, double scale)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < cols; c++) {
            double sum = 0;
            for (int64_t k = 0; k < rank; k++)
                sum += (double)b[i * rank + k] * (double)a[k * cols + c];
            w[i * cols + c] += (hy_real)(scale * sum);
        }
    memset(b, 0, (size_t)(rows * rank) * sizeof *b);
}

/* The entry whose name is that of b with another end. */
static const struct hy_entry *sibling(const struct hy_slab *params, const struct hy_entry *b,
                                      const char *suffix)
{
    char name[HY_NAME_SIZE];
    const int stem = (int)(strlen(b->name) - strlen(part_b));
    snprintf(name, sizeof name, "%.*s%s", stem, b->name, suffix);
    return &params->entries[hy_slab_find(params, name)];
}

int hy_lora_merge(struct hy_slab *params, int replica, const struct hy_lora *lora, struct hy_err *e)
{
    hy_real *all = malloc((size_t)(params->count + 1) * sizeof *all);
    int rc = all ? hy_slab_read(params, replica, all, e) : hy_fail_memory(e);
    for (int i = 0; !rc && i < params->entry_count; i++) {
        const struct hy_entry *b = &params->entries[i];
        const size_t length = strlen(b->name), end = strlen(part_b);
        if (length < end || strcmp(b->name + length - end, part_b) != 0)
            continue;
        const struct hy_entry *w = sibling(params, b, weight), *a = sibling(params, b, part_a);
        merge(all + w->offset, all + a->offset, all + b->offset, w->dims[0], w->dims[1], b->dims[1],
              lora->alpha / lora->rank);
    }
    if (!rc)
        rc = hy_slab_write(params, replica, all, e);
    free(all);
    return rc;
}
