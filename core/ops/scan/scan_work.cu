/* scan_work.cu - how the scan is shared out over a device, and its gradients are summed up. */
#include "core/ops/scan/scan.cuh"
#include "core/ops/support/sums.cuh"

/* Widths of tiles, widest first: wide ones compute pairs and decays for more columns. Two blocks of
 * threads should fit a multiprocessor, which has little more than twice ENOUGH. */
static const int widths[] = {64, 32, 16};
enum { ENOUGH = 100 << 10 };

static int64_t floats_of(const struct hy_scan_plan *p)
{
    struct hy_scan_space s;
    static float origin[1];
    return hy_scan_lay_out(*p, origin, &s);
}

static size_t most_shared(const struct hy_op *op)
{
    return op->graph->device ? (size_t)op->graph->device->shared_most : 48 << 10;
}

bool hy_scan_fits(const struct hy_op *op, int64_t floats)
{
    return (size_t)floats * sizeof(float) <= most_shared(op);
}

struct hy_span hy_scan_take_rows(const struct hy_op *op, int64_t rows, int64_t floats,
                                 int64_t *used)
{
    struct hy_span s = {};
    s.cols = s.ld = (floats + 31) / 32 * 32;
    if (op->scratch)
        s = hy_span_scratch(op, *used, rows, s.ld);
    *used += rows * s.ld;
    return s;
}

void hy_scan_share_out(const struct hy_op *op, struct hy_scan_plan *p,
                       int64_t (*floats)(const struct hy_scan_plan *p), int64_t *used)
{
    const size_t most = most_shared(op), enough = most < ENOUGH ? most : (size_t)ENOUGH;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        p->width = widths[i] < hy_tile_up(p->v) ? widths[i] : hy_tile_up(p->v);
        p->lv = hy_tile_ld(p->width);
        p->floats = floats(p);
        if ((size_t)p->floats * sizeof(float) <= enough)
            break;
    }
    p->tiles = (p->v + p->width - 1) / p->width;
    if (!hy_scan_fits(op, p->floats))
        p->work = hy_scan_take_rows(op, p->batch * p->heads * p->tiles, p->floats, used);
}

struct hy_scan_plan hy_scan_plan_begin(const struct hy_op *op)
{
    const struct hy_scan *s = (const struct hy_scan *)op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const struct hy_tensor *decay = op->in[HY_SCAN_DECAY], *kept = op->out[HY_SCAN_STATES];
    struct hy_scan_plan p = {};
    if (decay && decay->cols == s->heads)
        p.decay = decay->rows == op->in[HY_SCAN_Q]->rows ? HY_DECAY_HEAD : HY_DECAY_CONSTANT;
    else if (decay)
        p.decay = HY_DECAY_CHANNEL;
    p.delta = op->in[HY_SCAN_BETA] != NULL;
    p.backward = op->pass == HY_BACKWARD;
    p.batch = shape->batch;
    p.heads = s->heads;
    p.sharing = s->heads / s->key_heads;
    p.tokens = shape->tokens;
    p.chunk = s->chunk;
    p.chunks = (p.tokens + p.chunk - 1) / p.chunk;
    p.blocks = ((p.chunk < p.tokens ? p.chunk : p.tokens) + HY_TILE - 1) / HY_TILE;
    p.kept_rows = kept ? kept->rows / (p.batch * p.heads * (p.chunks + 1)) : 0;
    p.k = s->key_width;
    p.v = s->value_width;
    p.kp = hy_tile_up(p.k);
    p.lk = hy_tile_ld(p.kp);
    p.scale = (float)s->scale;
    for (int i = 0; i < HY_SCAN_INPUTS; i++)
        p.in[i] = hy_span_of(op->in[i]);
    for (int i = 0; i < HY_SCAN_OUTPUTS; i++)
        p.out[i] = hy_span_of(op->out[i]);
    return p;
}

struct hy_scan_plan hy_scan_plan_on_device(const struct hy_op *op, int64_t *used)
{
    struct hy_scan_plan p = hy_scan_plan_begin(op);
    hy_scan_share_out(op, &p, floats_of, used);
    /* Narrow heads leave too little between two barriers for many threads: rather more blocks. */
    const bool narrow = p.kp <= HY_SCAN_SLICE && p.width <= HY_SCAN_SLICE && !p.work.data;
    p.threads = narrow ? HY_TILE_THREADS / 2 : (int)HY_TILE_THREADS;
    return p;
}

bool hy_scan_on_tensor_cores(const struct hy_op *op)
{
    const struct hy_shape *shape = &op->graph->shape;
    return shape->precision != HY_PRECISION_FLOAT32 && shape->mode != HY_CACHED;
}

size_t hy_scan_shared(const struct hy_scan_plan &p)
{
    return p.work.data ? 0 : (size_t)p.floats * sizeof(float);
}

dim3 hy_scan_grid(const struct hy_scan_plan &p, const struct hy_launch *at)
{
    return dim3((unsigned)(p.batch * p.heads * p.tiles), 1, (unsigned)at->replicas);
}

/* out[row][g * width + c] = [out.add: +] the shares of it of all tiles and of the `sharing` heads
 * that read g. */
__global__ static void fold(struct hy_span shares, struct hy_span out, int64_t width,
                            int64_t sharing)
{
    HY_EACH(out.rows, out.cols, i, c)
    {
        const int64_t first = c / width * sharing * width + c % width;
        float sum = 0;
        for (int64_t row = i; row < shares.rows; row += out.rows)
            for (int64_t h = 0; h < sharing; h++)
                sum += hy_row(shares, row)[first + h * width];
        hy_give<1>(out, i, c, {{sum}});
    }
}

/* Is in[i] a decay that all tokens share? */
static bool sums_constant(const struct hy_scan_plan *p, int i)
{
    return i == HY_SCAN_DECAY && p->decay == HY_DECAY_CONSTANT;
}

struct hy_span hy_scan_shares_of(const struct hy_op *op, const struct hy_scan_plan *p, int i,
                                 int64_t cols, int64_t shares, int64_t *used)
{
    struct hy_span to = hy_span_din(op, i);
    const bool constant = sums_constant(p, i);
    if (!op->din[i] || (shares == 1 && !constant && to.cols == cols))
        return to;
    const int64_t rows = shares * p->batch * (constant ? 1 : p->tokens);
    if (op->scratch)
        to = hy_span_scratch(op, *used, rows, cols);
    *used += rows * cols;
    return to;
}

void hy_scan_hand_over(const struct hy_op *op, const struct hy_launch *at,
                       const struct hy_scan_plan *p, int i, const struct hy_span &shares,
                       int64_t width, int64_t sharing)
{
    const struct hy_span out = hy_span_din(op, i);
    if (!out.data || shares.data == out.data)
        return;
    if (sums_constant(p, i)) {
        hy_fold_sums(at, shares, out, 1, 1, 0);
        return;
    }
    const struct hy_walk walk = hy_walk_of(at, out.rows, out.cols);
    hy_start(at, walk.grid, walk.block, 0, fold, shares, out, width, sharing);
}
