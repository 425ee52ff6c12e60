/* definition.h - compares an operator with its definition, written as plain loops in double:
 * values, gradients (by differences of the definition along random directions), gradients that are
 * added to. */
#ifndef HY_TESTS_SUPPORT_DEFINITION_H
#define HY_TESTS_SUPPORT_DEFINITION_H

#include "core/graph/graph.h"

enum { B = 2, T = 150, N = B * T, MAX_LEAVES = 5 };

/* A graph whose leaves are filled; y are the outputs that the definition is compared with. */
struct built {
    struct hy_graph *g;
    int leaves, outputs;
    struct hy_tensor *leaf[MAX_LEAVES], *tail[MAX_LEAVES], *y[2];
    struct hy_tensor *integers; /* [N, 1], filled by integer_at() */
    int (*integer_at)(int64_t row);
};

/* An operator's definition: leaves as contiguous doubles in, all outputs one after the other out.
 */
typedef void definition_fn(const double *const *in, double *y);
typedef void build_fn(struct built *b);

/* Builds the op once and twice on the same leaves, and compares. */
void test_definition(build_fn *build, definition_fn *definition);

/* Leaf i of b: made on first use. */
struct hy_tensor *test_leaf(struct built *b, int i, int64_t rows, int64_t cols, double lo,
                            double hi);
/* Columns [first, cols) of leaf i, as a view. */
struct hy_tensor *test_tail(struct built *b, int i, int64_t rows, int64_t first, int64_t cols,
                            double lo, double hi);
struct hy_tensor *test_integers(struct built *b, int (*integer_at)(int64_t row));

struct hy_graph *test_graph(enum hy_mode mode, int batch, int tokens, int context,
                            struct hy_slab *cache);
void test_plan(struct hy_graph *g);
/* Draws the leaves' values, after planning. */
void test_fill(struct built *b);
double test_draw(double lo, double hi);
int64_t test_size(const struct hy_tensor *t);
/* Fails unless |got - want| <= tolerance * scale. */
void test_close(const char *what, double got, double want, double scale, double tolerance);

#endif
