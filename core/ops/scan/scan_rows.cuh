/* scan_rows.cuh - a block of tokens of the scan on its way: loads that are ahead of the work,
 * decays, what each row takes of the earlier ones, the state that the rows leave. */
#ifndef HY_OPS_SCAN_SCAN_ROWS_CUH
#define HY_OPS_SCAN_SCAN_ROWS_CUH

#include "core/ops/scan/scan.cuh"

/* Which elements of a matrix of HY_TILE rows a thread has: of row `row` + n % ROWS * STEP column
 * `lane` + n / ROWS * HY_TILE, so EACH of them cover SPAN columns. Loads of all of them are under
 * way at once, and those of the next block of tokens while this one is computed. */
template <int THREADS> struct hy_scan_slots {
    enum {
        EACH = 4,
        ROWS = HY_TILE_THREADS / THREADS,
        STEP = THREADS / HY_TILE,
        SPAN = EACH / ROWS * HY_TILE
    };
    __device__ static int row(int n)
    {
        return (int)threadIdx.x / HY_TILE + n % ROWS * STEP;
    }
    __device__ static int column(int n)
    {
        return (int)threadIdx.x % HY_TILE + n / ROWS * HY_TILE;
    }
};

/* A thread's part of what a block of tokens has in device memory: of the first SPAN columns. */
struct hy_scan_fetched {
    float q[4], k[4], decay[4], values[4], given[4];
    float step, beta; /* of row threadIdx.x % HY_TILE */
};

/* A thread's elements of t, from column `first` + `from` of the first `cols` on; else `beyond`. */
template <int THREADS>
__device__ static inline void hy_scan_fetch(const struct hy_span &t, struct hy_scan_rows rows,
                                            int64_t first, int from, int cols, float *to)
{
    typedef hy_scan_slots<THREADS> slots;
    const float *begin = hy_row(t, rows.row + slots::row(0)) + first + from + slots::column(0);
    const int live = t.data ? rows.count : 0;
#pragma unroll
    for (int n = 0; n < slots::EACH; n++) {
        const int i = n % slots::ROWS * slots::STEP, c = n / slots::ROWS * HY_TILE;
        to[n] = slots::row(n) < live && from + slots::column(n) < cols ? begin[i * t.ld + c] : 0;
    }
}

/* The rows of q, k and a decay by channel, from column `from` on. */
template <int KIND, int THREADS>
__device__ static inline void
hy_scan_fetch_keys(const struct hy_scan_plan &p, const struct hy_scan_place &at,
                   struct hy_scan_rows rows, bool reads, int from, struct hy_scan_fetched *f)
{
    const int64_t first = at.keys;
    hy_scan_fetch<THREADS>(p.in[HY_SCAN_K], rows, first, from, p.k, f->k);
    if (reads)
        hy_scan_fetch<THREADS>(p.in[HY_SCAN_Q], rows, first, from, p.k, f->q);
    if (hy_scan_by_channel<KIND>(p))
        hy_scan_fetch<THREADS>(p.in[HY_SCAN_DECAY], rows, at.head * p.k, from, p.k, f->decay);
}

/* Loads a thread's part of a block of tokens: q where wanted, k, beta, the decays, the columns of
 * `values`, and of `given` where there is such a matrix. */
template <int KIND, int THREADS>
__device__ static inline void
hy_scan_fetch_rows(const struct hy_scan_plan &p, const struct hy_scan_place &at,
                   struct hy_scan_rows rows, bool reads, const struct hy_span &values,
                   const struct hy_span *given, struct hy_scan_fetched *f)
{
    const int64_t first = at.head * p.v + at.column;
    const int i = (int)threadIdx.x % HY_TILE;
    const bool live = i < rows.count;
    hy_scan_fetch_keys<KIND, THREADS>(p, at, rows, reads, 0, f);
    hy_scan_fetch<THREADS>(values, rows, first, 0, at.columns, f->values);
    if (given)
        hy_scan_fetch<THREADS>(*given, rows, first, 0, at.columns, f->given);
    f->beta =
        hy_scan_is_delta<KIND>(p) && live ? hy_row(p.in[HY_SCAN_BETA], rows.row + i)[at.head] : 0;
    f->step = 0;
    if (!hy_scan_by_channel<KIND>(p) && p.decay != HY_DECAY_NONE && live)
        f->step = hy_row(p.in[HY_SCAN_DECAY],
                         p.decay == HY_DECAY_HEAD ? rows.row + i : (int64_t)0)[at.head];
}

