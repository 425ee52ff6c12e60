/* scan_chunks.cuh - the gated scan (scan.h) with products in bf16, by chunks of 64 tokens: what its
 * kernels share.
 *
 * Without a decay per channel all that decays is a factor of rows. With G_i the sum of the log
 * decays from a chunk's first row to row i, and S the state that enters it,
 *     o_i = sum over j <= i of e^(G_i - G_j) <scale q_i, k_j> v_j + e^(G_i) S' scale q_i
 *     S <- e^(G_end) S + sum over j of e^(G_end - G_j) k_j v_j'
 * and backward, dS being the gradient of the state that leaves the chunk,
 *     dv_j = sum over i >= j of e^(G_i - G_j) <scale q_i, k_j> do_i + e^(G_end - G_j) dS' k_j
 *     dq_i = scale (sum over j <= i of e^(G_i - G_j) <do_i, v_j> k_j + e^(G_i) S do_i)
 *     dk_j = sum over i >= j of e^(G_i - G_j) <do_i, v_j> scale q_i + e^(G_end - G_j) dS v_j
 *     dS <- e^(G_end) dS + sum over i of e^(G_i) scale q_i do_i'.
 * Every exponent is at most 0. One kernel walks along the chunks with a state in registers, which
 * is little work, and leaves the states in memory; a second one does the rest for all chunks at
 * once. Heads that read the same q and k are taken together, some of them by one block of threads.
 *
 * The gradient of the log decay of token t sums what passes through it: <S, dS> e^(G_end), what the
 * state took from rows before t, what rows from t on read of the state, and the pairs i >= t > j.
 * So nothing that is added has to cancel. */
#ifndef HY_OPS_SCAN_SCAN_CHUNKS_CUH
#define HY_OPS_SCAN_SCAN_CHUNKS_CUH

#include "core/ops/scan/scan.cuh"
#include "core/ops/support/mma.cuh"

enum {
    HY_CHUNK = 64,      /* rows of a chunk */
    HY_CHUNK_BAND = 16, /* rows that a warp works on */
    HY_CHUNK_BANDS = HY_CHUNK / HY_CHUNK_BAND,
    HY_CHUNK_STRIP = 32, /* columns that it works on at a time; widths are padded to these */
    HY_CHUNK_MOST = 128, /* widest keys and values */
    /* Matrices in shared memory have pairs of neighbours in bf16, a pair in a word, rows of
     * so many words: the lanes of a warp meet different banks, and the compiler knows where. */
    HY_CHUNK_LD = HY_CHUNK_MOST / 2 + 4
};

/* kp and vp are multiples of strips; lk, lv and what is said of tiles and work is not used. Rows of
 * all tensors but decays are read and written four floats at a time. */
struct hy_chunk_plan : hy_scan_plan {
    int vp;
    int group, groups; /* heads that a block of threads takes one after another; of a sequence */
    bool from_zero;    /* no state enters the first chunk */
    struct hy_span states; /* those that enter the chunks */
    int64_t slots;         /* of them, for a head of a sequence; each of kept_rows */
};

__host__ __device__ static inline int hy_chunk_up(int64_t width)
{
    return (int)((width + HY_CHUNK_STRIP - 1) / HY_CHUNK_STRIP * HY_CHUNK_STRIP);
}

/* Rows of a chunk. */
struct hy_chunk_rows {
    int64_t row; /* of the tensors: the first */
    int count;
};

__device__ static inline struct hy_chunk_rows hy_chunk_rows_of(const struct hy_chunk_plan &p,
                                                               int64_t sequence, int64_t chunk)
{
    const int64_t first = chunk * HY_CHUNK;
    return {sequence * p.tokens + first, (int)min(p.tokens - first, (int64_t)HY_CHUNK)};
}

/* ---- From memory to shared memory ---- */

/* Rows and columns of a matrix; what lies beyond these is taken for zero. */
struct hy_chunk_part {
    const float *data;
    int64_t ld;
    int rows, cols;
};

__device__ static inline struct hy_chunk_part hy_chunk_part_of(const struct hy_span &t, int64_t row,
                                                               int64_t column, int rows, int cols)
{
    return {t.data ? hy_row(t, row) + column : NULL, t.ld, t.data ? rows : 0, cols};
}

