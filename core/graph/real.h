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

/* How large products are computed. What they sum up, and all else, is hy_real. */
enum hy_precision {
    HY_PRECISION_FLOAT32,
    HY_PRECISION_BF16, /* operands are rounded to bfloat16, to nearest even */
    HY_PRECISION_TF32  /* CUDA only: operands keep 10 bits of their significands */
};

extern const char hy_precision_choices[]; /* "float32|bf16|tf32" */
const char *hy_precision_name(enum hy_precision p);
int hy_precision_parse(const char *name); /* -1 where none is called that */

#endif
