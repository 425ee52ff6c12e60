/* linear_backward.cu - the twin of linear_attention.c: backward. */
#include "core/ops/features/linear_attention.cuh"

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS) walk_back(struct hy_linear_plan p)
{
    HY_SHARED(float, shared);
    const struct hy_linear_place at = hy_linear_place_of(p, p.tiles);
    const struct hy_linear_chunks cut = hy_linear_cut_of(p);
    const int64_t own = (at.sequence * p.heads + at.head) * p.features, tile = at.within;
    struct hy_linear_space s = {};
    hy_linear_lay_out(p, true, hy_linear_work_of<WIDE>(p, shared), &s);
    /* s.state: what the state gets from the queries of a period. */
    hy_linear_load_state(p, p.dht, own, tile, p.features, p.values + 1, s.dstate);
    hy_linear_load_state(p, {}, 0, tile, 0, 0, s.state);
    __syncthreads();
    for (int64_t i = cut.periods * cut.each - 1; i >= 0; i--) {
        const struct hy_linear_chunk c = hy_linear_chunk_of(cut, i);
        if (!c.count)
            continue;
        hy_linear_store_state(p, s.dstate, tile, p.kp, p.wp, p.dstates,
                              hy_linear_chunk_row(p, at, i));
        hy_linear_load_features(p, p.in[HY_LINEAR_F], at, at.head, c.first, c.count, s.f);
        hy_linear_load_values(p, p.dn, &p.dd, at, at.head, tile, c.first, c.count, s.o);
        __syncthreads();
        hy_tile_mul<TENSOR, true, false>(
            {p.kp, p.width, p.rows, s.f, s.o, p.lk, p.lw, s.state, p.lw, true, NULL});
        __syncthreads();
        if (!c.opens)
            continue;
        HY_LINEAR_EACH(p.kp, p.width, k, column)
        {
            s.dstate[k * p.lw + column] += s.state[k * p.lw + column];
            s.state[k * p.lw + column] = 0;
        }
        __syncthreads();
    }
    hy_linear_store_state(p, s.dstate, tile, p.features, p.values + 1, p.dh0, own);
}

/* A tile of the values' columns: what it adds to s.df, s.dg and s.dpairs; and the gradient of v. */
template <bool TENSOR>
__device__ static inline void backward_tile(const struct hy_linear_plan &p,
                                            const struct hy_linear_chunks &cut,
                                            const struct hy_linear_space &s, bool add)
{
    hy_tile_mul<TENSOR, false, true>(
        {p.rows, p.kp, p.width, s.o, s.state, p.lw, p.lw, s.df, p.lk, add, NULL});
    hy_tile_mul<TENSOR, false, true>(
        {p.rows, p.kp, p.width, s.v, s.dstate, p.lw, p.lw, s.dg, p.lk, add, NULL});
    hy_tile_mul<TENSOR, false, false>(
        {p.rows, p.width, p.kp, s.g, s.dstate, p.lk, p.lw, s.dv, p.lw, false, NULL});
    if (cut.pairs)
        hy_tile_mul<TENSOR, false, true>(
            {p.rows, p.rows, p.width, s.o, s.v, p.lw, p.lw, s.dpairs, p.la, add, NULL});
    __syncthreads();
    if (cut.pairs)
        hy_tile_mul<TENSOR, true, false>(
            {p.rows, p.width, p.rows, s.pairs, s.o, p.la, p.lw, s.dv, p.lw, true, NULL});
    __syncthreads();
}

/* Gives the rows of a chunk's keys their gradient, and 0 to those of its queries that come to
 * nobody as keys. `columns` of a head, from column `from` on. */