/* How the threads of a block share out rows of `width` columns: four columns each. */
struct hy_chunk_threads {
    int row, rows, column; /* rows: those that are taken at once */

    __device__ explicit hy_chunk_threads(int width)
    {
        const int bits = width > 64 ? 5 : width > 32 ? 4 : 3;
        row = (int)threadIdx.x >> bits;
        rows = (int)blockDim.x >> bits;
        column = ((int)threadIdx.x & ((1 << bits) - 1)) * 4;
    }
};

/* N of a thread's packs, `row` being the row of the first one: all of them are under way at once.
 */
template <int N>
__device__ static inline void hy_chunk_fetch(hy_pack<4> (&to)[N], const struct hy_chunk_part &m,
                                             const struct hy_chunk_threads &by, int row)
{
    const float *from = m.data + row * m.ld + by.column;
    const int64_t step = by.rows * m.ld;
    const int rows = by.column < m.cols ? m.rows - row : 0;
#pragma unroll
    for (int n = 0; n < N; n++, from += step)
        to[n] = n * by.rows < rows ? *reinterpret_cast<const hy_pack<4> *>(from) : hy_pack<4>{};
}

struct alignas(8) hy_chunk_words {
    uint32_t at[2];
};

__device__ static inline void hy_chunk_put(uint32_t *to, int row, int column, const hy_pack<4> &p,
                                           float factor)
{
    const struct hy_chunk_words words = {{hy_mma_pair(factor * p.at[0], factor * p.at[1]),
                                          hy_mma_pair(factor * p.at[2], factor * p.at[3])}};
    *reinterpret_cast<struct hy_chunk_words *>(to + row * HY_CHUNK_LD + column / 2) = words;
}

/* A whole matrix of rows x width. */
__device__ static inline void hy_chunk_load(const struct hy_chunk_part &m, int rows, int width,
                                            uint32_t *to)
{
    enum { BATCH = 4 };
    const struct hy_chunk_threads by(width);
    for (int row = by.row; row < rows; row += BATCH * by.rows) {
        hy_pack<4> p[BATCH];
        hy_chunk_fetch(p, m, by, row);
#pragma unroll
        for (int n = 0; n < BATCH; n++)
            if (row + n * by.rows < rows && by.column < width)
                hy_chunk_put(to, row + n * by.rows, by.column, p[n], 1);
    }
}

/* ---- Decays, by the lanes of one warp: a lane has two rows ---- */

struct hy_chunk_pair {
    float at[2];
};

/* Log decays of base 2, of rows beyond the end 0. Those that give 0 in float32 anyway are cut off,
 * so that their sums keep the digits of the others'. */
__device__ static inline struct hy_chunk_pair
hy_chunk_take_decays(const struct hy_chunk_plan &p, struct hy_chunk_rows rows, int64_t head)
{
    struct hy_chunk_pair d = {};
    const struct hy_span t = p.in[HY_SCAN_DECAY];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int row = 2 * ((int)threadIdx.x % 32) + i;
        if (p.decay != HY_DECAY_NONE && row < rows.count) {
            const float log =
                1.44269504f * hy_row(t, p.decay == HY_DECAY_HEAD ? rows.row + row : 0)[head];
            d.at[i] = log < -160 ? -160 : log;
        }
    }
    return d;
}

/* sums[i]: of the rows up to i. */
__device__ static inline void hy_chunk_sum_decays(const struct hy_chunk_pair &d, float *sums)
{
    const int lane = (int)threadIdx.x % 32;
    float sum = d.at[0] + d.at[1];
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
        const float before = __shfl_up_sync(0xffffffffu, sum, (unsigned)by);
        if (lane >= by)
            sum += before;
    }
    const float before = __shfl_up_sync(0xffffffffu, sum, 1);
    sums[2 * lane] = (lane ? before : 0) + d.at[0];
    sums[2 * lane + 1] = sum;
}

