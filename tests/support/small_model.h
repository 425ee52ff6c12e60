/* small_model.h - the sizes of the models that tests of whole models build. */
#ifndef HY_TESTS_SMALL_MODEL_H
#define HY_TESTS_SMALL_MODEL_H

#include <string.h>

#include "core/model/model.h"

enum { SMALL_VOCAB = 13 };

/* The full layers of a model whose linear layers are v. */
static inline const struct hy_variant *small_model_full(const struct hy_variant *v)
{
    return v->full ? v : hy_variant_find("softmax");
}

/* The model of `layout` ("LL", "LF", "F"); borrows the options. */
static inline struct hy_model_spec small_model(const struct hy_variant *v, const char *layout,
                                               const struct hy_value *linear_options,
                                               const struct hy_value *full_options)
{
    struct hy_model_spec spec = {
        .d_model = 32,
        .layers = (int)strlen(layout),
        .heads = 2,
        .mlp = 24,
        .vocab = SMALL_VOCAB,
        .norm_eps = 1e-6,
        .init_std = .2, /* large, so that every path matters */
        .kind_count = HY_FURTHER,
        .kinds = {hy_kind_of(HY_LINEAR, v, linear_options),
                  hy_kind_of(HY_FULL, small_model_full(v), full_options)},
        .layout = {.layers = (int)strlen(layout)},
    };
    for (int i = 0; i < spec.layers; i++)
        spec.layout.kinds[i] = layout[i] == 'F' ? HY_FULL : HY_LINEAR;
    return spec;
}

#endif
