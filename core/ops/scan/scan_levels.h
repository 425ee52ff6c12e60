/* scan_levels.h - the kernel of the level scan (core/ops/scan/level_scan.h).
 *
 * Sequences are walked in chunks of C = 2^n tokens. Levels 0 to n lie within a chunk, where lambda
 * is a matrix beside the decays. Level n + 1 + e of a token in chunk c is the state of slot e,
 * which c has if bit e of c is set: it holds what 2^e whole chunks wrote. L is the decay between
 * two rows, I from the chunk's entry to a row, R from a row to the end, F across; Lambda_ij is
 * lambda of row i for the level of j.
 *     gated: P = q k' * L,  read = I q,  write = R k
 *     delta: A = strict (k k' * L),  U = (1 + beta A)^-1,  X = U beta,
 *            P = (q k' * L) X,  erase = -I k,  read = I q + P erase,  write = X' (R k)
 *     o = (P * Lambda) v + sum over slots e of lambda_e (read S_e)
 *     S_e <- F S_e + write' (erase S_e), gated: F S_e;  the chunk's own: write' v
 * Then slots merge as a binary counter carries: with b the lowest bit of c + 1 that is set, slot b
 * takes the sum of the slots below it and of the chunk's own.
 *
 * For the delta rule this is one product per state, because P, read, write and erase do not depend
 * on what the states hold. Backward follows the same products; with dX given and Z = U' dX,
 *     dA = -beta Z X' (below the diagonal),  dbeta_i = <Z_i, (1 - A X)_i>
 * dg is as in scan.h. q dq, in all that q reads, is the sum of lambda dlambda over the levels; for
 * the gated scan v dv stands for k dk; for the delta rule k dk is summed from erase derase and
 * R k d(R k), and what A and P's first factor take: sums over rows as readers, over columns as
 * writers, of the gradient times the matrix. */
#ifndef HY_OPS_SCAN_SCAN_LEVELS_H
#define HY_OPS_SCAN_SCAN_LEVELS_H

#include "core/ops/scan/levels.h"
#include "core/ops/scan/scan_chunk.h"

/* Whole sequences. */
void hy_scan_levels_forward(const struct hy_op *op, int replica);
void hy_scan_levels_backward(const struct hy_op *op, int replica);
size_t hy_scan_levels_scratch(const struct hy_op *op);
/* Token by token, from the states of a cache. */
void hy_scan_levels_continue(const struct hy_op *op, int replica);

/* ---- What the passes share ---- */