/* ---- Products, by the lanes of a warp ----
 *
 * A matrix in shared memory is an operand in two ways: along its rows, where these are what is
 * multiplied and summed, or across them, where sums go over the rows. Across them a word has two
 * columns of one row, so the halves of two rows' words are put together; then the columns of two
 * neighbouring [16, 8] of the result, or the upper and lower rows of a [16, 16], alternate. Strips
 * have their columns so in either way, and a lane has four neighbours of a row. */

__device__ static inline uint32_t hy_chunk_low(uint32_t first, uint32_t second)
{
    return (first & 0xffffu) | second << 16;
}

__device__ static inline uint32_t hy_chunk_high(uint32_t first, uint32_t second)
{
    return first >> 16 | (second & 0xffff0000u);
}

struct hy_chunk_lane {
    int g, t;

    __device__ hy_chunk_lane()
    {
        g = (int)threadIdx.x % 32 / 4;
        t = (int)threadIdx.x % 4;
    }
};

/* A, 16 rows of m from its `row` on, along columns from `column` on. */
__device__ static inline void hy_chunk_a(const uint32_t *m, int row, int column,
                                         const struct hy_chunk_lane &l, uint32_t a[4])
{
    const uint32_t *from = m + (row + l.g) * HY_CHUNK_LD + column / 2 + l.t;
    a[0] = from[0];
    a[1] = from[8 * HY_CHUNK_LD];
    a[2] = from[4];
    a[3] = from[8 * HY_CHUNK_LD + 4];
}

/* A, 16 columns of m across rows from `row` on; row g is the column 2g, row g + 8 the next. */
__device__ static inline void hy_chunk_a_across(const uint32_t *m, int row, int column,
                                                const struct hy_chunk_lane &l, uint32_t a[4])
{
    const uint32_t *from = m + (row + 2 * l.t) * HY_CHUNK_LD + column / 2 + l.g;
    const uint32_t first = from[0], second = from[HY_CHUNK_LD];
    const uint32_t third = from[8 * HY_CHUNK_LD], fourth = from[9 * HY_CHUNK_LD];
    a[0] = hy_chunk_low(first, second);
    a[1] = hy_chunk_high(first, second);
    a[2] = hy_chunk_low(third, fourth);
    a[3] = hy_chunk_high(third, fourth);
}

/* c [16, 32] += A B, where B has the columns of m from `column` on, ACROSS its rows from `row` on;
 * or else the rows of m from `row` on, along its columns. */
template <bool ACROSS>
__device__ static inline void hy_chunk_strip(float c[4][4], const uint32_t a[4], const uint32_t *m,
                                             int row, int column, const struct hy_chunk_lane &l)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t even[2], odd[2];
        if (ACROSS) {
            uint32_t parts[4];
            hy_chunk_a_across(m, row, column + 16 * half, l, parts);
            even[0] = parts[0];
            even[1] = parts[2];
            odd[0] = parts[1];
            odd[1] = parts[3];
        } else {
            const uint32_t *from = m + (row + 16 * half + 2 * l.g) * HY_CHUNK_LD + column / 2 + l.t;
            even[0] = from[0];
            even[1] = from[4];
            odd[0] = from[HY_CHUNK_LD];
            odd[1] = from[HY_CHUNK_LD + 4];
        }
        hy_mma(c[2 * half], a, even);
        hy_mma(c[2 * half + 1], a, odd);
    }
}

/* c [16, 32] += rows of a times B, over the columns of a. B: columns of m from `first` on, ACROSS
 * its rows; or else rows from `first` on. */
template <bool ACROSS>
__device__ static inline void hy_chunk_mul(float c[4][4], const uint32_t *a, int row, int columns,
                                           const uint32_t *m, int first,
                                           const struct hy_chunk_lane &l)
{
#pragma unroll 2
    for (int k = 0; k < columns; k += 16) {
        uint32_t part[4];
        hy_chunk_a(a, row, k, l, part);
        hy_chunk_strip<ACROSS>(c, part, m, ACROSS ? k : first, ACROSS ? first : k, l);
    }
}