/* The product of x over the HY_TILE lanes that have a row in common. */
__device__ static inline float hy_scan_product(float x)
{
#pragma unroll
    for (int bit = HY_TILE / 2; bit; bit /= 2)
        x *= __shfl_xor_sync(0xffffffffu, x, bit);
    return x;
}

/* The decays to and from row i where channels agree: lanes hold `step` of the row that is their
 * number. *into: from the entry to row i, *rest: from row i to the end; the return value: from the
 * lane's row to row i, 0 above the diagonal. */
__device__ static inline float hy_scan_between(float step, int i, float *into, float *rest)
{
    const int lane = (int)threadIdx.x % HY_TILE;
    float behind = lane <= i ? step : 1;
#pragma unroll
    for (int by = 1; by < HY_TILE; by *= 2) {
        const float next = __shfl_down_sync(0xffffffffu, behind, (unsigned)by, HY_TILE);
        behind *= lane + by < HY_TILE ? next : 1;
    }
    *into = __shfl_sync(0xffffffffu, behind, 0, HY_TILE);
    *rest = hy_scan_product(lane > i ? step : 1);
    const float after = __shfl_down_sync(0xffffffffu, behind, 1, HY_TILE);
    return lane > i ? 0 : lane == HY_TILE - 1 ? 1 : after;
}

/* Stores what was fetched of q, k and the decays from column `from` on, and where channels agree on
 * the decay what follows from it: s.read, s.write. */
template <int KIND, int THREADS>
__device__ static inline void
hy_scan_store_keys(const struct hy_scan_plan &p, const struct hy_scan_space &s,
                   struct hy_scan_rows rows, bool reads, int from, const struct hy_scan_fetched &f,
                   const float *into, const float *rest)
{
    typedef hy_scan_slots<THREADS> slots;
#pragma unroll
    for (int n = 0; n < slots::EACH; n++) {
        const int i = slots::row(n), c = from + slots::column(n), e = i * p.lk + c;
        if (c >= p.kp)
            continue;
        const float q = p.scale * f.q[n], k = f.k[n];
        s.k[e] = k;
        if (reads)
            s.q[e] = q;
        if (hy_scan_by_channel<KIND>(p)) {
            s.step[e] = i < rows.count && c < p.k ? expf(f.decay[n]) : 1;
            continue;
        }
        s.write[e] = rest[n % slots::ROWS] * k;
        if (i == HY_TILE - 1)
            s.through[c] = into[n % slots::ROWS];
        if (!reads)
            continue;
        s.read[e] = into[n % slots::ROWS] * q;
        if (hy_scan_is_delta<KIND>(p))
            s.read[HY_TILE * p.lk + e] = into[n % slots::ROWS] * k;
    }
}

/* Stores a matrix of values of which the first SPAN columns were fetched, and loads the others. */
template <int THREADS>
__device__ static inline void
hy_scan_store_values(const struct hy_scan_plan &p, const struct hy_scan_place &at,
                     struct hy_scan_rows rows, const struct hy_span &t, const float *fetched,
                     float *to)
{
    typedef hy_scan_slots<THREADS> slots;
    float more[slots::EACH];
#pragma unroll
    for (int n = 0; n < slots::EACH; n++)
        more[n] = fetched[n];
    for (int from = 0; from < p.width; from += slots::SPAN) {
        if (from > 0)
            hy_scan_fetch<THREADS>(t, rows, at.head * p.v + at.column, from, at.columns, more);
#pragma unroll
        for (int n = 0; n < slots::EACH; n++) {
            const int c = from + slots::column(n);
            if (c < p.width)
                to[slots::row(n) * p.lv + c] = more[n];
        }
    }
}

/* Stores what was fetched of the keys, and loads and stores what was not. A barrier is due before
 * it is used. Where channels have decays of their own, hy_scan_scale() gives s.read and s.write. */
