/* scan_chunks.cu - which scans go by chunks on tensor cores, and the walk along the chunks. */
#include "core/ops/scan/scan_chunks.cuh"

enum {
    PACKS = 4,     /* of a matrix that a thread has under way */
    TILE = 64,     /* columns of the values that a block of threads takes in a walk */
    THREADS = 512, /* at most */
    GROUP = 8,     /* heads that a block of threads takes, at most */
    BLOCKS = 64    /* that there should be before it takes more than one */
};

/* What a block of threads fetches of a chunk before it has worked on the one before. */
struct fetched {
    hy_pack<4> keys[PACKS], values[PACKS];
    struct hy_chunk_pair decays; /* the first warp's */
    struct hy_chunk_rows rows;
};

struct place {
    int sequence, head;
    int column, columns; /* of the values: the first of the tile, live ones */
};

__device__ static inline void fetch(const struct hy_chunk_plan &p, const struct hy_chunk_walk &w,
                                    const struct place &at, int64_t chunk, int key_head,
                                    const struct hy_chunk_threads &of_keys,
                                    const struct hy_chunk_threads &of_values, struct fetched *f)
{
    f->rows = hy_chunk_rows_of(p, at.sequence, chunk);
    const struct hy_chunk_part keys =
        hy_chunk_part_of(w.keys, f->rows.row, key_head * p.k, f->rows.count, p.k);
    const struct hy_chunk_part values = hy_chunk_part_of(
        w.values, f->rows.row, at.head * p.v + at.column, f->rows.count, at.columns);
    hy_chunk_fetch(f->keys, keys, of_keys, of_keys.row);
    hy_chunk_fetch(f->values, values, of_values, of_values.row);
    if (threadIdx.x < 32)
        f->decays = hy_chunk_take_decays(p, f->rows, at.head);
}

/* A warp's part of a state: columns 4t on of rows 2g and 2g + 1. */
__device__ static inline void give_state(const struct hy_chunk_plan &p, const struct place &at,
                                         const struct hy_span &to, int64_t row, int first,
                                         int column, const float c[4][4],
                                         const struct hy_chunk_lane &l)
{
    const int key = first + 2 * l.g, value = column + 4 * l.t;
    if (to.data)
        hy_chunk_give_lane(hy_row(to, row + key) + at.column + value, to.ld, key < p.k,
                           key + 1 < p.k, at.columns - value, to.add, c);
}

__device__ static inline void take_state(const struct hy_chunk_plan &p, const struct place &at,
                                         const struct hy_span &from, int64_t row, int first,
                                         int column, float c[4][4], const struct hy_chunk_lane &l)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int key = first + 2 * l.g + i / 2, value = column + i % 2 * 16 + 4 * l.t;
        hy_pack<4> pack = {};
        if (key < p.k && value < at.columns)
            pack = hy_take<4>(from, row + key, at.column + value);
        hy_chunk_to_strip(c, i / 2, i % 2, pack);
    }
}

/* A warp has 16 rows and a strip of the columns of the state; the warps beyond the state's end only
 * help to load. `tiles`: of a head's columns, of `strips` strips each. */
template <bool BACK>
__global__ static void __launch_bounds__(THREADS)
    walk(struct hy_chunk_plan p, struct hy_chunk_walk w, int tiles, int strips)
{
    HY_SHARED(uint32_t, shared);
    const int width = strips * HY_CHUNK_STRIP;
    uint32_t *keys = shared, *values = keys + HY_CHUNK * HY_CHUNK_LD;
    float *sums = reinterpret_cast<float *>(values + HY_CHUNK * HY_CHUNK_LD);

    const int warp = (int)threadIdx.x / 32, column = warp % strips * HY_CHUNK_STRIP;
    const int first = warp / strips * HY_CHUNK_BAND; /* of the rows */
    const bool mine = first < p.kp;
    const hy_chunk_lane l;
    const hy_chunk_threads of_keys(p.kp), of_values(width);
    const unsigned index = blockIdx.x / (unsigned)tiles, heads = (unsigned)p.heads;
    struct place at = {(int)(index / heads), (int)(index % heads),
                       (int)(blockIdx.x % (unsigned)tiles) * TILE, 0};
    at.columns = min(p.v - at.column, width);
    const int key_head = at.head / (int)p.sharing;
    const int64_t state = (int64_t)index * p.k;

    struct fetched f;
    float c[4][4];
    fetch(p, w, at, BACK ? p.chunks - 1 : 0, key_head, of_keys, of_values, &f);
    take_state(p, at, w.begin, state, mine ? first : p.k, column, c, l);
    for (int64_t n = 0; n < p.chunks; n++) {
        const int64_t chunk = BACK ? p.chunks - 1 - n : n;
        if (warp == 0)
            hy_chunk_sum_decays(f.decays, sums);
        __syncthreads(); /* the chunk before has been used, too */
        const float end = sums[HY_CHUNK - 1], through = exp2f(end);
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            const int row = of_keys.row + i * of_keys.rows;
            if (row < HY_CHUNK && of_keys.column < p.kp)
                hy_chunk_put(keys, row, of_keys.column, f.keys[i],
                             BACK ? p.scale * exp2f(sums[row]) : exp2f(end - sums[row]));
        }
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            const int row = of_values.row + i * of_values.rows;
            if (row < HY_CHUNK)
                hy_chunk_put(values, row, of_values.column, f.values[i], 1);
        }
        if (n + 1 < p.chunks)
            fetch(p, w, at, BACK ? chunk - 1 : chunk + 1, key_head, of_keys, of_values, &f);
        __syncthreads();
        if (!mine)
            continue;
        give_state(p, at, w.slots, (index * w.slots_of_head + chunk) * w.rows_of_slot, first,
                   column, c, l);
