/* scan_chunks_backward.cu - the gradients of the scan by chunks, of all chunks at once. */
#include "core/ops/scan/scan_chunks.cuh"

/* Three groups of warps, one for each band of rows: for dv, for dk, for dq. */
enum { PARTS = 3, WARPS = PARTS * HY_CHUNK_BANDS, THREADS = 32 * WARPS };
enum part { OF_VALUES, OF_KEYS, OF_QUERIES };

/* dq, dk: the gradients themselves, or shares of them, with columns for every group of heads;
 * ddecay: a constant's are shares of one row for every chunk of every sequence. */
struct gradients {
    struct hy_span d_o, dht, dv, dh0;
    struct hy_span dq, dk, ddecay;
    struct hy_span states; /* scratch: those of the states that leave the chunks */
};

/* A block of threads takes a chunk of a group of heads. */
struct place {
    int sequence, chunk, group;
    struct hy_chunk_rows rows;
    bool entered, left; /* is there a state, a gradient of one? */
};

struct space {
    uint32_t *q, *k, *v, *d_o, *state, *dstate;
    float *sums;    /* of the log decays */
    float *wrote;   /* <k, dk> by way of the state that leaves, of each row */
    float *read;    /* <q, dq> by way of the state that enters */
    float *columns; /* of the pairs' matrix, its sums over the rows */
    float *rows;    /* [BANDS, CHUNK] and over the columns of each band */
    float *carry;   /* [WARPS] parts of <S, dS> */
};

/* What lay_out() takes, in bytes. */
static size_t bytes_of(const struct hy_chunk_plan &p)
{
    const size_t words = (size_t)(4 * HY_CHUNK + 2 * p.kp) * HY_CHUNK_LD;
    return sizeof(uint32_t) * words + sizeof(float) * ((4 + HY_CHUNK_BANDS) * HY_CHUNK + WARPS);
}

__device__ static inline void lay_out(const struct hy_chunk_plan &p, uint32_t *base,
                                      struct space *s)
{
    s->q = base;
    s->k = s->q + HY_CHUNK * HY_CHUNK_LD;
    s->v = s->k + HY_CHUNK * HY_CHUNK_LD;
    s->d_o = s->v + HY_CHUNK * HY_CHUNK_LD;
    s->state = s->d_o + HY_CHUNK * HY_CHUNK_LD;
    s->dstate = s->state + p.kp * HY_CHUNK_LD;
    s->sums = reinterpret_cast<float *>(s->dstate + p.kp * HY_CHUNK_LD);
    s->wrote = s->sums + HY_CHUNK;
    s->read = s->wrote + HY_CHUNK;
    s->columns = s->read + HY_CHUNK;
    s->rows = s->columns + HY_CHUNK;
    s->carry = s->rows + HY_CHUNK_BANDS * HY_CHUNK;
}

/* The state that enters and the gradient of the one that leaves, BATCH packs of each at a time;
 * s.carry. */
template <int BATCH>
__device__ static inline void load_states(const struct hy_chunk_plan &p, const struct place &at,
                                          const struct space &s, const struct gradients &d,
                                          int head)
{
    const int64_t index = at.sequence * p.heads + head;
    const hy_chunk_threads by(p.vp);
    const struct hy_chunk_part enters = hy_chunk_part_of(
        p.states, (index * p.slots + at.chunk) * p.kept_rows, 0, at.entered ? p.k : 0, p.v);
    const struct hy_chunk_part leaves =
        hy_chunk_part_of(d.states, (index * p.chunks + at.chunk) * p.k, 0, at.left ? p.k : 0, p.v);
    float sum = 0;
    for (int row = by.row; row < p.kp; row += BATCH * by.rows) {
        hy_pack<4> first[BATCH], second[BATCH];
        hy_chunk_fetch(first, enters, by, row);
        hy_chunk_fetch(second, leaves, by, row);
#pragma unroll
        for (int n = 0; n < BATCH; n++) {
            if (row + n * by.rows >= p.kp || by.column >= p.vp)
                continue;
            hy_chunk_put(s.state, row + n * by.rows, by.column, first[n], 1);
            hy_chunk_put(s.dstate, row + n * by.rows, by.column, second[n], 1);
#pragma unroll
            for (int i = 0; i < 4; i++)
                sum += first[n].at[i] * second[n].at[i];
        }
    }
    sum = hy_warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        s.carry[threadIdx.x / 32] = sum;
}