__device__ static inline void
give_keys(const struct hy_linear_plan &p, const struct hy_linear_chunks &cut,
          const struct hy_linear_place &at, const struct hy_linear_chunk &c, const float *from,
          int ld, int64_t column, int64_t columns, int width, const struct hy_span &to)
{
    HY_LINEAR_EACH(c.count, width, i, k)
    {
        const int64_t token = c.first + i, row = at.sequence * p.tokens + token;
        if (column + k >= columns)
            continue;
        if (token >= cut.lag)
            hy_give<1>(to, row - cut.lag, at.head * columns + column + k, {{from[i * ld + k]}});
        if (token + cut.lag >= p.tokens && cut.lag)
            hy_give<1>(to, row, at.head * columns + column + k, {{0}});
    }
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS) backward(struct hy_linear_plan p)
{
    HY_SHARED(float, shared);
    const struct hy_linear_place at = hy_linear_place_of(p, p.chunks);
    const struct hy_linear_chunks cut = hy_linear_cut_of(p);
    const struct hy_linear_chunk c = hy_linear_chunk_of(cut, at.within);
    struct hy_linear_space s = {};
    hy_linear_lay_out(p, true, hy_linear_work_of<WIDE>(p, shared), &s);
    if (!c.count)
        return;
    hy_linear_load_features(p, p.in[HY_LINEAR_F], at, at.head, c.first, c.count, s.f);
    hy_linear_load_keys(p, at, cut, c, s.g);
    if (cut.pairs)
        hy_linear_pair<TENSOR>(p, cut, s);
    for (int64_t tile = 0; tile < p.tiles; tile++) {
        hy_linear_load_own_values(p, at, cut, c, tile, s.v);
        hy_linear_load_values(p, p.dn, &p.dd, at, at.head, tile, c.first, c.count, s.o);
        hy_linear_load_state(p, p.states, hy_linear_period_row(p, at, c.period), tile, p.kp, p.wp,
                             s.state);
        hy_linear_load_state(p, p.dstates, hy_linear_chunk_row(p, at, at.within), tile, p.kp, p.wp,
                             s.dstate);
        __syncthreads();
        backward_tile<TENSOR>(p, cut, s, tile > 0);
        give_keys(p, cut, at, c, s.dv, p.lw, tile * p.width, p.values, p.width, p.dv);
        __syncthreads();
    }
    if (cut.pairs) {
        hy_linear_mask(p, cut, s.dpairs);
        __syncthreads();
        hy_tile_mul<TENSOR, false, false>(
            {p.rows, p.kp, p.rows, s.dpairs, s.g, p.la, p.lk, s.df, p.lk, true, NULL});
        hy_tile_mul<TENSOR, true, false>(
            {p.rows, p.kp, p.rows, s.dpairs, s.f, p.la, p.lk, s.dg, p.lk, true, NULL});
        __syncthreads();
    }
    HY_LINEAR_EACH(c.count, p.features, i, k)
    hy_give<1>(p.df, at.sequence * p.tokens + c.first + i, at.head * p.features + k,
               {{s.df[i * p.lk + k]}});
    give_keys(p, cut, at, c, s.dg, p.lk, 0, p.features, p.kp, p.dg);
}

/* to = the sum of the shares of `group` heads each, of `width` columns. */
__global__ static void add_up(struct hy_span shares, struct hy_span to, int64_t width,
                              int64_t group)
{
    HY_EACH(to.rows, to.cols, i, c)
    {
        const float *share = hy_row(shares, i) + c / width * group * width + c % width;
        float sum = 0;
        for (int64_t k = 0; k < group; k++)
            sum += share[k * width];
        hy_give<1>(to, i, c, {{sum}});
    }
}

/* ---- Launches ---- */

static void hand_over(const struct hy_op *op, const struct hy_launch *at, int input,
                      const struct hy_span &shares, int64_t width, int64_t group)
{
    const struct hy_span to = hy_span_din(op, input);
    if (group == 1 || !to.data)
        return;
    const struct hy_walk over = hy_walk_of(at, to.rows, to.cols);
    hy_start(at, over.grid, over.block, 0, add_up, shares, to, width, group);
}

void hy_linear_launch_backward(const struct hy_op *op, const struct hy_launch *at,
                               const struct hy_linear_plan &p)
{
    hy_linear_launch(at, p, p.tiles, HY_LINEAR_KERNEL(op, p, walk_back));
    hy_linear_launch(at, p, p.chunks, HY_LINEAR_KERNEL(op, p, backward));
    hand_over(op, at, HY_LINEAR_G, p.dg, p.features, p.key_group);
    hand_over(op, at, HY_LINEAR_V, p.dv, p.values, p.value_group);
}
