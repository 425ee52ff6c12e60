/* linear_attention.cu - the twin of linear_attention.c: forward. */
#include "core/ops/features/linear_attention.cuh"

/* Of a cached graph: columns of a block of threads, and threads that share one. */
enum { STEP_COLUMNS = 32, STEP_THREADS = 8 };

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS) walk(struct hy_linear_plan p)
{
    HY_SHARED(float, shared);
    const struct hy_linear_place at = hy_linear_place_of(p, p.tiles);
    const struct hy_linear_chunks cut = hy_linear_cut_of(p);
    const int64_t own = (at.sequence * p.heads + at.head) * p.features, tile = at.within;
    struct hy_linear_space s = {};
    hy_linear_lay_out(p, false, hy_linear_work_of<WIDE>(p, shared), &s);
    hy_linear_load_state(p, p.in[HY_LINEAR_H0], own, tile, p.features, p.values + 1, s.state);
    __syncthreads();
    for (int64_t i = 0; i < cut.periods * cut.each; i++) {
        const struct hy_linear_chunk c = hy_linear_chunk_of(cut, i);
        if (!c.count)
            continue;
        if (c.opens)
            hy_linear_store_state(p, s.state, tile, p.kp, p.wp, p.states,
                                  hy_linear_period_row(p, at, c.period));
        hy_linear_load_keys(p, at, cut, c, s.g);
        hy_linear_load_own_values(p, at, cut, c, tile, s.v);
        __syncthreads();
        hy_tile_mul<TENSOR, true, false>(
            {p.kp, p.width, p.rows, s.g, s.v, p.lk, p.lw, s.state, p.lw, true, NULL});
        __syncthreads();
    }
    hy_linear_store_state(p, s.state, tile, p.features, p.values + 1, p.ht, own);
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS) forward(struct hy_linear_plan p)
{
    HY_SHARED(float, shared);
    const struct hy_linear_place at = hy_linear_place_of(p, p.chunks);
    const struct hy_linear_chunks cut = hy_linear_cut_of(p);
    const struct hy_linear_chunk c = hy_linear_chunk_of(cut, at.within);
    struct hy_linear_space s = {};
    hy_linear_lay_out(p, false, hy_linear_work_of<WIDE>(p, shared), &s);
    if (!c.count)
        return;
    hy_linear_load_features(p, p.in[HY_LINEAR_F], at, at.head, c.first, c.count, s.f);
    if (cut.pairs) {
        hy_linear_load_keys(p, at, cut, c, s.g);
        hy_linear_pair<TENSOR>(p, cut, s);
    }
    for (int64_t tile = 0; tile < p.tiles; tile++) {
        hy_linear_load_own_values(p, at, cut, c, tile, s.v);
        hy_linear_load_state(p, p.states, hy_linear_period_row(p, at, c.period), tile, p.kp, p.wp,
                             s.state);
        __syncthreads();
        hy_tile_mul<TENSOR, false, false>(
            {p.rows, p.width, p.kp, s.f, s.state, p.lk, p.lw, s.o, p.lw, false, NULL});
        __syncthreads();
        if (cut.pairs)
            hy_tile_mul<TENSOR, false, false>(
                {p.rows, p.width, p.rows, s.pairs, s.v, p.la, p.lw, s.o, p.lw, true, NULL});
        __syncthreads();
        HY_LINEAR_EACH(c.count, p.width, i, k)
        {
            const int64_t column = tile * p.width + k, row = at.sequence * p.tokens + c.first + i;
            if (column < p.values)
                hy_row(p.n, row)[at.head * p.values + column] = s.o[i * p.lw + k];
            else if (column == p.values)
                hy_row(p.d, row)[at.head] = s.o[i * p.lw + k];
        }
        __syncthreads();
    }
}