/* The sum of x over the lanes that have the same row. */
__device__ static inline float row_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/* Sums of c [16, 16] over its rows, to a row of s.rows; own: of its columns, a lane's part. */
__device__ static inline void sum_pairs(const float c[2][4], float *over, float own[2],
                                        const struct hy_chunk_lane &l)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float *pair = c[i / 2] + i % 2;
        float sum = pair[0] + pair[2];
        own[0] += pair[0];
        own[1] += pair[2];
#pragma unroll
        for (int bit = 4; bit < 32; bit *= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, bit);
        if (l.g == 0)
            over[i / 2 * 8 + 2 * l.t + i % 2] = sum;
    }
}

/* dv of a band of rows j; s.columns and s.rows, where decays are wanted. */
__device__ static inline void give_values(const struct hy_chunk_plan &p, const struct place &at,
                                          const struct space &s, const struct gradients &d,
                                          int head, int band, const struct hy_chunk_lane &l)
{
    const int first = band * HY_CHUNK_BAND;
    const float from[2] = {s.sums[first + l.g], s.sums[first + l.g + 8]};
    const float end = s.sums[HY_CHUNK - 1];
    uint32_t pairs[HY_CHUNK_BANDS][4];
    float own[2] = {};
#pragma unroll
    for (int i = 0; i < HY_CHUNK_BANDS; i++) {
        float *over = s.rows + band * HY_CHUNK + i * HY_CHUNK_BAND;
        if (i < band) {
            if (threadIdx.x % 32 < HY_CHUNK_BAND)
                over[threadIdx.x % 32] = 0;
            continue;
        }
        float c[2][4];
        hy_chunk_dots(c, s.k, first, s.q, i * HY_CHUNK_BAND, p.kp, l);
#pragma unroll
        for (int e = 0; e < 8; e++) {
            const int column = e / 4 * 8 + 2 * l.t + e % 2;
            const float decay = exp2f(s.sums[i * HY_CHUNK_BAND + column] - from[e / 2 % 2]);
            const bool sees = i > band || column >= l.g + e / 2 % 2 * 8;
            c[e / 4][e % 4] = sees ? p.scale * decay * c[e / 4][e % 4] : 0;
        }
        hy_chunk_turn(c, pairs[i]);
        if (d.ddecay.data) {
            float of_values[2][4];
            hy_chunk_dots(of_values, s.v, first, s.d_o, i * HY_CHUNK_BAND, p.vp, l);
#pragma unroll
            for (int e = 0; e < 8; e++)
                c[e / 4][e % 4] *= of_values[e / 4][e % 4];
            sum_pairs(c, over, own, l);
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        own[i] = row_sum(own[i]);
        if (l.t == 0)
            s.columns[first + l.g + 8 * i] = own[i];
    }
    const float rest[2] = {exp2f(end - from[0]), exp2f(end - from[1])};
    for (int column = 0; d.dv.data && column < p.vp; column += HY_CHUNK_STRIP) {
        float c[4][4] = {};
        if (at.left)
            hy_chunk_mul<true>(c, s.k, first, p.kp, s.dstate, column, l);
#pragma unroll
        for (int e = 0; e < 16; e++)
            c[e / 4][e % 4] *= rest[e / 2 % 2];
#pragma unroll
        for (int i = 0; i < HY_CHUNK_BANDS; i++)
            if (i >= band)
                hy_chunk_strip<true>(c, pairs[i], s.d_o, i * HY_CHUNK_BAND, column, l);
        hy_chunk_give(d.dv, at.rows, band, head * p.v, column, p.v, c, l);
    }
}

/* What dk and dq of a band of rows are made of. */
struct keys {
    const uint32_t *own, *other, *state; /* v, do and dS; or do, v and S */
    const uint32_t *of_own, *of_other;   /* k and q, or q and k */
    bool reads, through;                 /* reads: of dq; through: is there a state? */
    float factor[2];                     /* of the rows, by way of the state */
    uint32_t pairs[HY_CHUNK_BANDS][4];
};

__device__ static inline struct keys keys_of(const struct hy_chunk_plan &p, const struct place &at,
                                             const struct space &s, bool reads, int band,
                                             const struct hy_chunk_lane &l)
{
    const int first = band * HY_CHUNK_BAND;
    const float end = s.sums[HY_CHUNK - 1];
    const float from[2] = {s.sums[first + l.g], s.sums[first + l.g + 8]};
    struct keys k;
    k.own = reads ? s.d_o : s.v;
    k.other = reads ? s.v : s.d_o;
    k.state = reads ? s.state : s.dstate;
    k.of_own = reads ? s.q : s.k;
    k.of_other = reads ? s.k : s.q;
    k.reads = reads;
    k.through = reads ? at.entered : at.left;
#pragma unroll
    for (int i = 0; i < 2; i++)
        k.factor[i] = reads ? p.scale * exp2f(from[i]) : exp2f(end - from[i]);
#pragma unroll
    for (int tile = 0; tile < HY_CHUNK_BANDS; tile++) {
        if (reads ? tile > band : tile < band)
            continue;
        float c[2][4];
        hy_chunk_dots(c, k.own, first, k.other, tile * HY_CHUNK_BAND, p.vp, l);
#pragma unroll
        for (int e = 0; e < 8; e++) {
            const int column = e / 4 * 8 + 2 * l.t + e % 2, row = l.g + e / 2 % 2 * 8;
            const float to = s.sums[tile * HY_CHUNK_BAND + column];
            const float decay = exp2f(reads ? from[e / 2 % 2] - to : to - from[e / 2 % 2]);
            const bool live = tile != band || (reads ? column <= row : column >= row);
            c[e / 4][e % 4] = live ? p.scale * decay * c[e / 4][e % 4] : 0;
        }
        hy_chunk_turn(c, k.pairs[tile]);
    }
    return k;
}

/* sum += a strip by way of the pairs. */
__device__ static inline void add_pairs(const struct keys &k, int band, int column, float sum[4][4],
                                        const struct hy_chunk_lane &l)
{
#pragma unroll
    for (int tile = 0; tile < HY_CHUNK_BANDS; tile++)
        if (k.reads ? tile <= band : tile >= band)
            hy_chunk_strip<true>(sum, k.pairs[tile], k.of_other, tile * HY_CHUNK_BAND, column, l);
}

/* c = a strip by way of the state; dots: its products with the rows' own keys are added. */
__device__ static inline void take_through(const struct hy_chunk_plan &p, const struct keys &k,
                                           int band, int column, float c[4][4], float dots[2],
                                           const struct hy_chunk_lane &l)
{
    const int first = band * HY_CHUNK_BAND;
    hy_chunk_mul<false>(c, k.own, first, p.vp, k.state, column, l);
#pragma unroll
    for (int e = 0; e < 16; e++)
        c[e / 4][e % 4] *= k.factor[e / 2 % 2];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const hy_pack<4> pack = hy_chunk_of_strip(c, i / 2, i % 2);
        const struct hy_chunk_words keys = *reinterpret_cast<const struct hy_chunk_words *>(
            k.of_own + (first + l.g + i / 2 * 8) * HY_CHUNK_LD + column / 2 + i % 2 * 8 + 2 * l.t);
#pragma unroll
        for (int h = 0; h < 2; h++)
            dots[i / 2] += pack.at[2 * h] * __uint_as_float(keys.at[h] << 16) +
                           pack.at[2 * h + 1] * __uint_as_float(keys.at[h] & 0xffff0000u);
    }
}

