/* device_none.c - stands in for the CUDA backend in a build without it: there is no device to open,
 * so nobody has one to hand in. A file of its own, for the tests' emulator to come before it. */
#include "core/graph/internal.h"

#include <stdlib.h>

#ifndef HY_CUDA

const struct hy_cuda_op hy_cuda_ops[] = {{0}};

int hy_device_count(struct hy_err *why)
{
    hy_fail(why, HY_E_ENV, "this hylas was built without CUDA");
    return 0;
}

int hy_device_open(int ordinal, int dry, struct hy_device **out, struct hy_err *e)
{
    (void)ordinal, (void)dry, (void)out, (void)hy_device_count(e);
    return HY_E_ENV;
}

void hy_device_close(struct hy_device *d)
{
    (void)d;
}

/* clang-format off */
#define NEVER(result, name, ...) \
    result name(__VA_ARGS__) { abort(); }
#pragma GCC diagnostic ignored "-Wunused-parameter"
NEVER(const char *, hy_device_name, const struct hy_device *d)
NEVER(size_t, hy_device_bytes, const struct hy_device *d)
NEVER(const char *, hy_device_library, const struct hy_device *d)
NEVER(int, hy_device_memory, const struct hy_device *d, struct hy_device_memory *out,
      struct hy_err *e)
NEVER(int, hy_device_alloc, struct hy_device *d, size_t bytes, const char *what, void **out,
      struct hy_err *e)
NEVER(void, hy_device_free, struct hy_device *d, void *p, size_t bytes)
NEVER(double, hy_device_peak, struct hy_device *d)
NEVER(int, hy_device_wait, struct hy_device *d, struct hy_err *e)
NEVER(int, hy_device_write, struct hy_device *d, void *to, const void *from, size_t bytes,
      struct hy_err *e)
NEVER(int, hy_device_read, struct hy_device *d, void *to, const void *from, size_t bytes,
      struct hy_err *e)
NEVER(int, hy_cuda_open_run, struct hy_graph *g, struct hy_err *e)
NEVER(void, hy_cuda_close_run, struct hy_graph *g)
NEVER(void, hy_cuda_run_graph, struct hy_graph *g)
NEVER(void *, hy_cuda_staged, struct hy_tensor *t, int replica)
/* clang-format on */

#endif
