/* sequence.h - what the makers of synthetic sequences share. Seen by core/tasks only. */
#ifndef HY_TASKS_SUPPORT_SEQUENCE_H
#define HY_TASKS_SUPPORT_SEQUENCE_H

#include "core/tasks/task.h"

/* Draws count distinct numbers of [from, to), in random order, to out[0], out[stride], ...
 * deck: scratch of to - from. */
void hy_draw_distinct(struct hy_rng *rng, int32_t *deck, int from, int to, int count, int stride,
                      int32_t *out);
/* Labels nothing. */
void hy_clear_labels(int32_t *labels, int seq_len);
/* "3 17=>40 5": the tokens, each with its label where it has one, as a line on stdout. */
void hy_print_tokens(const int32_t *tokens, const int32_t *labels, int seq_len);

#endif