/* A head's dk, or dq, of a band of rows; s.wrote or s.read. STRIPS: of the keys, of which sum gains
 * them; 0: they are given at once, any number. */
template <int STRIPS>
__device__ static inline void add_keys(const struct hy_chunk_plan &p, const struct place &at,
                                       const struct space &s, const struct gradients &d, bool reads,
                                       int band, float (*sum)[4][4], const struct hy_chunk_lane &l)
{
    const struct keys k = keys_of(p, at, s, reads, band, l);
    float dots[2] = {};
    if (STRIPS == 0)
#pragma unroll 1
        for (int column = 0; column < p.kp; column += HY_CHUNK_STRIP) {
            float c[4][4] = {};
            if (k.through)
                take_through(p, k, band, column, c, dots, l);
            add_pairs(k, band, column, c, l);
            hy_chunk_give(reads ? d.dq : d.dk, at.rows, band, at.group * p.k, column, p.k, c, l);
        }
#pragma unroll
    for (int n = 0; n < STRIPS; n++) {
        float c[4][4] = {};
        if (k.through)
            take_through(p, k, band, n * HY_CHUNK_STRIP, c, dots, l);
#pragma unroll
        for (int e = 0; e < 16; e++)
            sum[n][e / 4][e % 4] += c[e / 4][e % 4];
        add_pairs(k, band, n * HY_CHUNK_STRIP, sum[n], l);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        dots[i] = row_sum(dots[i]);
        if (l.t == 0)
            (reads ? s.read : s.wrote)[band * HY_CHUNK_BAND + l.g + 8 * i] = dots[i];
    }
}

