#include "core/tasks/support/sequence.h"

#include <stdio.h>

void hy_draw_distinct(struct hy_rng *rng, int32_t *deck, int from, int to, int count, int stride,
                      int32_t *out)
{
    const int size = to - from;
    for (int i = 0; i < size; i++)
        deck[i] = from + i;
    for (int i = 0; i < count; i++) {
        const int j = i + (int)hy_rng_below(rng, (uint32_t)(size - i));
        out[stride * i] = deck[j];
        deck[j] = deck[i];
    }
}

void hy_clear_labels(int32_t *labels, int seq_len)
{
    for (int t = 0; t < seq_len; t++)
        labels[t] = HY_NO_LABEL;
}

void hy_print_tokens(const int32_t *tokens, const int32_t *labels, int seq_len)
{
    for (int t = 0; t < seq_len; t++) {
        printf(t ? " %d" : "%d", tokens[t]);
        if (labels[t] != HY_NO_LABEL)
            printf("=>%d", labels[t]);
    }
    putchar('\n');
}
