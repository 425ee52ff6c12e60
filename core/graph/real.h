/* real.h - the engine's numbers: float, or double in the build that checks gradients (HY_DOUBLE);
 * bfloat16 for the operands of products where precision asks for it. */
#ifndef HY_GRAPH_REAL_H
#define HY_GRAPH_REAL_H

#include <stdint.h>

#ifdef HY_DOUBLE
typedef double hy_real;
#else
typedef float hy_real;
#endif

/* The upper half of a float: 8 bits of exponent, 8 of significand. */
typedef uint16_t hy_bf16;

#endif
