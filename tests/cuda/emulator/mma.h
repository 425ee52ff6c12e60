/* mma.h - stands in for CUDA's header of warp-wide products (nvcuda::wmma), for operands in tf32
 * and bfloat16 that are summed in float32. Element e of a fragment's matrix lies in lane e mod 32;
 * as on hardware, nothing outside may rely on where. */
#ifndef HY_TESTS_EMULATOR_MMA_H
#define HY_TESTS_EMULATOR_MMA_H

#include "tests/cuda/emulator/cuda_bf16.h"

namespace nvcuda
{
namespace wmma
{

namespace precision
{
struct tf32;
}
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

/* What memory and fragments hold of an element type, and what a product reads of that. */
template <typename T> struct storage {
    typedef T type;
};
template <> struct storage<precision::tf32> {
    typedef float type;
};
static inline float read_as(const precision::tf32 *, float x)
{
    return __uint_as_float(__float_as_uint(x) & ~0x1fffu);
}
static inline float read_as(const __nv_bfloat16 *, __nv_bfloat16 x)
{
    return __bfloat162float(x);
}

template <typename Use, int M, int N, int K> struct shape;
template <int M, int N, int K> struct shape<matrix_a, M, N, K> {
    enum { rows = M, cols = K };
};
template <int M, int N, int K> struct shape<matrix_b, M, N, K> {
    enum { rows = K, cols = N };
};
template <int M, int N, int K> struct shape<accumulator, M, N, K> {
    enum { rows = M, cols = N };
};

template <typename Use, int M, int N, int K, typename T, typename Layout = void>
struct fragment : shape<Use, M, N, K> {
    typedef typename storage<T>::type element_type;
    enum { num_elements = shape<Use, M, N, K>::rows * shape<Use, M, N, K>::cols / 32 };
    element_type x[num_elements];
};

static inline float __float_to_tf32(float x)
{
    const unsigned u = __float_as_uint(x);
    return (u & 0x7f800000u) == 0x7f800000u ? x : __uint_as_float((u + 0x1000u) & ~0x1fffu);
}

template <typename F, typename T> void fill_fragment(F &f, T value)
{
    for (int i = 0; i < F::num_elements; i++)
        f.x[i] = (typename F::element_type)value;
}

template <typename F> void check(const void *p, unsigned ld)
{
    typedef typename F::element_type element;
    if ((uintptr_t)p % 32 || ld * sizeof(element) % 16)
        hy_emulator::stop("a fragment at %p with rows %u apart is not aligned", p, ld);
}

template <typename F> size_t offset_of(int i, bool by_rows, unsigned ld)
{
    const int e = i * 32 + hy_emulator::lane(), row = e / F::cols, col = e % F::cols;
    return by_rows ? (size_t)row * ld + col : (size_t)col * ld + row;
}

template <typename F, typename E> void load_fragment(F &f, const E *from, unsigned ld, bool by_rows)
{
    check<F>(from, ld);
    __syncwarp();
    for (int i = 0; i < F::num_elements; i++)
        f.x[i] = from[offset_of<F>(i, by_rows, ld)];
    __syncwarp();
}

template <typename Use, int M, int N, int K, typename T, typename E>
void load_matrix_sync(fragment<Use, M, N, K, T, row_major> &f, const E *from, unsigned ld)
{
    load_fragment(f, from, ld, true);
}
template <typename Use, int M, int N, int K, typename T, typename E>
void load_matrix_sync(fragment<Use, M, N, K, T, col_major> &f, const E *from, unsigned ld)
{
    load_fragment(f, from, ld, false);
}
template <int M, int N, int K>
void load_matrix_sync(fragment<accumulator, M, N, K, float> &f, const float *from, unsigned ld,
                      layout_t layout)
{
    load_fragment(f, from, ld, layout == mem_row_major);
}

template <int M, int N, int K>
void store_matrix_sync(float *to, const fragment<accumulator, M, N, K, float> &f, unsigned ld,
                       layout_t layout)
{
    typedef fragment<accumulator, M, N, K, float> F;
    check<F>(to, ld);
    __syncwarp();
    for (int i = 0; i < F::num_elements; i++)
        to[offset_of<F>(i, layout == mem_row_major, ld)] = f.x[i];
    __syncwarp();
}

template <int M, int N, int K, typename T, typename LA, typename LB>
void mma_sync(fragment<accumulator, M, N, K, float> &d, const fragment<matrix_a, M, N, K, T, LA> &a,
              const fragment<matrix_b, M, N, K, T, LB> &b,
              const fragment<accumulator, M, N, K, float> &c)
{
    struct operands {
        const fragment<matrix_a, M, N, K, T, LA> *a;
        const fragment<matrix_b, M, N, K, T, LB> *b;
    } own = {&a, &b};
    const T *type = nullptr;
    hy_emulator::board()[hy_emulator::lane()] = &own;
    __syncwarp();
    operands *all[32];
    for (int i = 0; i < 32; i++)
        all[i] = (operands *)hy_emulator::board()[i];
    for (int i = 0; i < fragment<accumulator, M, N, K, float>::num_elements; i++) {
        const int e = i * 32 + hy_emulator::lane(), row = e / N, col = e % N;
        float sum = c.x[i];
        for (int k = 0; k < K; k++) {
            const int at_a = row * K + k, at_b = k * N + col;
            sum += read_as(type, all[at_a % 32]->a->x[at_a / 32]) *
                   read_as(type, all[at_b % 32]->b->x[at_b / 32]);
        }
        d.x[i] = sum;
    }
    __syncwarp();
}

} // namespace wmma
} // namespace nvcuda

