/* attr.h - attributes of operators that their builders make and both backends read. */
#ifndef HY_OPS_SUPPORT_ATTR_H
#define HY_OPS_SUPPORT_ATTR_H

#include "core/ops/gate.h"
#include "core/ops/products/lora.h"

struct hy_gated_norm_attr {
    double eps;
    enum hy_gate activation;
};

struct hy_l2norm_attr {
    int64_t width; /* of a head */
    double eps;
};

struct hy_rope_attr {
    int heads;
    int64_t width; /* of a head */
    int64_t half;  /* of its rotated channels, the first ones */
    double base;
};

struct hy_constant_attr {
    double (*value)(int64_t k, double a);
    double a;
};

struct hy_head_loss_attr {
    int64_t max_labels; /* not more than there are rows */
};

struct hy_lora_attr {
    double scale;
    int64_t first[HY_MAX_LORA]; /* of the columns that each addition is for */
};

#endif
