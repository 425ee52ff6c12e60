/* feature_map.cu - the twin of feature_map.c: cuBLAS multiplies head by head, then a group of lanes
 * maps the columns of a row and head. */
#include "core/ops/support/norm.cuh"

extern "C" {
#include "core/ops/features/feature_map.h"
}

enum { X, W, B };

static constexpr float least = 1e-12f; /* what a feature is raised to */

/* z of every row and head, as it comes out of the product: a head of `columns`. Where nothing is
 * learned it is x, a head of which `share` heads read. */
struct source {
    struct hy_span z, b;
    int64_t columns, heads, share;
    enum hy_map map;
};

/* What a group of lanes works on: one row and head. */
struct unit {
    const float *z, *b; /* b NULL: 0 */
    int64_t columns;
};

__device__ static inline struct unit unit_of(const struct source &s, int64_t i, int64_t head)
{
    return {hy_row(s.z, i) + head / s.share * s.columns, s.b.data ? hy_row(s.b, head) : NULL,
            s.columns};
}

__device__ static inline float value_at(const struct unit &u, int64_t c)
{
    return u.z[c] + (u.b ? u.b[c] : 0);
}

__device__ static inline float lanes_max(float x)
{
    for (unsigned bit = blockDim.x / 2; bit; bit /= 2)
        x = fmaxf(x, __shfl_xor_sync(hy_lanes_mask(), x, (int)bit));
    return x;
}

/* The two halves: p = scale e^(z - high), and the other scale e^(low - z). */
struct halves {
    float high, low, scale, other;
};

__device__ static inline struct halves halves_of(enum hy_map map, const struct unit &u)
{
    struct halves h = {-INFINITY, -INFINITY, 1, 1};
    float sum = 0, other = 0;
    HY_EACH_LANE(1, u.columns, c)
    {
        h.high = fmaxf(h.high, value_at(u, c));
        h.low = fmaxf(h.low, -value_at(u, c));
    }
    h.high = lanes_max(h.high);
    h.low = -lanes_max(h.low);
    if (map == HY_MAP_EXP)
        return h;
    HY_EACH_LANE(1, u.columns, c)
    {
        sum += expf(value_at(u, c) - h.high);
        other += expf(h.low - value_at(u, c));
    }
    h.scale = 1 / hy_lanes_sum(sum);
    h.other = 1 / hy_lanes_sum(other);
    return h;
}

__device__ static inline float raised(float phi)
{
    return phi < least ? least : phi;
}

/* The heads as units of work. */
__host__ __device__ static inline struct hy_norm units_of(const struct source &s)
{
    return {s.columns, s.heads, 0, 0};
}

__global__ static void forward(struct source s, struct hy_span y)
{
    const struct hy_norm units = units_of(s);
    HY_EACH_UNIT(y.rows, units, i, from)
    {
        const int64_t head = from / s.columns;
        const struct unit u = unit_of(s, i, head);
        const int64_t n = s.columns;
        if (s.map == HY_MAP_SOFTMAX || s.map == HY_MAP_EXP) {
            const struct halves h = halves_of(s.map, u);
            float *phi = hy_row(y, i) + head * 2 * n;
            HY_EACH_LANE(1, n, c)
            {
                phi[c] = raised(h.scale * expf(value_at(u, c) - h.high));
                phi[n + c] = raised(h.other * expf(h.low - value_at(u, c)));
            }
        } else {
            float *phi = hy_row(y, i) + head * n;
            HY_EACH_LANE(1, n, c)
            {
                const float z = value_at(u, c);
                phi[c] = s.map == HY_MAP_RELU ? (z > 0 ? z : 0) : raised(z > 0 ? 1 + z : expf(z));
            }
        }
    }
}