/* c [16, 16] = products of rows of a with rows of b, in their order. */
__device__ static inline void hy_chunk_dots(float c[2][4], const uint32_t *a, int row_a,
                                            const uint32_t *b, int row_b, int columns,
                                            const struct hy_chunk_lane &l)
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        c[i / 4][i % 4] = 0;
#pragma unroll 2
    for (int k = 0; k < columns; k += 16) {
        uint32_t part[4], other[2];
        hy_chunk_a(a, row_a, k, l, part);
#pragma unroll
        for (int n = 0; n < 2; n++) {
            const uint32_t *from = b + (row_b + 8 * n + l.g) * HY_CHUNK_LD + k / 2 + l.t;
            other[0] = from[0];
            other[1] = from[4];
            hy_mma(c[n], part, other);
        }
    }
}

/* The A that c [16, 16] is. */
__device__ static inline void hy_chunk_turn(const float c[2][4], uint32_t a[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        a[i] = hy_mma_pair(c[i / 2][i % 2 * 2], c[i / 2][i % 2 * 2 + 1]);
}

/* What a lane has of a strip: row g + 8 * lower, columns 16 * half + 4t on. */
__device__ static inline hy_pack<4> hy_chunk_of_strip(const float c[4][4], int lower, int half)
{
    const float *even = c[2 * half] + 2 * lower, *odd = c[2 * half + 1] + 2 * lower;
    return {{even[0], odd[0], even[1], odd[1]}};
}

__device__ static inline void hy_chunk_to_strip(float c[4][4], int lower, int half,
                                                const hy_pack<4> &p)
{
    c[2 * half][2 * lower] = p.at[0];
    c[2 * half + 1][2 * lower] = p.at[1];
    c[2 * half][2 * lower + 1] = p.at[2];
    c[2 * half + 1][2 * lower + 1] = p.at[3];
}

/* Gives a lane's part of a strip: packs of the row at `to` and, `apart` floats on, of another.
 * lower, cols: are there the other row, and columns enough from the lane's first on? */
__device__ static inline void hy_chunk_give_lane(float *to, int64_t apart, bool upper, bool lower,
                                                 int cols, int add, const float c[4][4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (!(i / 2 ? lower : upper) || i % 2 * 16 >= cols)
            continue;
        hy_pack<4> p = hy_chunk_of_strip(c, i / 2, i % 2);
        hy_pack<4> *at = reinterpret_cast<hy_pack<4> *>(to + i / 2 * apart + i % 2 * 16);
        if (add)
#pragma unroll
            for (int n = 0; n < 4; n++)
                p.at[n] += at->at[n];
        *at = p;
    }
}

/* Gives a strip of a band of a chunk's rows, at column `column` of `cols` that begin at column
 * `first` of the matrix. */
__device__ static inline void hy_chunk_give(const struct hy_span &to, struct hy_chunk_rows rows,
                                            int band, int64_t first, int column, int cols,
                                            const float c[4][4], const struct hy_chunk_lane &l)
{
    const int row = band * HY_CHUNK_BAND + l.g;
    if (to.data)
        hy_chunk_give_lane(hy_row(to, rows.row + row) + first + column + 4 * l.t, 8 * to.ld,
                           row < rows.count, row + 8 < rows.count, cols - column - 4 * l.t, to.add,
                           c);
}

/* ---- On the host ---- */

/* The walk along the chunks: from the first, or BACK from the last. */
struct hy_chunk_walk {
    struct hy_span keys, values; /* what is multiplied: k and v, or q and do */
    struct hy_span begin, end;   /* the states where it begins and ends; no data: zero, unwanted */
    struct hy_span slots; /* the state with which it comes to each chunk, and `end`, if there is one
                             more slot than chunks */
    int64_t slots_of_head, rows_of_slot;
};
void hy_chunk_start_walk(const struct hy_launch *at, const struct hy_chunk_plan &p, bool back,
                         const struct hy_chunk_walk &w);

/* Scratch is taken from float *used on, which moves along. */
struct hy_chunk_plan hy_chunk_plan_of(const struct hy_op *op, int64_t *used);

/* Does an op go this way? */
bool hy_scan_by_chunks(const struct hy_op *op);
void hy_scan_chunks_forward(const struct hy_op *op, const struct hy_launch *at);
void hy_scan_chunks_backward(const struct hy_op *op, const struct hy_launch *at);
size_t hy_scan_chunks_scratch(const struct hy_op *op);

#endif
