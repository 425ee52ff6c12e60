/* delta_scan.cu - the twin of delta_scan.c. */
#include "core/ops/scan/scan.cuh"

HY_CUDA_KIND(delta_scan) = {hy_scan_launch_forward, hy_scan_launch_backward,
                            hy_scan_device_scratch};