/* The first column that holds x. */
__device__ static inline int first_at(const struct unit &u, float x)
{
    int first = (int)u.columns - 1;
    HY_EACH_LANE(1, u.columns, c)
    if (value_at(u, c) == x && c < first)
        first = (int)c;
    for (unsigned bit = blockDim.x / 2; bit; bit /= 2)
        first = min(first, __shfl_xor_sync(hy_lanes_mask(), first, (int)bit));
    return first;
}

__device__ static inline void back_halves(enum hy_map map, const struct unit &u, const float *dphi,
                                          float *dz)
{
    const struct halves h = halves_of(map, u);
    const int64_t n = u.columns;
    const int top = map == HY_MAP_EXP ? first_at(u, h.high) : -1;
    const int bottom = map == HY_MAP_EXP ? first_at(u, h.low) : -1;
    float sum = 0, other = 0;
    HY_EACH_LANE(1, n, c)
    {
        const float p = h.scale * expf(value_at(u, c) - h.high),
                    q = h.other * expf(h.low - value_at(u, c));
        sum += p < least ? 0 : p * dphi[c];
        other += q < least ? 0 : q * dphi[n + c];
    }
    sum = hy_lanes_sum(sum);
    other = hy_lanes_sum(other);
    HY_EACH_LANE(1, n, c)
    {
        const float p = h.scale * expf(value_at(u, c) - h.high),
                    q = h.other * expf(h.low - value_at(u, c));
        const float up = p < least ? 0 : dphi[c], down = q < least ? 0 : dphi[n + c];
        if (map == HY_MAP_SOFTMAX)
            dz[c] = p * (up - sum) - q * (down - other);
        else
            dz[c] = p * up - q * down - (c == top ? sum : 0) + (c == bottom ? other : 0);
    }
}

/* dz of all heads, side by side. */
__global__ static void backward(struct source s, struct hy_span dy, struct hy_span dz)
{
    const struct hy_norm units = units_of(s);
    HY_EACH_UNIT(dy.rows, units, i, from)
    {
        const int64_t head = from / s.columns;
        const struct unit u = unit_of(s, i, head);
        float *to = hy_row(dz, i) + head * s.columns;
        if (s.map == HY_MAP_SOFTMAX || s.map == HY_MAP_EXP) {
            back_halves(s.map, u, hy_row(dy, i) + head * 2 * s.columns, to);
            continue;
        }
        const float *given = hy_row(dy, i) + head * s.columns;
        HY_EACH_LANE(1, s.columns, c)
        {
            const float z = value_at(u, c), slope = z > 0 ? 1 : s.map == HY_MAP_RELU ? 0 : expf(z);
            to[c] = slope < least ? 0 : slope * given[c];
        }
    }
}

/* dx where nothing is learned: the sum over the heads that read it. */
__global__ static void gather(struct source s, struct hy_span dz, struct hy_span dx)
{
    HY_EACH_PACK(1, dx.rows, dx.cols, i, c)
    {
        const int64_t head = c / s.columns * s.share;
        hy_pack<1> sum = {};
        for (int64_t k = 0; k < s.share; k++)
            sum.at[0] += hy_row(dz, i)[(head + k) * s.columns + c % s.columns];
        hy_give(dx, i, c, sum);
    }
}

static const struct hy_feature_map *map_of(const struct hy_op *op)
{
    return (const struct hy_feature_map *)op->attr;
}

static int64_t numbers_of(const struct hy_op *op)
{
    return op->in[X]->rows * map_of(op)->heads * map_of(op)->columns;
}

/* z of a learned map; in backward dz, then what db is summed from. */
static size_t feature_map_scratch(const struct hy_op *op)
{
    const int64_t kept = (op->in[W] != NULL) + (op->pass == HY_BACKWARD);
    const size_t parts =
        op->din[B] ? hy_parts_bytes(op->in[X]->rows, numbers_of(op) / op->in[X]->rows) : 0;
    return (size_t)(kept * numbers_of(op)) * sizeof(float) + parts;
}

static struct hy_span part(struct hy_span s, int64_t first, int64_t ld)
{
    if (s.data)
        s.data += first;
    s.ld = ld;
    return s;
}

