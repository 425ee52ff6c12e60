/* mixer.h - what a variant's build function may use: parameters, projections, states, and the
 * layers that several variants have in common.
 *
 * In a HY_CACHED graph hy_mixer_state() gives a state tensor that outlives the run, elsewhere NULL;
 * the scans and convolutions take either. */
#ifndef HY_MIXERS_MIXER_H
#define HY_MIXERS_MIXER_H

#include "core/mixers/variant.h"
#include "core/ops/attention.h"
#include "core/ops/gate.h"
#include "core/ops/scan/gated_scan.h"
#include "core/ops/scan/level_scan.h"

/* A parameter of this layer under its public name, e.g. "q_proj.weight": found or made. */
struct hy_tensor *hy_mixer_param(struct hy_mixer *m, const char *name, int rank,
                                 const int64_t *dims, struct hy_init init, int decays);
/* Of a layer whose branches share projections: whether it has asked for all of them so far. */
int hy_mixer_shares_all(const struct hy_mixer *m);
/* A parameter that all layers share, e.g. "lower_bounds" of the model. */
struct hy_tensor *hy_mixer_shared_param(struct hy_mixer *m, const char *name, int rank,
                                        const int64_t *dims, struct hy_init init, int decays);

enum { HY_MAX_PROJECTIONS = 8 };

/* Several (at most HY_MAX_PROJECTIONS) projections of one input as one matrix product: specs name,
 * e.g. "q_proj", and width of each; their weights lie side by side in the parameters. outs[i]:
 * [rows of x, width i]. */
struct hy_projection {
    const char *name;
    int64_t width;
};
void hy_mixer_project(struct hy_mixer *m, struct hy_tensor *x, int count,
                      const struct hy_projection *specs, struct hy_tensor **outs);
/* The same, but cut into part_count views of the given widths, where neighbours go on together. */
void hy_mixer_project_parts(struct hy_mixer *m, struct hy_tensor *x, int count,
                            const struct hy_projection *specs, int part_count, const int64_t *parts,
                            struct hy_tensor **outs);
/* One projection, e.g. o_proj; and with a bias. */
struct hy_tensor *hy_mixer_linear(struct hy_mixer *m, struct hy_tensor *x, const char *name,
                                  int64_t width);
struct hy_tensor *hy_mixer_linear_biased(struct hy_mixer *m, struct hy_tensor *x, const char *name,
                                         int64_t width);

/* RMSNorm of each `width` columns of x with one weight [width], times the activated gate (as x;
 * NULL: ungated). */
struct hy_tensor *hy_mixer_norm(struct hy_mixer *m, struct hy_tensor *x, const char *name,
                                int64_t width, struct hy_tensor *gate, enum hy_gate activation);
/* Short causal convolution and SiLU over projections that lie side by side in x: specs name, e.g.
 * "q_conv1d", and channels of each. bias [1, all channels] or NULL. Its state is (taps - 1) rows.
 */
struct hy_tensor *hy_mixer_conv(struct hy_mixer *m, struct hy_tensor *x, int count,
                                const struct hy_projection *specs, int64_t taps,
                                struct hy_tensor *bias);

/* The row of a variant whose published form has no short convolution. */
/* clang-format off */
#define HY_OPTION_CONV                                                                           \
    {"conv", HY_OPT_INT, .def = 0, .min = 0, .max = 16,                                          \
     .help = "tokens that a short convolution over queries, keys and values sees; 0: none"}
/* clang-format on */
/* qkv: queries, keys and values of these widths side by side; passes them through q_conv1d,
 * k_conv1d and v_conv1d when the option "conv" asks for it. */
struct hy_tensor *hy_mixer_conv_qkv(struct hy_mixer *m, struct hy_tensor *qkv, int64_t queries,
                                    int64_t keys, int64_t values);
/* Elements that a convolution over `channels` by the option "conv" remembers. */
int64_t hy_mixer_conv_state(const struct hy_mixer *m, int64_t channels);

