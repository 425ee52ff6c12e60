/* pack.cuh - reading and writing V neighbouring floats at once: V is 4 where everything that a
 * kernel touches allows it, else 1; a kernel is a template over V. */
#ifndef HY_OPS_SUPPORT_PACK_CUH
#define HY_OPS_SUPPORT_PACK_CUH

#include "core/graph/cuda.cuh"

template <int V> struct alignas(V * sizeof(float)) hy_pack {
    float at[V];
};

template <typename... S> static inline int hy_all_by_four(const S &...spans)
{
    return (hy_by_four(spans) && ...);
}

/* The pack at row i, columns c to c + V - 1; zeros where there is no matrix. */
template <int V>
__device__ static inline hy_pack<V> hy_take(const struct hy_span &s, int64_t i, int64_t c)
{
    hy_pack<V> p = {};
    return s.data ? *reinterpret_cast<const hy_pack<V> *>(hy_row(s, i) + c) : p;
}

/* Writes a pack, or adds it where the span says so; nothing where there is no matrix. */
template <int V>
__device__ static inline void hy_give(const struct hy_span &s, int64_t i, int64_t c, hy_pack<V> p)
{
    if (!s.data)
        return;
    hy_pack<V> *to = reinterpret_cast<hy_pack<V> *>(hy_row(s, i) + c);
    for (int k = 0; s.add && k < V; k++)
        p.at[k] += to->at[k];
    *to = p;
}

/* All packs (row i, first column c) of a matrix, shared out among the blocks of
 * hy_walk_of(at, rows, cols / V). */
#define HY_EACH_PACK(V, rows, cols, i, c)                                        \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.y + threadIdx.y; i < (rows); \
         i += (int64_t)gridDim.x * blockDim.y)                                   \
        for (int64_t c = (int64_t)threadIdx.x * (V); c < (cols); c += (int64_t)blockDim.x * (V))

#endif
