/* golden.h - what the parts of the golden program share: one file that is being compared. */
#ifndef HY_TESTS_GOLDEN_H
#define HY_TESTS_GOLDEN_H

#include "core/graph/graph.h"
#include "core/model/safetensors.h"

enum { MAX_RESULTS = 16, MAX_RUN_OUTPUTS = 40 };

struct result {
    const char *name; /* as in the file */
    int64_t count;
    float *data; /* owned */
};

struct run {
    const struct hy_st_file *file;
    struct hy_device *device;
    struct hy_graph *graph;
    int batch, tokens, heads, key_width, value_width;
    double scale;
    struct hy_tensor *q, *k, *v, *g, *beta, *lambda, *h0, *o, *ht;
    struct gates *gates;       /* of gate_mix; owned */
    struct features *features; /* of what golden_features.c builds; owned */
    int outputs;
    struct hy_tensor *y[MAX_RUN_OUTPUTS], *dy[MAX_RUN_OUTPUTS]; /* where gradients start */
    struct result results[MAX_RESULTS];
    int result_count;
};

/* A tensor of the file, float32; NULL where it has none of that name. */
const float *input(const struct run *r, const char *name);
/* A number of the file's metadata; 0 where it has none of that name. */
double number(const struct run *r, const char *key);
/* An input of a row per token, named as in the file, that a gradient is taken of. */
struct hy_tensor *leaf(struct run *r, const char *name, int64_t cols);
/* Keeps y after the run and lets gradients start there; dy is an input, or a view of one. */
void add_output(struct run *r, struct hy_tensor *y, struct hy_tensor *dy);
/* A new result of count zeros, whose name the caller keeps; NULL when there are too many. */
float *add_result(struct run *r, const char *name, int64_t count);
/* The result of that name; NULL where there is none yet. */
float *find_result(const struct run *r, const char *name);
/* Reads t as a result of that name; nothing where t is NULL. */
int take_result(struct run *r, const char *name, const struct hy_tensor *t);

/* simple_gla, and what comes down to it: a decay for each head. */
struct hy_tensor *build_by_head(struct run *r);

/* mamba2_ssd (golden_mamba2.c). */
struct hy_tensor *build_mamba2(struct run *r);
int prepare_mamba2(struct run *r);
int finish_mamba2(struct run *r);

/* gate_mix (golden_gates.c): layers of two branches under gates. */
struct hy_tensor *build_gates(struct run *r);
int prepare_gates(struct run *r);
int finish_gates(struct run *r);

/* Operators over features (golden_features.c), which share prepare and finish. */
struct hy_tensor *build_hedgehog(struct run *r);
struct hy_tensor *build_hedgehog_linear(struct run *r);
struct hy_tensor *build_feature_linear(struct run *r);
struct hy_tensor *build_hybrid_window(struct run *r);
struct hy_tensor *build_feature_window(struct run *r);
struct hy_tensor *build_transfer(struct run *r);
struct hy_tensor *build_logit_kl(struct run *r);
int prepare_features(struct run *r);
int finish_features(struct run *r);

#endif