/* The layer's cache tensor [rows per sequence * batch, cols], zero before the first token; NULL
 * outside HY_CACHED graphs. */
struct hy_tensor *hy_mixer_state(struct hy_mixer *m, const char *name, int64_t rows_per_sequence,
                                 int64_t cols);

/* ---- Heads of matrix states. Options: HY_OPTIONS_WIDTHS ---- */

/* Rows of option tables: keys' and values' widths, with their defaults. */
/* clang-format off */
#define HY_OPTIONS_WIDTHS(keys, values)                                                          \
    {"expand_k", HY_OPT_REAL, .def = (keys), .min = 0.0625, .max = 8,                            \
     .help = "key width as a multiple of d_model"},                                              \
    {"expand_v", HY_OPT_REAL, .def = (values), .min = 0.0625, .max = 8,                          \
     .help = "value width as a multiple of d_model"}
/* clang-format on */

/* The heads of these widths, queries scaled by key_width^-1/2. */
struct hy_scan hy_mixer_heads(const struct hy_mixer *m);
int hy_mixer_check_heads(const struct hy_mixer *m, struct hy_err *e); /* a check function */
/* Elements of the matrix states; and with those of the option "conv". */
int64_t hy_mixer_heads_state(const struct hy_mixer *m, int64_t context);
int64_t hy_mixer_conv_heads_state(const struct hy_mixer *m, int64_t context);
/* The gated scan, its state cached. */
struct hy_tensor *hy_mixer_gated_scan(struct hy_mixer *m, struct hy_tensor *q, struct hy_tensor *k,
                                      struct hy_tensor *v, struct hy_tensor *decay,
                                      const struct hy_scan *s);
/* The level scan, its states cached: lambda = softplus(L dl), dl [rows, heads*levels], L a
 * parameter [heads, levels] of ones (arXiv 2506.04761). Option: HY_OPTION_LEVELS. */
struct hy_tensor *hy_mixer_level_scan(struct hy_mixer *m, struct hy_tensor *q, struct hy_tensor *k,
                                      struct hy_tensor *v, struct hy_tensor *decay,
                                      struct hy_tensor *beta, struct hy_tensor *dl,
                                      const struct hy_scan *s);
/* clang-format off */
#define HY_OPTION_LEVELS                                                                         \
    {"levels", HY_OPT_INT, .def = 15, .min = 1, .max = 31,                                       \
     .help = "weights of a token and head: they reach 2^(levels-1) tokens, which no sequence "   \
             "may exceed"}
/* clang-format on */
/* log decay -exp(A_log) softplus(x + dt_bias), one A_log (drawn as log U(least, most)) per head;
 * dt: as for hy_decay_gate. */
struct hy_tensor *hy_mixer_decay(struct hy_mixer *m, struct hy_tensor *x, int64_t heads,
                                 double least, double most, struct hy_tensor **dt);
/* The gate of HGRN: as hy_forget_gate, its bound by this layer from the model's lower_bounds. */
struct hy_tensor *hy_mixer_forget_gate(struct hy_mixer *m, struct hy_tensor *x,
                                       struct hy_tensor **input);

/* ---- The delta rule's layers. Options: HY_OPTIONS_WIDTHS, HY_OPTIONS_DELTA ---- */

/* clang-format off */
#define HY_OPTIONS_DELTA                                                                         \
    {"conv", HY_OPT_INT, .def = 4, .min = 1, .max = 16,                                          \
     .help = "tokens that the short convolution sees"},                                          \
    {"negative_eigenvalues", HY_OPT_BOOL, .def = 0, .max = 1,                                    \
     .help = "beta up to 2, so that a key can flip what it recalls"}
/* clang-format on */

/* qkv: q_proj, k_proj and v_proj side by side, before the convolution; q and k are l2-normalised,
 * beta = sigmoid(b), b [rows, heads]; decay as for hy_delta_scan; dl as for hy_mixer_level_scan, or
 * NULL: one state. */