template <int KIND, int THREADS>
__device__ static inline void
hy_scan_store_rows(const struct hy_scan_plan &p, const struct hy_scan_place &at,
                   const struct hy_scan_space &s, struct hy_scan_rows rows, bool reads,
                   const struct hy_scan_fetched &f)
{
    typedef hy_scan_slots<THREADS> slots;
    const int lane = (int)threadIdx.x % HY_TILE;
    float into[slots::ROWS] = {}, rest[slots::ROWS] = {};
    if (!hy_scan_by_channel<KIND>(p)) {
        const float step = lane < rows.count && p.decay != HY_DECAY_NONE ? expf(f.step) : 1;
#pragma unroll
        for (int r = 0; r < slots::ROWS; r++) {
            const int i = slots::row(r);
            s.between[i * HY_PAIR_LD + lane] = hy_scan_between(step, i, &into[r], &rest[r]);
            if (lane == 0) {
                s.into[i] = s.into[HY_TILE + i] = into[r];
                s.rest[i] = rest[r];
            }
        }
    }
    if (hy_scan_is_delta<KIND>(p) && (int)threadIdx.x < HY_TILE)
        s.beta[lane] = f.beta;
    hy_scan_store_keys<KIND, THREADS>(p, s, rows, reads, 0, f, into, rest);
    for (int from = slots::SPAN; from < p.kp; from += slots::SPAN) {
        struct hy_scan_fetched more;
        hy_scan_fetch_keys<KIND, THREADS>(p, at, rows, reads, from, &more);
        hy_scan_store_keys<KIND, THREADS>(p, s, rows, reads, from, more, into, rest);
    }
}

/* Where channels have decays of their own: s.read (where wanted), s.write and s.through from what
 * was loaded. 16 threads go down the rows for as many channels of s.read, others up for s.write. */
template <int KIND, int THREADS>
__device__ static inline void hy_scan_scale(const struct hy_scan_plan &p,
                                            const struct hy_scan_space &s, bool reads)
{
    const int groups = p.kp / HY_TILE * 2;
    for (int g = (int)threadIdx.x / HY_TILE; g < groups; g += THREADS / HY_TILE) {
        const int c = g / 2 * HY_TILE + (int)threadIdx.x % HY_TILE;
        const bool down = g % 2 == 0;
        const int first = (down ? 0 : HY_TILE - 1) * p.lk + c, on = down ? p.lk : -p.lk;
        const float *steps = s.step + first, *from = (down && reads ? s.q : s.k) + first;
        float *to = (down ? s.read : s.write) + first;
        float step[HY_TILE], x[HY_TILE], run = 1;
#pragma unroll
        for (int n = 0; n < HY_TILE; n++) {
            step[n] = steps[n * on];
            x[n] = from[n * on];
        }
#pragma unroll
        for (int n = 0; n < HY_TILE; n++) {
            const float before = run;
            run *= step[n];
            step[n] = down ? run : before;
            if (!down || reads)
                to[n * on] = step[n] * x[n];
        }
        if (!down)
            continue;
        s.through[c] = run;
        if (!hy_scan_is_delta<KIND>(p) || !reads)
            continue;
#pragma unroll
        for (int n = 0; n < HY_TILE; n++)
            s.read[(HY_TILE + n) * p.lk + c] = step[n] * s.k[n * p.lk + c];
    }
}

/* On a level rows lie in pairs of runs of HALF rows: the later run reads what the earlier one
 * wrote. down: the decay from the start of a run to each row of the later one; else: from each row
 * of the earlier one to the end of its run. */
template <int HALF>
__device__ static inline void hy_scan_run(const float *step, int lk, float *factors, int ld,
                                          bool down)
{
    const float *from = step + (down ? HALF : HY_TILE - HALF) * lk;
    float *to = factors + (down ? HALF : HY_TILE - 1 - HALF) * ld;
    const int lk_on = down ? lk : -lk, ld_on = down ? ld : -ld;
    float run = 1;
#pragma unroll
    for (int n = 0; n < HY_TILE / 2; n++) {
        const int row = n / HALF * 2 * HALF + n % HALF;
        const float x = from[row * lk_on];
        run = n % HALF ? run * x : down ? x : 1;
        to[row * ld_on] = run;
    }
}