#pragma unroll
        for (int i = 0; i < 16; i++)
            c[i / 4][i % 4] *= through;
#pragma unroll 2
        for (int k = 0; k < HY_CHUNK; k += 16) {
            uint32_t a[4];
            hy_chunk_a_across(keys, k, first, l, a);
            hy_chunk_strip<true>(c, a, values, k, column, l);
        }
    }
    if (!mine)
        return;
    give_state(p, at, w.end, state, first, column, c, l);
    if (w.slots_of_head > p.chunks)
        give_state(p, at, w.slots, (index * w.slots_of_head + p.chunks) * w.rows_of_slot, first,
                   column, c, l);
}

void hy_chunk_start_walk(const struct hy_launch *at, const struct hy_chunk_plan &p, bool back,
                         const struct hy_chunk_walk &w)
{
    const int width = p.vp < TILE ? p.vp : (int)TILE, strips = width / HY_CHUNK_STRIP;
    const int tiles = (p.vp + TILE - 1) / TILE;
    /* Enough for the state, and for PACKS packs each of a chunk. */
    const int wider = hy_chunk_up(p.kp > width ? p.kp : width);
    int threads = p.kp / HY_CHUNK_BAND * strips * 32;
    while (threads < HY_CHUNK / PACKS * (wider > 64 ? 32 : wider / 4))
        threads += 32;
    const size_t bytes =
        sizeof(uint32_t) * (size_t)(2 * HY_CHUNK * HY_CHUNK_LD) + sizeof(float) * HY_CHUNK;
    const int64_t blocks = p.batch * p.heads * tiles;
    hy_start_large(at, dim3((unsigned)blocks, 1, (unsigned)at->replicas), dim3((unsigned)threads),
                   bytes, back ? walk<true> : walk<false>, p, w, tiles, strips);
}

/* Heads that share keys are taken together as far as enough blocks of threads are left: by the
 * shape alone, so that a replica's numbers are the same in any gang. */
static int group_of(const struct hy_chunk_plan &p)
{
    for (int group = GROUP; group > 1; group--)
        if (p.sharing % group == 0 && p.batch * p.chunks * (p.heads / group) >= BLOCKS)
            return group;
    return 1;
}

struct hy_chunk_plan hy_chunk_plan_of(const struct hy_op *op, int64_t *used)
{
    struct hy_chunk_plan p = {};
    static_cast<struct hy_scan_plan &>(p) = hy_scan_plan_begin(op);
    p.kp = hy_chunk_up(p.k);
    p.vp = hy_chunk_up(p.v);
    p.group = group_of(p);
    p.groups = (int)(p.heads / p.group);
    p.from_zero = !op->in[HY_SCAN_H0];
    p.slots = p.chunks + 1;
    p.states = p.out[HY_SCAN_STATES];
    if (!op->out[HY_SCAN_STATES]) {
        p.slots = p.chunks;
        p.kept_rows = p.k;
        p.states = hy_scan_take_rows(op, p.batch * p.heads * p.slots * p.k, p.v, used);
    }
    return p;
}

/* Are the rows of each replica where four floats can be read at a time? To be known while no memory
 * is planned yet: what lies there on its own is aligned. */
static bool by_four(const struct hy_tensor *t)
{
    return !t || (!t->slab && t->cols % 4 == 0 && t->ld % 4 == 0 && t->offset % 4 == 0);
}

bool hy_scan_by_chunks(const struct hy_op *op)
{
    const struct hy_scan_plan p = hy_scan_plan_begin(op);
    const int64_t rows = 2 * hy_chunk_up(p.k) + 4 * HY_CHUNK; /* in shared memory */
    bool aligned = p.k % 4 == 0 && p.v % 4 == 0;
    for (int i = 0; i < HY_SCAN_INPUTS; i++)
        aligned = aligned && (i == HY_SCAN_DECAY || (by_four(op->in[i]) && by_four(op->din[i])));
    for (int i = 0; i < HY_SCAN_OUTPUTS; i++)
        aligned = aligned && by_four(op->out[i]) && by_four(op->dout[i]);
    return op->graph->shape.precision == HY_PRECISION_BF16 && op->graph->shape.mode != HY_CACHED &&
           !p.delta && p.decay != HY_DECAY_CHANNEL && p.chunk == HY_CHUNK && aligned &&
           p.k <= HY_CHUNK_MOST && p.v <= HY_CHUNK_MOST &&
           hy_scan_fits(op, rows * HY_CHUNK_LD + 16 * HY_CHUNK);
}