/* By one warp, a lane has two rows: the gradient of row t's log decay is <S, dS> across the chunk,
 * and what rows before t wrote to the state that leaves, what rows from t on read of the one that
 * enters, and the pairs of these with those. The latter are what rows and columns from t on sum to,
 * since pairs in which both are from t on are in both. */
__device__ static inline void give_decays(const struct hy_chunk_plan &p, const struct place &at,
                                          const struct space &s, const struct gradients &d,
                                          int64_t head)
{
    const int lane = (int)threadIdx.x % 32;
    float from[2], before[2], carry = 0, constant = 0;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int row = 2 * lane + i;
        from[i] = s.read[row] - s.columns[row];
        for (int band = 0; band < HY_CHUNK_BANDS; band++)
            from[i] += s.rows[band * HY_CHUNK + row];
        before[i] = s.wrote[row];
    }
    for (int i = 0; i < WARPS; i++)
        carry += s.carry[i];
    carry *= exp2f(s.sums[HY_CHUNK - 1]);
    float after = from[0] + from[1], sum = before[0] + before[1];
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
        const float right = __shfl_down_sync(0xffffffffu, after, (unsigned)by);
        const float left = __shfl_up_sync(0xffffffffu, sum, (unsigned)by);
        after += lane + by < 32 ? right : 0;
        sum += lane >= by ? left : 0;
    }
    const float right = __shfl_down_sync(0xffffffffu, after, 1);
    const float left = __shfl_up_sync(0xffffffffu, sum, 1);
    from[1] += lane < 31 ? right : 0;
    from[0] += from[1];
    carry += lane ? left : 0;
    before[1] = carry + before[0];
    before[0] = carry;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (2 * lane + i >= at.rows.count)
            continue;
        constant += before[i] + from[i];
        if (p.decay == HY_DECAY_HEAD)
            hy_give<1>(d.ddecay, at.rows.row + 2 * lane + i, head, {{before[i] + from[i]}});
    }
    constant = hy_warp_sum(constant);
    if (p.decay == HY_DECAY_CONSTANT && lane == 0)
        hy_row(d.ddecay, at.chunk * p.batch + at.sequence)[head] = constant;
}

/* STRIPS: of the keys, where a group has several heads, over which dq and dk are summed; else 0. */
template <int STRIPS>
__global__ static void __launch_bounds__(THREADS, STRIPS ? 1 : 2)
    give(struct hy_chunk_plan p, struct gradients d)
{
    HY_SHARED(uint32_t, shared);
    struct space s;
    lay_out(p, shared, &s);
    const int warp = (int)threadIdx.x / 32, band = warp % HY_CHUNK_BANDS;
    const enum part part = (enum part)(warp / HY_CHUNK_BANDS);
    const hy_chunk_lane l;
    struct place at;
    at.group = (int)(blockIdx.x % (unsigned)p.groups);
    at.chunk = (int)(blockIdx.x / (unsigned)p.groups % (unsigned)p.chunks);
    at.sequence = (int)(blockIdx.x / (unsigned)p.groups / (unsigned)p.chunks);
    at.rows = hy_chunk_rows_of(p, at.sequence, at.chunk);
    at.entered = at.chunk > 0 || !p.from_zero;
    at.left = at.chunk + 1 < p.chunks || d.dht.data;

    const struct hy_chunk_rows rows = at.rows;
    const int64_t key = at.group * p.group / p.sharing * p.k;
    float sum[STRIPS ? STRIPS : 1][4][4] = {};
    hy_chunk_load(hy_chunk_part_of(p.in[HY_SCAN_Q], rows.row, key, rows.count, p.k), HY_CHUNK, p.kp,
                  s.q);
    hy_chunk_load(hy_chunk_part_of(p.in[HY_SCAN_K], rows.row, key, rows.count, p.k), HY_CHUNK, p.kp,
                  s.k);
    for (int n = 0; n < p.group; n++) {
        const int head = at.group * p.group + n, value = head * p.v;
        if (n > 0)
            __syncthreads();
        hy_chunk_load(hy_chunk_part_of(p.in[HY_SCAN_V], rows.row, value, rows.count, p.v), HY_CHUNK,
                      p.vp, s.v);
        hy_chunk_load(hy_chunk_part_of(d.d_o, rows.row, value, rows.count, p.v), HY_CHUNK, p.vp,
                      s.d_o);
        load_states<STRIPS ? 4 : 2>(p, at, s, d, head);
        if (warp == 0)
            hy_chunk_sum_decays(hy_chunk_take_decays(p, rows, head), s.sums);
        __syncthreads();
        if (part == OF_VALUES)
            give_values(p, at, s, d, head, band, l);
        else
            add_keys<STRIPS>(p, at, s, d, part == OF_QUERIES, band, sum, l);
        if (!d.ddecay.data)
            continue;
        __syncthreads();
        if (warp == 0)
            give_decays(p, at, s, d, head);
    }
    if (part == OF_VALUES || STRIPS == 0)
        return;
    const struct hy_span to = part == OF_QUERIES ? d.dq : d.dk;
#pragma unroll
    for (int n = 0; n < STRIPS; n++)
        hy_chunk_give(to, rows, band, at.group * p.k, n * HY_CHUNK_STRIP, p.k, sum[n], l);
}

