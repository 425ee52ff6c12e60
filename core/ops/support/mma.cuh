/* mma.cuh - a product of small matrices in the registers of a warp, on tensor cores: operands in
 * bf16 or tf32, float32 sums. Where each element lies is fixed (PTX ISA, "Matrix Fragments for
 * mma.m16n8k16"), so that a kernel may work on sums in their registers and use them as operands of
 * the next product.
 *
 * In bf16, with g = lane / 4 and t = lane % 4, a lane holds, low half first,
 *   of A [16, 16]: a[0] (g, 2t) (g, 2t + 1), a[1] (g + 8, same), a[2] (g, 2t + 8) (g, 2t + 9),
 *                  a[3] (g + 8, same);
 *   of B [16, 8]:  b[0] (2t, g) (2t + 1, g), b[1] (2t + 8, g) (2t + 9, g);
 *   of C [16, 8]:  c[0] (g, 2t), c[1] (g, 2t + 1), c[2] (g + 8, 2t), c[3] (g + 8, 2t + 1).
 * So c of two neighbouring [16, 8] is the A of a product over their 16 columns. */
#ifndef HY_OPS_SUPPORT_MMA_CUH
#define HY_OPS_SUPPORT_MMA_CUH

#include <cuda_bf16.h>
#include <mma.h>
#include <string.h>

#include "core/graph/cuda.cuh"

/* Two floats as operands have them: the first in the low half. */
__device__ static inline uint32_t hy_mma_pair(float low, float high)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

/* c += A B, by all lanes of a warp. */
__device__ static inline void hy_mma(float c[4], const uint32_t a[4], const uint32_t b[2])
{
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    hy_emulator::mma(c, a, b);
#endif
}

/* An operand of hy_mma_tf32(). */
__device__ static inline uint32_t hy_mma_tf32_operand(float x)
{
    return __float_as_uint(nvcuda::wmma::__float_to_tf32(x));
}

/* c [16, 8] += A [16, 8] B [8, 8], by all lanes of a warp, in tf32. With g = lane / 4 and t = lane
 * % 4 a lane holds (PTX ISA, "Matrix Fragments for mma.m16n8k8") of A a[0] (g, t), a[1] (g + 8, t),
 * a[2] (g, t + 4), a[3] (g + 8, t + 4); of B b[0] (t, g), b[1] (t + 4, g); of c c[0] (g, 2t), c[1]
 * (g, 2t + 1), c[2] (g + 8, 2t), c[3] (g + 8, 2t + 1). */
__device__ static inline void hy_mma_tf32(float c[4], const uint32_t a[4], const uint32_t b[2])
{
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    hy_emulator::mma_tf32(c, a, b);
#endif
}

#endif
