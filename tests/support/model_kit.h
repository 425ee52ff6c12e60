/* model_kit.h - small models for the law tests: one graph and its slabs, any variant, any mode. */
#ifndef HY_TESTS_MODEL_KIT_H
#define HY_TESTS_MODEL_KIT_H

#include "core/config/config.h"
#include "core/model/optimizer.h"
#include "tests/support/small_model.h"

struct kit {
    struct hy_model_spec spec;
    enum hy_precision precision; /* float32; the test may set another before it builds a graph */
    struct hy_value *options;
    struct hy_config *config; /* of a model from a sweep file, else NULL */
    struct hy_slab params, grads;
    struct hy_adamw optimizer;
};

/* The model of `layout` ("LL", "LF", "F") whose linear layers are v, its options as given (JSON) or
 * at their defaults (NULL). */
void kit_init(struct kit *k, const struct hy_variant *v, const char *options, const char *layout,
              int replicas);
/* The model of a sweep's first run, in the width of the others, with a small vocabulary and large
 * weights. path: from the
 * project's root. */
void kit_init_sweep(struct kit *k, const char *path, int replicas);
void kit_release(struct kit *k);

/* Sweep files whose models' layers are of more kinds than two, or of unusual options: those of
 * sweeps/hybrids, and tests/support/gated.yaml; under the sanitizers some of them. Ended by NULL;
 * the same list in every call. */
const char *const *kit_sweeps(void);

/* Builds and plans a graph; the parameters are allocated and drawn (replica r from seed + r) by the
 * first. Training graphs get *weights, other graphs end in logits. Fails the test on any error. */
struct hy_graph *kit_graph(struct kit *k, enum hy_mode mode, int batch, int tokens, int context,
                           struct hy_slab *cache, struct hy_model_ends *ends,
                           struct hy_tensor **weights, uint64_t seed);

/* Token i of a fixed pseudo-random text. */
int32_t kit_token(uint64_t seed, int64_t i);

#endif