/* What backward has, from scratch and elsewhere. */
static struct gradients gradients_of(const struct hy_op *op, const struct hy_chunk_plan *p,
                                     int64_t *used)
{
    const int64_t keys = (int64_t)p->groups * p->k;
    struct gradients d = {};
    d.d_o = hy_span_of(op->dout[HY_SCAN_O]);
    d.dht = hy_span_of(op->dout[HY_SCAN_HT]);
    d.dv = hy_span_din(op, HY_SCAN_V);
    d.dh0 = hy_span_din(op, HY_SCAN_H0);
    d.states = hy_scan_take_rows(op, p->batch * p->heads * p->chunks * p->k, p->v, used);
    d.ddecay = hy_scan_shares_of(op, p, HY_SCAN_DECAY, p->heads,
                                 p->decay == HY_DECAY_CONSTANT ? p->chunks : 1, used);
    *used = (*used + 3) / 4 * 4;
    d.dq = hy_scan_shares_of(op, p, HY_SCAN_Q, keys, 1, used);
    *used = (*used + 3) / 4 * 4;
    d.dk = hy_scan_shares_of(op, p, HY_SCAN_K, keys, 1, used);
    return d;
}

void hy_scan_chunks_backward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t used = 0;
    const struct hy_chunk_plan p = hy_chunk_plan_of(op, &used);
    const struct gradients d = gradients_of(op, &p, &used);
    if (p.chunks > 1 || d.dht.data || d.dh0.data)
        hy_chunk_start_walk(at, p, true,
                            {p.in[HY_SCAN_Q], d.d_o, d.dht, d.dh0, d.states, p.chunks, p.k});
    const int64_t blocks = p.batch * p.chunks * p.groups;
    const int strips = p.kp / HY_CHUNK_STRIP;
    hy_start_large(at, dim3((unsigned)blocks, 1, (unsigned)at->replicas), dim3(THREADS),
                   bytes_of(p),
                   p.group == 1  ? give<0>
                   : strips == 1 ? give<1>
                   : strips == 2 ? give<2>
                   : strips == 3 ? give<3>
                                 : give<4>,
                   p, d);
    const int64_t sharing = p.sharing / p.group;
    hy_scan_hand_over(op, at, &p, HY_SCAN_Q, d.dq, p.k, sharing);
    hy_scan_hand_over(op, at, &p, HY_SCAN_K, d.dk, p.k, sharing);
    hy_scan_hand_over(op, at, &p, HY_SCAN_DECAY, d.ddecay, 1, 1);
}

size_t hy_scan_chunks_scratch(const struct hy_op *op)
{
    int64_t used = 0;
    const struct hy_chunk_plan p = hy_chunk_plan_of(op, &used);
    if (p.backward)
        gradients_of(op, &p, &used);
    return (size_t)used * sizeof(float);
}