/* Each thread has some features of a column of the state, in ht from the first token on. */
__global__ static void go_on(struct hy_linear_plan p)
{
    __shared__ float parts[STEP_THREADS][STEP_COLUMNS];
    const int64_t tiles = (p.values + STEP_COLUMNS) / STEP_COLUMNS;
    const struct hy_linear_place at = hy_linear_place_of(p, tiles);
    const int64_t k = at.within * STEP_COLUMNS + threadIdx.x;
    const int terraced = p.cut[0].terraced;
    const int64_t own = (terraced ? 2 * at.sequence : at.sequence) * p.heads + at.head;
    const int64_t seen = own * p.features, running = (own + terraced * p.heads) * p.features;
    const bool inside = k <= p.values;
    const struct hy_span &h0 = p.in[HY_LINEAR_H0];
    for (int64_t c = threadIdx.y; inside && c < p.features; c += STEP_THREADS) {
        hy_row(p.ht, seen + c)[k] = h0.data ? hy_row(h0, seen + c)[k] : 0;
        hy_row(p.ht, running + c)[k] = h0.data ? hy_row(h0, running + c)[k] : 0;
    }
    for (int64_t t = 0; t < p.tokens; t++) {
        const int64_t row = at.sequence * p.tokens + t, position = *p.position + t;
        const bool comes = position >= p.lag, opens = terraced && position % p.lag == 0;
        const float *f = hy_row(p.in[HY_LINEAR_F], row) + at.head * p.features;
        const float *g = hy_row(p.in[HY_LINEAR_G], row) + at.head / p.key_group * p.features;
        const float *v = hy_row(p.in[HY_LINEAR_V], row) + at.head / p.value_group * p.values;
        const float value = k < p.values ? v[k] : 1;
        float sum = 0;
        for (int64_t c = threadIdx.y; inside && c < p.features; c += STEP_THREADS) {
            float *state = hy_row(p.ht, running + c) + k, *shown = hy_row(p.ht, seen + c) + k;
            if (opens)
                *shown = *state;
            if (comes)
                *state += g[c] * value;
            sum += f[c] * *shown; /* the running one itself, if there is no other */
        }
        parts[threadIdx.y][threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.y == 0 && inside) {
            for (int i = 1; i < STEP_THREADS; i++)
                sum += parts[i][threadIdx.x];
            if (k < p.values)
                hy_row(p.n, row)[at.head * p.values + k] = sum;
            else
                hy_row(p.d, row)[at.head] = sum;
        }
        __syncthreads();
    }
}

/* ---- Launches ---- */

static bool is_cached(const struct hy_op *op)
{
    return op->graph->shape.mode == HY_CACHED;
}

/* Tiles of a state, and whether the work of a block fits shared memory. */
static void size_tiles(const struct hy_op *op, struct hy_linear_plan *p, int64_t *used)
{
    static float origin[1];
    const struct hy_device *device = op->graph->device;
    const int64_t most = device ? device->shared_most : 48 << 10;
    struct hy_linear_space s = {};
    for (int width = 2 * HY_TILE; width >= HY_TILE; width /= 2) {
        p->width = width;
        p->lw = hy_tile_ld(width);
        p->tiles = (p->wp + width - 1) / width;
        p->floats = hy_linear_lay_out(*p, op->pass == HY_BACKWARD, origin, &s);
        if (p->floats * (int64_t)sizeof(float) <= most)
            return;
    }
    const int64_t blocks = p->batch * p->heads * (p->chunks > p->tiles ? p->chunks : p->tiles);
    p->work = hy_tile_scratch(op, blocks, (p->floats + 31) / 32 * 32, used);
}

/* Where the gradient of an input goes that `group` heads share. */
static struct hy_span shares_of(const struct hy_op *op, int input, int64_t heads, int64_t group,
                                int64_t width, int64_t *used)
{
    if (group == 1 || !op->din[input])
        return hy_span_din(op, input);
    return hy_tile_scratch(op, op->din[input]->rows, heads * width, used);
}