struct hy_tensor *hy_mixer_delta(struct hy_mixer *m, struct hy_tensor *qkv, struct hy_tensor *b,
                                 struct hy_tensor *decay, struct hy_tensor *dl);

/* clang-format off */
#define HY_OPTIONS_GATED_DELTA                                                                   \
    HY_OPTIONS_WIDTHS(1, 2),                                                                     \
    HY_OPTIONS_DELTA,                                                                            \
    {"a_max", HY_OPT_REAL, .def = 16, .min = 1e-6, .max = 1e6,                                   \
     .help = "A, the rate of decay, starts uniform between 0 and this: smaller remembers longer"}
/* clang-format on */

/* The layer of gated_deltanet, from its input to o_proj's output; levels 0: one state per head. */
struct hy_tensor *hy_mixer_gated_delta(struct hy_mixer *m, struct hy_tensor *x, int64_t levels);

/* ---- Mamba-2's layer. Options: HY_OPTIONS_MAMBA2 ---- */

/* clang-format off */
#define HY_OPTIONS_MAMBA2                                                                        \
    {"expand", HY_OPT_INT, .def = 2, .min = 1, .max = 16,                                        \
     .help = "inner width as a multiple of d_model"},                                            \
    {"head_width", HY_OPT_INT, .def = 0, .min = 0, .max = 4096,                                  \
     .help = "width of a head; 0: the largest divisor of the inner width up to 64"},             \
    {"state_width", HY_OPT_INT, .def = 128, .min = 1, .max = 4096,                               \
     .help = "rows of a head's state"},                                                          \
    {"groups", HY_OPT_INT, .def = 1, .min = 1, .max = 4096,                                      \
     .help = "groups of heads that share B and C"},                                              \
    {"conv", HY_OPT_INT, .def = 4, .min = 1, .max = 16,                                          \
     .help = "tokens that the short convolution sees"},                                          \
    {"norm_eps", HY_OPT_REAL, .def = 1e-5, .min = 1e-12, .max = 0.1,                             \
     .help = "epsilon of the output's RMSNorm"}
/* clang-format on */

/* From the layer's input to out_proj's output; levels 0: one state per head. */
struct hy_tensor *hy_mixer_mamba2(struct hy_mixer *m, struct hy_tensor *x, int64_t levels);
int hy_mixer_check_mamba2(const struct hy_mixer *m, struct hy_err *e);
/* Elements of one state of each head; of the convolution. */
int64_t hy_mixer_mamba2_state(const struct hy_mixer *m);
int64_t hy_mixer_mamba2_conv_state(const struct hy_mixer *m);

/* ---- Softmax attention. Options: HY_OPTIONS_ATTENTION ---- */

/* clang-format off */
#define HY_OPTIONS_HEADS                                                                         \
    HY_OPTION_CONV,                                                                              \
    {"kv_heads", HY_OPT_INT, .def = 0, .min = 0, .max = 4096,                                    \
     .help = "heads of keys and values, each shared by heads/kv_heads queries; "                 \
             "0: as many as heads"},                                                             \
    {"rope_base", HY_OPT_REAL, .def = 1e4, .min = 0, .max = 1e9,                                 \
     .help = "base of the rotary position's wavelengths; 0: no positions"},                      \
    {"qk_norm", HY_OPT_BOOL, .def = 0, .max = 1,                                                 \
     .help = "RMSNorm of each head's queries and keys before the rotation"},                     \
    {"rotary", HY_OPT_REAL, .quiet = 1, .def = 1, .min = 0.001, .max = 1,                        \
     .help = "share of a head's channels that rotary positions turn, the first ones"}
#define HY_OPTIONS_ATTENTION                                                                     \
    HY_OPTIONS_HEADS,                                                                            \
    {"softcap", HY_OPT_REAL, .quiet = 1, .def = 0, .min = 0, .max = 1e6,                         \
     .help = "scores become softcap * tanh(score / softcap); 0: they stay as they are"},         \
    {"sinks", HY_OPT_BOOL, .quiet = 1, .max = 1,                                                 \
     .help = "a learned logit per head that takes attention without giving a value"}
