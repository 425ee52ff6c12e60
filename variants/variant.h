/* variant.h - the contract of a token mixer: a composition of ops that knows no device.
 *
 * A variant is one file under variants/ that defines `const struct hy_variant hy_variant_<name>`;
 * CMake generates the table from the file names. Its build function serves training, evaluation and
 * decoding: in a HY_CACHED graph hy_mixer_state() gives a state tensor that outlives the run,
 * elsewhere NULL, and the scans and convolutions take either. */
#ifndef HY_VARIANTS_VARIANT_H
#define HY_VARIANTS_VARIANT_H

#include "core/base/option.h"
#include "core/graph/graph.h"

/* The layer that is being built. */
struct hy_mixer {
    struct hy_graph *graph;
    const struct hy_value *options; /* resolved against the variant's table */
    int d_model, heads;
    int layer, layers; /* its index among all layers, and how many there are */
    double norm_eps, init_std;
};

struct hy_variant {
    const char *name, *summary;
    const struct hy_option *options;
    int full; /* attends to the whole context: a full layer under any ratio */

    /* x: the layer's normed input [batch*tokens, d_model]; returns the same shape (o_proj's
     * output). */
    struct hy_tensor *(*build)(struct hy_mixer *m, struct hy_tensor *x);
    /* Elements of the cache of one layer and sequence that holds `context` tokens: exactly what
     * build() asks for by hy_mixer_state(). */
    int64_t (*state_elements)(const struct hy_mixer *m, int64_t context);
    /* Optional: refuses option values that do not fit d_model and heads. */
    int (*check)(const struct hy_mixer *m, struct hy_err *e);
};

/* A parameter of this layer under its public name, e.g. "q_proj.weight": found or made. */
struct hy_tensor *hy_mixer_param(struct hy_mixer *m, const char *name, int rank,
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
/* One projection, e.g. o_proj. */
struct hy_tensor *hy_mixer_linear(struct hy_mixer *m, struct hy_tensor *x, const char *name,
                                  int64_t width);

/* RMSNorm of each head of o (value width [o's columns / heads], weight under norm_name) times
 * silu(gate), then o_proj: how RetNet, GLA and their relatives end. gate NULL: ungated. */
struct hy_tensor *hy_mixer_output(struct hy_mixer *m, struct hy_tensor *o, struct hy_tensor *gate,
                                  const char *norm_name);

/* Width per head of option key (expand_k, expand_v) times d_model; hy_mixer_check_width refuses
 * what the heads do not divide. */
int64_t hy_mixer_width(const struct hy_mixer *m, const char *key);
int hy_mixer_check_width(const struct hy_mixer *m, const char *variant, const char *key,
                         struct hy_err *e);

/* The layer's cache tensor [rows per sequence * batch, cols], zero before the first token; NULL
 * outside HY_CACHED graphs. */
struct hy_tensor *hy_mixer_state(struct hy_mixer *m, const char *name, int64_t rows_per_sequence,
                                 int64_t cols);

/* The generated table, sorted by name, ended by NULL. */
extern const struct hy_variant *const hy_variants[];
const struct hy_variant *hy_variant_find(const char *name); /* NULL where absent */

#endif