/* For chunks of C rows at most, in whole blocks. */
struct hy_level_work {
    struct hy_scan_plan plan;
    int64_t C;
    int levels, within; /* levels of lambda; n: the highest within a chunk */
    int slots;          /* that the last chunk may have */
    /* The levels of a block's columns for each of its rows; B above the diagonal. */
    hy_lane_index lanes[B];
    hy_real *states;   /* [sharing, slots, kp, vp] where training does not keep them */
    hy_real *q, *k;    /* [C, kp], q scaled */
    hy_real *turned_k; /* [kp, C] */
    hy_real *gram_q;   /* [C, C] q k' */
    hy_real *gram_k;   /* [C, C] delta: k k' */
    /* Of a head: */
    struct hy_scan_decays decays;
    hy_real *lambda;               /* [levels, C] */
    hy_real *nearest;              /* [C, B] a row's lambda of the levels within a block */
    hy_real *weights;              /* [slots, C] lambda of a slot; gated: times I */
    hy_real *spread;               /* [C, C] Lambda, 0 above the diagonal */
    hy_real *pair_q;               /* [C, C] q k' * L */
    hy_real *pair;                 /* [C, C] P; gated: pair_q */
    hy_real *mixed;                /* [C, C] P * Lambda */
    hy_real *read, *write;         /* [C, kp]; gated: q and k, as I and R go elsewhere */
    hy_real *rested, *erase;       /* [C, kp] delta: R k, -I k */
    hy_real *beta, *minus_beta;    /* [C] delta */
    hy_real *pair_k, *inverse, *x; /* [C, C] delta: A, U, X */
    hy_real *scaled;               /* [C, max(kp, vp)] */
    hy_real *v, *o;                /* [C, vp]; backward: o is do */
    hy_real *written;              /* [C, vp] what write takes to a state; gated: R v */
    hy_real *total;                /* [kp, vp] the sum of slots that merge */
    /* Backward only. Turned: columns are rows of the chunk. */
    hy_real *dstates;               /* [sharing, slots, kp, vp] */
    hy_real *dv;                    /* [C, vp] */
    hy_real *turned_v, *turned_o;   /* [vp, C] */
    hy_real *turned_read, *seen;    /* [kp, C] seen: a state as do meets it */
    hy_real *dpair;                 /* [C, C] */
    hy_real *dlambda;               /* [levels, C] */
    hy_real *rates;                 /* [C] */
    hy_real *turned_dq, *turned_dk; /* [kp, C] of all heads that share them */
    hy_real *dgram_q;               /* [C, C] likewise */
    hy_real *dq, *dk;               /* [C, kp] */
    /* Backward of delta only. */
    hy_real *turned_dread, *turned_dwrite;    /* [kp, C] */
    hy_real *recalled;                        /* [C, vp] write dS */
    hy_real *turned_values;                   /* [vp, C] */
    hy_real *turned_erase, *turned_rested;    /* [kp, C] */
    hy_real *turned_derase, *turned_drested;  /* [kp, C] */
    hy_real *turned_x;                        /* [C, C] */
    hy_real *dpair_q, *dpair_k, *dx, *solved; /* [C, C]; solved: Z */
    hy_real *dbeta;                           /* [C] */
    hy_real *dgram_k;                         /* [C, C] of all heads that share k */
};

/* Carves the op's scratch. */
void hy_level_work_of(const struct hy_op *op, int replica, struct hy_level_work *w);
/* What the heads of a group have in common; and what a head does with it. */
void hy_level_load_keys(const struct hy_level_work *w, const struct hy_scan_span *at,
                        int64_t group);
void hy_level_load_head(const struct hy_level_work *w, const struct hy_scan_span *at, int64_t head);
/* Asks for a head's rows of lambda, or of its gradient, before they are due. */
void hy_level_fetch_lambda(const struct hy_level_work *w, const struct hy_scan_span *at,
                           const struct hy_tensor *t, int64_t head);
/* The state of a slot that enters a chunk. */
hy_real *hy_level_state(const struct hy_level_work *w, int64_t sequence, int64_t head,
                        int64_t chunk, int slot);
/* How slots merge after chunk at->chunk: the lowest bit of the next chunk's number. */
int hy_level_merge(const struct hy_scan_span *at);
/* What goes into slot `slot` of the next chunk: the sum of the states that do, NULL where it is the
 * chunk's own writing alone. */
const hy_real *hy_level_sources(const struct hy_level_work *w, const struct hy_scan_span *at,
                                int64_t head, int slot);
/* What is written where those go, NULL: nothing. */
const hy_real *hy_level_written(const struct hy_level_work *w, const struct hy_scan_span *at,
                                const hy_real *sources, int own);

static inline struct hy_scan_lower hy_level_lower(const struct hy_level_work *w,
                                                  const struct hy_scan_span *at,
                                                  enum hy_precision precision)
{
    return (struct hy_scan_lower){precision, at->size, w->C};
}
/* Levels that a chunk's rows have, of w->levels. */
int hy_level_count(const struct hy_level_work *w, const struct hy_scan_span *at);

/* ---- Levels within a chunk, by blocks of B columns ---- */

enum { HY_BLOCK_LEVEL = B == 16 ? 4 : 3 }; /* the highest within a block */
_Static_assert(1 << HY_BLOCK_LEVEL == B, "a block has a power of two of rows");

/* The level of columns j and so on for row i of a later block. */
static inline int hy_level_of_blocks(int64_t i, int64_t j)
{
    return 64 - __builtin_clzll((uint64_t)(i ^ j));
}

#endif
