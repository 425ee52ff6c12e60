/* scan_work.h - what the two passes of the scan kernel share: its plan, its scratch, its blocks.
 *
 * A block is HY_LANES rows of one head; widths are padded to whole lanes. */
#ifndef HY_OPS_SCAN_SCAN_WORK_H
#define HY_OPS_SCAN_SCAN_WORK_H

#include "core/ops/products/micro.h"
#include "core/ops/scan/pair.h"
#include "core/ops/scan/scan.h"

enum { B = HY_LANES };

enum hy_scan_decay { DECAY_NONE, DECAY_CONSTANT, DECAY_HEAD, DECAY_CHANNEL };

/* What is fixed for an op; kp, vp are k, v padded. */
struct hy_scan_plan {
    const struct hy_op *op;
    enum hy_precision precision;
    int replica;
    enum hy_scan_decay decay;
    int delta;
    int by_chunk;                          /* heads share q and k: scan_shared.c */
    int64_t heads, sharing, batch, tokens; /* sharing: heads that read the same q and k */
    int64_t chunk, chunks, blocks; /* tokens of a chunk, chunks of a sequence, blocks of a chunk */
    int64_t k, v, kp, vp;
    int64_t state;  /* elements of a padded state */
    int64_t decays; /* factors of a row: kp by channel, else 1 */
    hy_real scale;
};

/* Rows beyond `rows` are zero and decay nothing. */
struct hy_scan_block {
    int rows;
    int64_t row;           /* of the tensors: its first */
    hy_real *q, *k;        /* [B, kp], q scaled */
    hy_real *w;            /* [B, vp] what is written to the state */
    hy_real *y;            /* [B, vp] delta: the errors */
    hy_real *beta;         /* [B] delta */
    hy_real *step;         /* [B, decays] decay of each row */
    hy_real *into;         /* [B, decays] decay from the block's entry through the row's own */
    hy_real *rest;         /* [B, decays] decay after the row, to the block's end */
    hy_real *through;      /* [kp] decay of the whole block */
    hy_real *between;      /* [B, B] where channels decay alike, see pair.h */
    const hy_real *before; /* [kp, vp] the state that enters */
    hy_real *after;        /* [kp, vp] where the state that leaves goes */
};

struct hy_scan_work {
    struct hy_scan_block *blocks; /* of a chunk; forward has one */
    hy_real *states;              /* [blocks, kp, vp] */
    hy_real *read;                /* [2B, kp] q and, below, k, as they read the entering state */
    hy_real *write;               /* [B, kp] k as it writes to the leaving state */
    hy_real *values;              /* [2B, vp] forward: o, what k reads; backward: do, -dz */
    hy_real *turned_k;            /* [kp, B] */
    hy_real *pair_q, *pair_k;     /* [B, B] */
    /* Backward only. */
    hy_real *dstate;         /* [kp, vp] gradient of the leaving state */
    hy_real *dw;             /* [B, vp] */
    hy_real *turned_w;       /* [vp, B] */
    hy_real *turned_values;  /* [vp, 2B] */
    hy_real *turned_read;    /* [kp, 2B] */
    hy_real *turned_write;   /* [kp, B] */
    hy_real *dread, *dwrite; /* [2B, kp] dq and dk as readers; [B, kp] dk as writer */
    hy_real *carry;          /* [kp] gradient of the log decay, summed over later rows */
    hy_real *decay;          /* [B, kp] dg by channel */
    hy_real *rates;          /* [B] dbeta, then dg by head */
};

/* The columns of a head in some rows of a tensor; data NULL where there is no tensor. */
struct hy_scan_part {
    hy_real *data;
    int64_t ld;
};

struct hy_scan_plan hy_scan_plan_of(const struct hy_op *op, int replica);
/* Counts, and where there is memory hands out, whole vectors of scratch. */
hy_real *hy_scan_take(hy_real *base, int64_t *used, int64_t count);
/* Carves the op's scratch. */
void hy_scan_work_of(const struct hy_scan_plan *p, struct hy_scan_work *w);

struct hy_scan_part hy_scan_part_of(const struct hy_scan_plan *p, const struct hy_tensor *t,
                                    int64_t row, int64_t head, int64_t width);
/* The same of q, k or their gradients. */
struct hy_scan_part hy_scan_key_part(const struct hy_scan_plan *p, const struct hy_tensor *t,
                                     int64_t row, int64_t head);
/* Asks for a block's rows before they are due: they lie too far apart for the processor to foresee.
 * Called between the products of another block, so that few are under way at a time. */
void hy_scan_fetch(const struct hy_scan_plan *p, const struct hy_tensor *t, int64_t row,
                   int64_t head, int64_t width);
/* to[B, padded] = scale * from[rows, cols], zero elsewhere. */
void hy_scan_load(hy_real *to, int64_t padded, struct hy_scan_part from, int rows, int64_t cols,
                  hy_real scale);
/* to[rows, cols] = (add ? to : 0) + scale * from. */
void hy_scan_store(struct hy_scan_part to, const hy_real *from, int64_t padded, int64_t rows,
                   int64_t cols, hy_real scale, int add);

/* A head's state in h0, ht or their gradients; load: zero where t is NULL. */
void hy_scan_load_state(const struct hy_scan_plan *p, const struct hy_tensor *t, int64_t sequence,
                        int64_t head, hy_real *state);
void hy_scan_store_state(const struct hy_scan_plan *p, const struct hy_tensor *t, int64_t sequence,
                         int64_t head, const hy_real *state, int add);
/* Where training keeps the state that enters a chunk (chunk == chunks: the last one); else NULL. */
hy_real *hy_scan_kept_state(const struct hy_scan_plan *p, int64_t sequence, int64_t head,
                            int64_t chunk);

/* Live rows of a block of a chunk; 0 beyond the chunk's or the sequence's end. */
int hy_scan_rows(const struct hy_scan_plan *p, int64_t chunk, int64_t block);
/* Loads q, k, beta and the decays of `rows` rows from `row` on. */
void hy_scan_load_block(const struct hy_scan_plan *p, struct hy_scan_block *b, int64_t row,
                        int rows, int64_t head);

/* out[B, kp] = each row of x times the row's factors. */
void hy_scan_decay(const struct hy_scan_plan *p, const hy_real *factors, const hy_real *x,
                   hy_real *out);
/* after = through * before + write' w. */
void hy_scan_advance(const struct hy_scan_plan *p, const struct hy_scan_work *w,
                     const struct hy_scan_block *b);

static inline struct hy_left hy_left_plain(const hy_real *data, int64_t ld)
{
    return (struct hy_left){data, ld, 1};
}
static inline struct hy_left hy_left_turned(const hy_real *data, int64_t ld)
{
    return (struct hy_left){data, 1, ld};
}
static inline struct hy_pair hy_scan_pair(const struct hy_scan_plan *p,
                                          const struct hy_scan_block *b)
{
    return (struct hy_pair){p->kp, p->decay == DECAY_CHANNEL ? b->step : NULL, b->between};
}

#endif
