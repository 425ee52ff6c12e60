/* registry.h - the generated table of operators, sorted by name, ended by NULL. */
#ifndef HY_OPS_REGISTRY_H
#define HY_OPS_REGISTRY_H

#include "core/graph/graph.h"

extern const struct hy_op_kind *const hy_ops[];

#endif