static void plan_backward(const struct hy_op *op, struct hy_linear_plan *p, int64_t *used)
{
    p->dn = hy_span_of(op->dout[HY_LINEAR_N]);
    p->dd = hy_span_of(op->dout[HY_LINEAR_D]);
    p->dht = hy_span_of(op->dout[HY_LINEAR_HT]);
    p->df = hy_span_din(op, HY_LINEAR_F);
    p->dh0 = hy_span_din(op, HY_LINEAR_H0);
    p->dg = shares_of(op, HY_LINEAR_G, p->heads, p->key_group, p->features, used);
    p->dv = shares_of(op, HY_LINEAR_V, p->heads, p->value_group, p->values, used);
    p->dstates = hy_tile_scratch(op, p->batch * p->heads * p->chunks * p->kp, p->wp, used);
}

/* The plan on the graph's device; *used: floats of scratch. */
static struct hy_linear_plan plan_of(const struct hy_op *op, int64_t *used)
{
    const struct hy_linear_attention *a = (const struct hy_linear_attention *)op->attr;
    const int64_t states = (a->terraced && a->lag ? 2 : 1) * (int64_t)a->heads * a->features;
    struct hy_linear_plan p = {};
    p.batch = op->graph->shape.batch;
    p.heads = a->heads;
    p.tokens = op->graph->shape.tokens;
    p.key_group = a->heads / a->key_heads;
    p.value_group = a->heads / a->value_heads;
    p.lag = a->lag;
    p.features = a->features;
    p.values = a->value_width;
    p.kp = hy_tile_up(p.features);
    p.wp = hy_tile_up(p.values + 1);
    p.rows = hy_tile_up(p.tokens < HY_LINEAR_CHUNK ? p.tokens : (int64_t)HY_LINEAR_CHUNK);
    p.lk = hy_tile_ld(p.kp);
    p.la = hy_tile_ld(p.rows);
    for (int i = 0; i < HY_LINEAR_INPUTS; i++)
        p.in[i] = hy_span_of(op->in[i]);
    for (int dropped = 0; dropped < 2; dropped++) {
        p.cut[dropped] = hy_linear_chunks_of(op, dropped);
        const int64_t chunks = p.cut[dropped].periods * p.cut[dropped].each;
        if (!dropped || (op->in[HY_LINEAR_DROPPED] && chunks > p.chunks))
            p.chunks = chunks;
    }
    p.periods = hy_linear_periods(op);
    p.n = hy_span_of(op->out[HY_LINEAR_N]);
    p.d = hy_span_of(op->out[HY_LINEAR_D]);
    p.ht = hy_span_of(op->out[HY_LINEAR_HT]);
    if (is_cached(op)) {
        if (!op->out[HY_LINEAR_HT])
            p.ht = hy_tile_scratch(op, p.batch * states, p.values + 1, used);
        return p;
    }
    size_tiles(op, &p, used);
    p.states = hy_span_of(op->out[HY_LINEAR_STATES]);
    if (!op->out[HY_LINEAR_STATES])
        p.states = hy_tile_scratch(op, p.batch * p.heads * p.periods * p.kp, p.wp, used);
    if (op->pass == HY_BACKWARD)
        plan_backward(op, &p, used);
    return p;
}

static size_t linear_attention_scratch(const struct hy_op *op)
{
    int64_t used = 0;
    plan_of(op, &used);
    return (size_t)used * sizeof(float);
}

static void linear_attention_forward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t used = 0;
    struct hy_linear_plan p = plan_of(op, &used);
    p.position = at->position;
    if (is_cached(op)) {
        const int64_t tiles = (p.values + STEP_COLUMNS) / STEP_COLUMNS;
        hy_start(at, dim3((unsigned)(p.batch * p.heads * tiles), 1, (unsigned)at->replicas),
                 dim3(STEP_COLUMNS, STEP_THREADS), 0, go_on, p);
        return;
    }
    hy_linear_launch(at, p, p.tiles, HY_LINEAR_KERNEL(op, p, walk));
    hy_linear_launch(at, p, p.chunks, HY_LINEAR_KERNEL(op, p, forward));
}

static void linear_attention_backward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t used = 0;
    hy_linear_launch_backward(op, at, plan_of(op, &used));
}

HY_CUDA_KIND(linear_attention) = {linear_attention_forward, linear_attention_backward,
                                  linear_attention_scratch};
