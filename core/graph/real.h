/* real.h - the engine's number: float, or double in the build that checks gradients (HY_DOUBLE). */
#ifndef HY_GRAPH_REAL_H
#define HY_GRAPH_REAL_H

#ifdef HY_DOUBLE
typedef double hy_real;
#else
typedef float hy_real;
#endif

#endif