static struct hy_span x_head(const struct hy_op *op, struct hy_span x, int64_t head)
{
    return part(x, head / (map_of(op)->heads / map_of(op)->in_heads) * map_of(op)->width, x.ld);
}

static struct hy_span z_head(const struct hy_op *op, struct hy_span z, int64_t head)
{
    return part(z, head * map_of(op)->columns, z.ld);
}

/* [width, columns] of a head. */
static struct hy_span w_head(const struct hy_op *op, struct hy_span w, int64_t head)
{
    return part(w, head * w.ld, map_of(op)->columns);
}

/* z is made in scratch, from its first number on, where it is not x. */
static struct source source_of(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_feature_map *map = map_of(op);
    const struct hy_span x = hy_span_of(op->in[X]), w = hy_span_of(op->in[W]);
    struct source s = {x, hy_span_of(op->in[B]), map->columns, map->heads, 1, map->map};
    if (!w.data) {
        s.share = map->heads / map->in_heads;
        return s;
    }
    s.z = hy_span_scratch(op, 0, x.rows, (int64_t)map->heads * map->columns);
    for (int64_t h = 0; h < map->heads; h++)
        hy_cuda_gemm(at, 0, 0, x.rows, map->columns, map->width, 1, x_head(op, x, h),
                     w_head(op, w, h), 0, z_head(op, s.z, h));
    return s;
}

static struct hy_walk walk_of(const struct hy_launch *at, int64_t rows, const struct source &s)
{
    return hy_units_of(at, rows, units_of(s), 1);
}

static void feature_map_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span y = hy_span_of(op->out[0]);
    const struct source s = source_of(op, at);
    const struct hy_walk walk = walk_of(at, y.rows, s);
    hy_start(at, walk.grid, walk.block, 0, forward, s, y);
}

static void back_product(const struct hy_op *op, const struct hy_launch *at,
                         const struct hy_span &dz)
{
    const struct hy_feature_map *map = map_of(op);
    const struct hy_span x = hy_span_of(op->in[X]), w = hy_span_of(op->in[W]);
    const struct hy_span dx = hy_span_din(op, X), dw = hy_span_din(op, W);
    const int64_t share = map->heads / map->in_heads;
    for (int64_t h = 0; h < map->heads; h++) {
        if (dx.data)
            hy_cuda_gemm(at, 0, 1, x.rows, map->width, map->columns, 1, z_head(op, dz, h),
                         w_head(op, w, h), h % share || dx.add ? 1 : 0, x_head(op, dx, h));
        if (dw.data)
            hy_cuda_gemm(at, 1, 0, map->width, map->columns, x.rows, 1, x_head(op, x, h),
                         z_head(op, dz, h), (float)dw.add, w_head(op, dw, h));
    }
}

static void feature_map_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span dy = hy_span_of(op->dout[0]), dx = hy_span_din(op, X);
    const struct source s = source_of(op, at);
    const int64_t cols = s.heads * s.columns, first = op->in[W] ? numbers_of(op) : 0;
    const struct hy_span dz = hy_span_scratch(op, first, dy.rows, cols);
    const struct hy_walk walk = walk_of(at, dy.rows, s);
    hy_start(at, walk.grid, walk.block, 0, backward, s, dy, dz);
    if (op->in[W]) {
        back_product(op, at, dz);
    } else if (dx.data) {
        const struct hy_walk all = hy_walk_of(at, dx.rows, dx.cols);
        hy_start(at, all.grid, all.block, 0, gather, s, dz, dx);
    }
    if (op->din[B]) {
        const struct hy_span parts = hy_span_parts(op, first + numbers_of(op), dy.rows, cols);
        hy_sum_columns(at, dz, parts);
        hy_fold_sums(at, parts, hy_span_din(op, B), 1, 1, 0);
    }
}

HY_CUDA_KIND(feature_map) = {feature_map_forward, feature_map_backward, feature_map_scratch};
