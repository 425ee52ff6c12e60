/* level_scan.h - log-linear attention (arXiv 2506.04761): a scan with a state for each power of two
 * of the past, and a weight for each of them at every token.
 *     level(t, s) = 0 for s = t, else 1 + floor(log2(t xor s))
 *     o_t = scale * sum over levels l of lambda_tl (S_t^l)' q_t
 * S_t^l is what the gated scan, or with beta the delta scan, would hold at t if only the tokens of
 * level l had written. So the last token has a state to itself, and those before it share one by
 * twos, fours, eights...: a sequence of T tokens has 1 + ceil(log2 T) levels.
 */
#ifndef HY_OPS_SCAN_LEVEL_SCAN_H
#define HY_OPS_SCAN_LEVEL_SCAN_H

#include "core/ops/scan/scan.h"

/* Levels that a sequence of so many tokens has; and the tokens that so many levels reach. */
int hy_levels_of(int64_t tokens);
int64_t hy_levels_reach(int levels);

/* q, k, v, beta and decay as for hy_gated_scan and hy_delta_scan, but the decay is one per head,
 * constant or per token; beta NULL: the gated scan. lambda: [rows, heads*levels], a head's levels
 * side by side; levels that the sequence does not reach weigh nothing. Returns o as v.
 * states: HY_CACHED graphs only, [batch*heads*levels_of(context)*key_width, value_width], the
 * states of a head one below the other, zero before the first token; read and written.
 * s->chunk: tokens that are multiplied at a time, a power of two; 0: 64. */
struct hy_tensor *hy_level_scan(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                struct hy_tensor *v, struct hy_tensor *decay,
                                struct hy_tensor *beta, struct hy_tensor *lambda,
                                const struct hy_scan *s, struct hy_tensor *states);

#endif