namespace hy_emulator
{

/* c += A B by a warp, the elements where the PTX ISA has them: product(a, b, row, col) is what the
 * registers a of the lanes and b of theirs hold of element (row, col). */
template <typename Product>
void multiply(float c[4], const uint32_t *a, const uint32_t *b, Product product)
{
    struct operands {
        const uint32_t *a, *b;
    } own = {a, b};
    const uint32_t *of_a[32], *of_b[32];
    board()[lane()] = &own;
    __syncwarp();
    for (int i = 0; i < 32; i++) {
        of_a[i] = ((const operands *)board()[i])->a;
        of_b[i] = ((const operands *)board()[i])->b;
    }
    for (int i = 0; i < 4; i++)
        c[i] += product(of_a, of_b, lane() / 4 + i / 2 * 8, lane() % 4 * 2 + i % 2);
    __syncwarp();
}

/* mma.m16n8k16 on bf16 (core/ops/support/mma.cuh). */
static inline void mma(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    multiply(c, a, b, [](const uint32_t **of_a, const uint32_t **of_b, int row, int col) {
        float sum = 0;
        for (int k = 0; k < 16; k++) {
            const int half = 16 * (k % 2), t = k % 8 / 2, upper = k / 8;
            const uint32_t x = of_a[row % 8 * 4 + t][row / 8 + 2 * upper] >> half;
            const uint32_t y = of_b[col * 4 + t][upper] >> half;
            sum += hy_bf16_value((uint16_t)x) * hy_bf16_value((uint16_t)y);
        }
        return sum;
    });
}

/* mma.m16n8k8 on tf32, of which the lower bits are not read (core/ops/support/mma.cuh). */
static inline void mma_tf32(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    multiply(c, a, b, [](const uint32_t **of_a, const uint32_t **of_b, int row, int col) {
        float sum = 0;
        for (int k = 0; k < 8; k++) {
            const uint32_t x = of_a[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2];
            const uint32_t y = of_b[col * 4 + k % 4][k / 4];
            sum += __uint_as_float(x & ~0x1fffu) * __uint_as_float(y & ~0x1fffu);
        }
        return sum;
    });
}

} // namespace hy_emulator

#endif
