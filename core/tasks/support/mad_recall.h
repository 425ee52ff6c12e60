/* mad_recall.h - in-context recall, with or without noise: what mad_recall and mad_noisy_recall
 * share. Seen by core/tasks only.
 *
 * Of V tokens, the last noise_vocab are noise; of the others the first half are keys, the rest
 * values. A sequence is pairs of two tokens: a key, drawn anew each time, and its value, drawn when
 * the key first occurs; or, with probability `noise`, two tokens of noise. One pair at least is no
 * noise, and the last one asks for a key that occurred. Where a key occurs again its value is
 * scored. */
#ifndef HY_TASKS_SUPPORT_MAD_RECALL_H
#define HY_TASKS_SUPPORT_MAD_RECALL_H

#include "core/tasks/support/mad.h"

int hy_mad_recall_open(const struct hy_value *options, const struct hy_task_env *env,
                       const char *task, int noise_vocab, double noise, void **state,
                       struct hy_err *e);

/* The function of struct hy_task. */
void hy_mad_recall_evidence(const void *state, const int32_t *tokens, const int32_t *labels,
                            int32_t *where);

#endif