#define HY_OPTION_OUTPUT_GATE                                                                    \
    {"gate", HY_OPT_CHOICE, .quiet = 1, .text = "none",                                          \
     .choices = "none|headwise|elementwise",                                                     \
     .help = "a sigmoid gate for each head, or for each element of its output"}
/* clang-format on */

/* From the layer's input to o_proj's output. window: 0: none. gate: "none", "headwise" or
 * "elementwise" (arXiv 2505.06708). */
struct hy_tensor *hy_mixer_attention(struct hy_mixer *m, struct hy_tensor *x, int window,
                                     const char *gate);
int hy_mixer_check_attention(const struct hy_mixer *m, struct hy_err *e); /* HY_OPTIONS_HEADS */
/* Heads of keys and values: the option kv_heads, or as many as of queries. */
int hy_mixer_kv_heads(const struct hy_mixer *m);
/* Elements of `positions` keys and values, and of the convolution. */
int64_t hy_mixer_attention_state(const struct hy_mixer *m, int64_t positions);

/* Queries, keys and values as attention compares them, from the layer's input: projected,
 * convolved, normed and rotated as HY_OPTIONS_HEADS say. gates: columns of g_proj beside them,
 * whose output goes to *gate; 0: none. */
struct hy_qkv {
    struct hy_tensor *q, *k, *v; /* [rows, heads * width], [rows, kv_heads * width] twice */
    struct hy_tensor *gate;
    struct hy_attention shape; /* without window and cap */
};
struct hy_qkv hy_mixer_qkv(struct hy_mixer *m, struct hy_tensor *x, int64_t gates);

/* ---- Attention over features. Options: HY_OPTIONS_HEADS, HY_OPTIONS_FEATURES; in the joint form
 * also HY_OPTIONS_WINDOW ---- */

/* clang-format off */
#define HY_OPTIONS_FEATURES                                                                      \
    {"map", HY_OPT_CHOICE, .text = "softmax", .choices = "softmax|exp|relu|elu1",                \
     .help = "the activation of the feature map; softmax and exp take both signs"},              \
    {"learned", HY_OPT_BOOL, .def = 1, .max = 1,                                                 \
     .help = "the map's input is multiplied by a matrix per head, which starts as the identity"},\
    {"bias", HY_OPT_BOOL, .max = 1, .help = "and has a learned bias"},                           \
    {"features", HY_OPT_INT, .def = 0, .min = 0, .max = 4096,                                    \
     .help = "columns of that matrix; 0: half the head's width with both signs, else all of it"}
#define HY_OPTIONS_WINDOW                                                                        \
    {"window", HY_OPT_INT, .def = 64, .min = 1, .max = 1 << 20,                                  \
     .help = "tokens with softmax terms, the query's own included; a block of a terraced one"},  \
    {"window_kind", HY_OPT_CHOICE, .text = "sliding", .choices = "sliding|terraced",             \
     .help = "terraced: the own block up to the query, and the whole block before it"},          \
    {"gamma", HY_OPT_REAL, .def = 0.1, .min = 1e-6, .max = 1,                                    \
     .help = "where the window's factor starts, per head; 1: it stays 1, and nothing is learned"},\
    {"affine", HY_OPT_BOOL, .max = 1,                                                            \
     .help = "linear terms have the factor 1 - gamma, not 1"}
/* clang-format on */

/* From the layer's input to o_proj's output: normalised linear attention; with the option `window`
 * the joint form. */
struct hy_tensor *hy_mixer_features(struct hy_mixer *m, struct hy_tensor *x);
int hy_mixer_check_features(const struct hy_mixer *m, struct hy_err *e);
int64_t hy_mixer_features_state(const struct hy_mixer *m, int64_t context);

/* The largest divisor of width that is at most `most`: a head's width where none is given. */
int64_t hy_mixer_divisor(int64_t width, int64_t most);

#endif
