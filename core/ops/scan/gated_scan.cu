/* gated_scan.cu - the twin of gated_scan.c. */
#include "core/ops/scan/scan.cuh"

HY_CUDA_KIND(gated_scan) = {hy_scan_launch_forward, hy_scan_launch_backward,
                            hy_scan_device_scratch};