/* s.factors for a slice of channels. What row i takes of an earlier row j decays by
 * factor[level][i] * factor[level][j], where the level is that of the highest bit in which i and j
 * differ: on it i lies in a later run of rows and j in the earlier one beside it. So all factors
 * are products of decays, as they have to be, and few are computed. */
template <int THREADS>
__device__ static inline void hy_scan_factors(const struct hy_scan_plan &p,
                                              const struct hy_scan_space &s, int from)
{
    const int ld = hy_tile_ld(hy_scan_slice(p));
    const int channels = min(p.kp - from, hy_scan_slice(p));
    const int groups = channels / HY_TILE * HY_SCAN_HALVINGS * 2;
    for (int g = (int)threadIdx.x / HY_TILE; g < groups; g += THREADS / HY_TILE) {
        const int level = g / 2 % HY_SCAN_HALVINGS;
        const int c = g / (2 * HY_SCAN_HALVINGS) * HY_TILE + (int)threadIdx.x % HY_TILE;
        const float *step = s.step + from + c;
        float *to = s.factors + level * HY_TILE * ld + c;
        if (level == 0)
            hy_scan_run<8>(step, p.lk, to, ld, g % 2 == 0);
        else if (level == 1)
            hy_scan_run<4>(step, p.lk, to, ld, g % 2 == 0);
        else if (level == 2)
            hy_scan_run<2>(step, p.lk, to, ld, g % 2 == 0);
        else
            hy_scan_run<1>(step, p.lk, to, ld, g % 2 == 0);
    }
    if ((int)threadIdx.x < ld)
        s.factors[HY_SCAN_ONES * ld + (int)threadIdx.x] = 1;
}

/* The row of s.factors by which row i (`of` i) and row j (`of` j) of a pair of rows decay. */
__device__ static inline int hy_scan_factor_row(int i, int j, int of)
{
    const int differ = i ^ j, level = HY_SCAN_HALVINGS - (32 - __clz((unsigned)differ));
    return differ ? level * HY_TILE + of : (int)HY_SCAN_ONES;
}

/* <a_i, y_j> over every `every`-th four of n columns from the first-th on; with factors the columns
 * are a slice of channels. */
template <bool FACTORS>
__device__ static inline float hy_scan_dot(const float *a, const float *y, const float *factors_i,
                                           const float *factors_j, int n, int first, int every)
{
    float sum = 0;
#pragma unroll 4
    for (int c = 4 * first; c < n; c += 4 * every) {
        float of_a[4], of_y[4], by_i[4], by_j[4];
        hy_tile_read(a + c, of_a);
        hy_tile_read(y + c, of_y);
        if (FACTORS) {
            hy_tile_read(factors_i + c, by_i);
            hy_tile_read(factors_j + c, by_j);
        }
#pragma unroll
        for (int l = 0; l < 4; l++)
            sum += FACTORS ? of_a[l] * by_i[l] * (of_y[l] * by_j[l]) : of_a[l] * of_y[l];
    }
    return sum;
}

/* What hy_scan_dots() multiplies <a_i, y_j> by: s.between, nothing, or s.factors, which belong to n
 * channels from `from` on; then it adds to what earlier ones gave. */
enum hy_scan_by { HY_BY_BETWEEN, HY_BY_NOTHING, HY_BY_FACTORS };

struct hy_scan_pairing {
    const float *a, *b, *y; /* b NULL: none */
    int n, ld, from, factors_ld;
};

/* s.pair at (i, j) and the zero opposite of it. */
template <enum hy_scan_by BY>
__device__ static inline void hy_scan_give_pair(const struct hy_scan_space &s,
                                                const struct hy_scan_pairing &w, int i, int j,
                                                bool second, float sum)
{
    float *pair = s.pair + (second ? HY_TILE * HY_PAIR_LD : 0);
    const int e = i * HY_PAIR_LD + j;
    if (BY == HY_BY_BETWEEN)
        sum *= s.between[e];
    if (BY == HY_BY_FACTORS && w.from > 0)
        sum += pair[e];
    pair[e] = sum;
    if (i != j)
        pair[j * HY_PAIR_LD + i] = 0;
    else if (w.b)
        s.pair[HY_TILE * HY_PAIR_LD + e] = 0;
}

