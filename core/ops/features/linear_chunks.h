/* linear_chunks.h - what both backends know of linear attention (linear_attention.h): its tensors,
 * and how tokens are cut into chunks.
 *
 * Key t - lag comes to query t, so a chunk is some queries and the keys that come to them. A query
 * sees all keys that have come, its own among them; terraced, those that had come when its block
 * began. There a chunk is a part of a block, or several whole blocks where these are short. */
#ifndef HY_OPS_FEATURES_LINEAR_CHUNKS_H
#define HY_OPS_FEATURES_LINEAR_CHUNKS_H

#include "core/ops/features/linear_attention.h"

enum { HY_LINEAR_F, HY_LINEAR_G, HY_LINEAR_V, HY_LINEAR_DROPPED, HY_LINEAR_H0, HY_LINEAR_INPUTS };
enum {
    HY_LINEAR_N,
    HY_LINEAR_D,
    HY_LINEAR_HT,
    HY_LINEAR_STATES, /* training: what the chunks of each period read, padded to whole lanes */
    HY_LINEAR_OUTPUTS
};

enum { HY_LINEAR_CHUNK = 64 }; /* tokens, at most */

/* A period is one chunk, or the chunks of a block: they read the same state. Periods are counted
 * from `offset` tokens before the first. */
struct hy_linear_chunks {
    int64_t tokens, offset;
    int64_t lag;
    int64_t size, period, each; /* tokens of a chunk and of a period, chunks of a period */
    int64_t periods;
    int terraced;
    int pairs; /* queries see some keys of their chunk */
};

/* What cuts the op's tokens; dropped: lag counts as 0. */
struct hy_linear_chunks hy_linear_chunks_of(const struct hy_op *op, int dropped);

/* Periods that the op's tokens take: at most, whether dropped or not. */
int64_t hy_linear_periods(const struct hy_op *op);

/* The passes on the CPU. */
void hy_linear_forward(const struct hy_op *op, int replica);
void hy_linear_backward(const struct hy_op *op, int replica);
size_t hy_linear_scratch(const struct hy_op *op);

#endif
