/* device.h - which device a run's setting run.device means. */
#ifndef HY_TRIAL_DEVICE_H
#define HY_TRIAL_DEVICE_H

#include "core/graph/device.h"
#include "core/trial/config.h"

/* Opens it; *out NULL: the CPU. "cuda" is one of the machine's devices, dealt out by local_rank,
 * the number of this process among those on its machine; "auto" is the same where there is one,
 * else the CPU. note (may be NULL): set where auto takes the CPU although the machine has a device
 * that does not open. dry: as for hy_device_open. */
int hy_trial_device(const struct hy_config *c, int local_rank, int dry, struct hy_device **out,
                    struct hy_err *note, struct hy_err *e);

/* Is text a device's name: "auto", "cpu", "cuda", "cuda:K"? */
int hy_is_device(const char *text);

#endif
