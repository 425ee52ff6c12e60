/* kl.h - the divergence of a student's predictions from a teacher's (distillation, arXiv
 * 1503.02531): y_i = T^2 KL(softmax(t_i / T) || softmax(s_i / T)) where row i is labelled, else 0.
 * The factor T^2 keeps the size of gradients whatever the temperature T. */
#ifndef HY_OPS_KL_H
#define HY_OPS_KL_H

#include "core/graph/graph.h"

/* student, teacher: logits [rows, V]; labels [rows, 1] int32, negative where a row is not scored.
 * Returns [rows, 1]. */
struct hy_tensor *hy_kl(struct hy_graph *g, struct hy_tensor *student, struct hy_tensor *teacher,
                        struct hy_tensor *labels, double temperature);

#endif
