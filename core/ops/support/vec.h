/* vec.h - exp, log and their relatives for hy_real, inline and free of branches, so that the
 * compiler vectorises loops over them. Float: polynomials, within 2 ulp; double: the C library.
 *
 * exp is 0 below -87.33 and infinite above 88.37; log of what is below HY_LEAST_NORMAL, negative or
 * not, is that of HY_LEAST_NORMAL, so always finite there; NaN stays NaN everywhere. */
#ifndef HY_OPS_SUPPORT_VEC_H
#define HY_OPS_SUPPORT_VEC_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/graph/real.h"

#ifdef HY_DOUBLE

#define HY_LEAST_NORMAL DBL_MIN

static inline double hy_exp(double x)
{
    return exp(x);
}
static inline double hy_log(double x)
{
    return log(x < HY_LEAST_NORMAL ? HY_LEAST_NORMAL : x);
}
/* log(1 + u) for u in [0, 1]. */
static inline double hy_log1p_unit(double u)
{
    return log1p(u);
}
static inline double hy_sqrt(double x)
{
    return sqrt(x);
}

#else

#define HY_LEAST_NORMAL FLT_MIN

static inline float hy_exp(float x)
{
    /* Adding 1.5 * 2^23 rounds to an integer n, and leaves it in the sum's low bits. */
    const float magic = 12582912.0f;
    const float shifted = x * 1.44269504f + magic;
    const float n = shifted - magic;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* log 2 in two parts */
    float p = 1.392621347e-3f; /* (e^r - 1 - r) / r^2, interpolated at the Chebyshev nodes */
    uint32_t bits;
    float power;

    p = p * r + 8.363202972e-3f;
    p = p * r + 4.166655444e-2f;
    p = p * r + 0.1666657685f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    memcpy(&power, &bits, sizeof power);
    p *= power;
    p = x < -87.33f ? 0 : p;
    return x > 88.37f ? INFINITY : p;
}
/* x = 2^n (1 + f), 1 + f between the roots of 1/2 and 2. */
static inline float hy_log(float x)
{
    const float normal = x < HY_LEAST_NORMAL ? HY_LEAST_NORMAL : x;
    float p = -0.07902743667f; /* (log(1 + f) - f + f^2 / 2) / f^3, likewise interpolated */
    int32_t bits, n;
    float f;

    memcpy(&bits, &normal, sizeof bits);
    n = (bits - 0x3f3504f3) >> 23;
    bits -= (int32_t)((uint32_t)n << 23);
    memcpy(&f, &bits, sizeof f);
    f -= 1;
    p = p * f + 0.1262231916f;
    p = p * f - 0.1299818307f;
    p = p * f + 0.1421449631f;
    p = p * f - 0.1664128155f;
    p = p * f + 0.2000104487f;
    p = p * f - 0.2500030696f;
    p = p * f + 0.3333333135f;
    p = (p * f - 0.5f) * (f * f) - (float)n * 2.12194440e-4f;
    p = (float)n * 0.693359375f + (p + f);
    return x <= FLT_MAX ? p : x;
}
/* log(1 + u) for u in [0, 1]: 2 atanh(u / (2 + u)). */
static inline float hy_log1p_unit(float u)
{
    const float s = u / (2 + u), z = s * s;
    float p = 0.1342574903f; /* (atanh(s) / s - 1) / z, likewise interpolated */

    p = p * z + 0.141183099f;
    p = p * z + 0.2000378032f;
    p = p * z + 0.3333332017f;
    return 2 * s + 2 * s * z * p;
}
static inline float hy_sqrt(float x)
{
    return sqrtf(x);
}

#endif

static inline hy_real hy_sigmoid(hy_real x)
{
    return 1 / (1 + hy_exp(-x));
}
static inline hy_real hy_silu(hy_real x)
{
    return x / (1 + hy_exp(-x));
}
/* d silu / dx, given s = sigmoid(x). */
static inline hy_real hy_silu_slope(hy_real x, hy_real s)
{
    return s + s * x * (1 - s);
}
/* log(1 + e^x); equals x beyond 20. */
static inline hy_real hy_softplus(hy_real x)
{
    const hy_real positive = x > 0 ? x : 0, size = x > 0 ? x : -x;
    return positive + hy_log1p_unit(hy_exp(-size));
}
static inline hy_real hy_log_sigmoid(hy_real x)
{
    return -hy_softplus(-x);
}

#endif