template <enum hy_scan_by BY>
__device__ static inline float hy_scan_dot_of(const struct hy_scan_space &s,
                                              const struct hy_scan_pairing &w, int i, int j,
                                              bool second, int first, int every)
{
    const float *a = (second ? w.b : w.a) + i * w.ld + w.from;
    const float *y = w.y + j * w.ld + w.from;
    if (BY != HY_BY_FACTORS)
        return hy_scan_dot<false>(a, y, NULL, NULL, w.n, first, every);
    return hy_scan_dot<true>(a, y, s.factors + hy_scan_factor_row(i, j, i) * w.factors_ld,
                             s.factors + hy_scan_factor_row(i, j, j) * w.factors_ld, w.n, first,
                             every);
}

/* pair_ij = <a_i, y_j> by what BY says, for j <= i, and, where there is b, below it the same of
 * b_i, without the diagonal; 0 elsewhere. Rows r and 15 - r have 17 elements: 16 threads take them
 * but for the last. */
template <int THREADS, enum hy_scan_by BY>
__device__ static inline void hy_scan_dots(const struct hy_scan_space &s,
                                           const struct hy_scan_pairing &w)
{
    enum { SLOTS = HY_TILE * HY_TILE / 2, EVERY = THREADS / SLOTS };
    if (w.b) {
        /* The diagonal of b's, which is zero, leaves threads for what is left of a's. */
        for (int t = (int)threadIdx.x; t < 2 * SLOTS; t += THREADS) {
            const int r = t % SLOTS / HY_TILE, x = t % HY_TILE;
            const bool last = t >= SLOTS && x == r, second = t >= SLOTS && !last;
            const int i = x <= r && !last ? r : HY_TILE - 1 - r;
            const int j = last ? i : x <= r ? x : x - r - 1;
            hy_scan_give_pair<BY>(s, w, i, j, second, hy_scan_dot_of<BY>(s, w, i, j, second, 0, 1));
        }
        return;
    }
    const int t = (int)threadIdx.x / EVERY, r = t / HY_TILE, x = t % HY_TILE;
    const int i = x <= r ? r : HY_TILE - 1 - r, j = x <= r ? x : x - r - 1;
    float sum = hy_scan_dot_of<BY>(s, w, i, j, false, (int)threadIdx.x % EVERY, EVERY);
    if (EVERY > 1)
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    if ((int)threadIdx.x % EVERY == 0)
        hy_scan_give_pair<BY>(s, w, i, j, false, sum);
    const int last = HY_TILE / 2 + (THREADS - 1 - (int)threadIdx.x);
    if (last < HY_TILE)
        hy_scan_give_pair<BY>(s, w, last, last, false,
                              hy_scan_dot_of<BY>(s, w, last, last, false, 0, 1));
}

/* s.pair: what each row of q, and of k, takes of what the rows up to it write. With a decay by
 * channel s.factors are there for the first slice of channels, and in the end for the last. */
template <int KIND, int THREADS>
__device__ static inline void hy_scan_pairs(const struct hy_scan_plan &p,
                                            const struct hy_scan_space &s)
{
    struct hy_scan_pairing w = {s.q, hy_scan_is_delta<KIND>(p) ? s.k : NULL, s.k, p.kp, p.lk, 0, 0};
    if (!hy_scan_by_channel<KIND>(p)) {
        hy_scan_dots<THREADS, HY_BY_BETWEEN>(s, w);
        return;
    }
    w.factors_ld = hy_tile_ld(hy_scan_slice(p));
    for (; w.from < p.kp; w.from += HY_SCAN_SLICE) {
        if (w.from > 0) {
            __syncthreads();
            hy_scan_factors<THREADS>(p, s, w.from);
            __syncthreads();
        }
        w.n = min(p.kp - w.from, hy_scan_slice(p));
        hy_scan_dots<THREADS, HY_BY_FACTORS>(s, w);
    }
}

/* after = through * state + write' w. */
template <bool TENSOR>
__device__ static inline void hy_scan_advance(const struct hy_scan_plan &p,
                                              const struct hy_scan_space &s)
{
    hy_tile_mul<TENSOR, true, false>({p.kp, p.width, HY_TILE, s.write, s.w, p.lk, p.lv, s.state,
                                      p.lv, true, p.decay ? s.through : NULL});
}

#endif
