#include "core/ops/features/feature_map.h"

#include "core/ops/support/build.h"
#include "core/ops/support/pack.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"

enum { X, W, B };
enum { BLOCK = 4 * HY_LANES }; /* rows that are multiplied at a time */

static const hy_real least = (hy_real)1e-12; /* what a feature is raised to */

static int has_halves(enum hy_map map)
{
    return map == HY_MAP_SOFTMAX || map == HY_MAP_EXP;
}

int64_t hy_feature_map_width(const struct hy_feature_map *s)
{
    return has_halves(s->map) ? 2 * s->columns : s->columns;
}

/* ---- The map of one row ---- */

struct range {
    hy_real high, low;
};

static struct range range_of(const hy_real *z, int64_t n)
{
    hy_real high = z[0], low = z[0];
#pragma omp simd reduction(max : high) reduction(min : low)
    for (int64_t c = 0; c < n; c++) {
        high = z[c] > high ? z[c] : high;
        low = z[c] < low ? z[c] : low;
    }
    return (struct range){high, low};
}

/* Both halves, none of them raised: p [2 n]. */
static void exponentials(enum hy_map map, struct range range, int64_t n, const hy_real *z,
                         hy_real *p)
{
    hy_real sum = 0, other = 0;
#pragma omp simd reduction(+ : sum, other)
    for (int64_t c = 0; c < n; c++) {
        p[c] = hy_exp(z[c] - range.high);
        p[n + c] = hy_exp(range.low - z[c]);
        sum += p[c];
        other += p[n + c];
    }
    if (map == HY_MAP_EXP)
        return;
    sum = 1 / sum;
    other = 1 / other;
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        p[c] *= sum;
        p[n + c] *= other;
    }
}

static void map_row(enum hy_map map, int64_t n, const hy_real *z, hy_real *phi)
{
    if (has_halves(map)) {
        exponentials(map, range_of(z, n), n, z, phi);
#pragma omp simd
        for (int64_t c = 0; c < 2 * n; c++)
            phi[c] = phi[c] < least ? least : phi[c];
    } else if (map == HY_MAP_RELU) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            phi[c] = z[c] > 0 ? z[c] : 0;
    } else {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            const hy_real e = hy_exp(z[c] > 0 ? 0 : z[c]) + (z[c] > 0 ? z[c] : 0);
            phi[c] = e < least ? least : e;
        }
    }
}

/* The sum of p dphi over a half, without what was raised. */
static hy_real weigh(int64_t n, const hy_real *dphi, const hy_real *p)
{
    hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < n; c++)
        sum += p[c] < least ? 0 : p[c] * dphi[c];
    return sum;
}

/* Adds to dz what a half that grows with sign * z brings: p (dphi - sum p dphi) where it is
 * normalised, else p dphi. */
static void back_half(enum hy_map map, int64_t n, hy_real sign, const hy_real *dphi,
                      const hy_real *p, hy_real sum, hy_real *dz)
{
    const hy_real mean = map == HY_MAP_SOFTMAX ? sum : 0;
#pragma omp simd
    for (int64_t c = 0; c < n; c++)
        dz[c] += sign * p[c] * ((p[c] < least ? 0 : dphi[c]) - mean);
}

static int64_t first_at(const hy_real *z, int64_t n, hy_real x)
{
    int64_t c = 0;
    while (c < n - 1 && z[c] != x)
        c++;
    return c;
}

/* p: room for 2 n. */
static void back_halves(enum hy_map map, int64_t n, const hy_real *z, const hy_real *dphi,
                        hy_real *p, hy_real *dz)
{
    const struct range range = range_of(z, n);
    exponentials(map, range, n, z, p);
    const hy_real sum = weigh(n, dphi, p), other = weigh(n, dphi + n, p + n);
    memset(dz, 0, (size_t)n * sizeof *dz);
    back_half(map, n, 1, dphi, p, sum, dz);
    back_half(map, n, -1, dphi + n, p + n, other, dz);
    if (map == HY_MAP_EXP) {
        dz[first_at(z, n, range.high)] -= sum;
        dz[first_at(z, n, range.low)] += other;
    }
}

static void back_row(enum hy_map map, int64_t n, const hy_real *z, const hy_real *dphi, hy_real *p,
                     hy_real *dz)
{
    if (has_halves(map)) {
        back_halves(map, n, z, dphi, p, dz);
    } else if (map == HY_MAP_RELU) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            dz[c] = z[c] > 0 ? dphi[c] : 0;
    } else {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            const hy_real e = hy_exp(z[c] > 0 ? 0 : z[c]);
            dz[c] = e < least ? 0 : e * dphi[c];
        }
    }
}

/* ---- Blocks of rows of one head of x, and of the result's heads that read it ---- */

/* Scratch: widths are padded with zeros to whole vectors. */
struct space {
    int64_t width, columns, heads; /* padded; of the result's that read a head of x */
    hy_real *x, *z;                /* [BLOCK, width], [BLOCK, columns] */
    hy_real *w;                    /* of each head: [width, columns] */
    hy_real *w_turned, *dw, *db;   /* backward; of each head: [columns, width], like w, [columns] */
    hy_real *dx, *dz, *p;          /* backward: like x, like z, [2 * columns] */
};

/* Lays s out from base on; returns how many numbers it takes. */
static int64_t lay_out(const struct hy_op *op, hy_real *base, struct space *s)
{
    const struct hy_feature_map *map = op->attr;
    const int64_t width = hy_lanes_up(map->width), columns = hy_lanes_up(map->columns);
    const int64_t heads = map->heads / map->in_heads;
    const int64_t product = op->in[W] ? heads * width * columns : 0;
    hy_real *next = base;
    *s = (struct space){.width = width, .columns = columns, .heads = heads};
    s->x = hy_carve(&next, BLOCK * width);
    s->z = hy_carve(&next, BLOCK * columns);
    s->w = hy_carve(&next, product);
    if (op->pass == HY_BACKWARD) {
        s->w_turned = hy_carve(&next, product);
        s->dw = hy_carve(&next, product);
        s->db = hy_carve(&next, heads * columns);
        s->dx = hy_carve(&next, BLOCK * width);
        s->dz = hy_carve(&next, BLOCK * columns);
        s->p = hy_carve(&next, 2 * columns);
    }
    return next - base;
}

static size_t feature_map_scratch(const struct hy_op *op)
{
    static hy_real origin[1];
    struct space s;
    return (size_t)lay_out(op, origin, &s) * sizeof(hy_real);
}

/* The weights of the heads that read x's head. */
static void pack_weights(const struct hy_op *op, int r, int64_t in_head, const struct space *s)
{
    const struct hy_feature_map *map = op->attr;
    const int64_t size = s->width * s->columns;
    for (int64_t i = 0; op->in[W] && i < s->heads; i++) {
        const hy_real *w = hy_real_data(op->in[W], r) + (in_head * s->heads + i) * op->in[W]->ld;
        hy_pack(w, map->columns, map->width, map->columns, 1, s->width, s->columns,
                s->w + i * size);
        if (s->w_turned)
            hy_micro_transpose(s->width, s->columns, s->w + i * size, s->columns,
                               s->w_turned + i * size, s->width);
    }
}

/* z of `rows` rows in s->x; i: which of the heads that read it. */
static void project(const struct hy_op *op, int r, int64_t in_head, int64_t i, int64_t rows,
                    const struct space *s)
{
    const struct hy_feature_map *map = op->attr;
    const struct hy_tensor *b = op->in[B];
    const hy_real *bias = b ? hy_real_data(b, r) + (in_head * s->heads + i) * b->ld : NULL;
    if (op->in[W])
        hy_micro_mul(hy_precision_of(op->graph), hy_lanes_up(rows), s->columns, s->width,
                     (struct hy_left){s->x, s->width, 1}, s->w + i * s->width * s->columns,
                     s->columns, NULL, NULL, s->z, s->columns);
    else
        memcpy(s->z, s->x, (size_t)(rows * s->columns) * sizeof *s->z);
    for (int64_t row = 0; bias && row < rows; row++) {
        hy_real *z = s->z + row * s->columns;
#pragma omp simd
        for (int64_t c = 0; c < map->columns; c++)
            z[c] += bias[c];
    }
}

/* Few rows, as in decoding, read the weights where they are: packing them would cost more. */
static void project_row(const struct hy_op *op, int r, const hy_real *x, int64_t head, hy_real *z)
{
    const struct hy_feature_map *map = op->attr;
    const struct hy_tensor *b = op->in[B];
    const hy_real *w = hy_real_data(op->in[W], r) + head * op->in[W]->ld;
    memset(z, 0, (size_t)map->columns * sizeof *z);
    for (int64_t k = 0; k < map->width; k++, w += map->columns)
#pragma omp simd
        for (int64_t c = 0; c < map->columns; c++)
            z[c] += x[k] * w[c];
    for (int64_t c = 0; b && c < map->columns; c++)
        z[c] += hy_real_data(b, r)[head * b->ld + c];
}

static void forward_few(const struct hy_op *op, int r, const struct space *s)
{
    const struct hy_feature_map *map = op->attr;
    const struct hy_rows x = hy_rows_of(op->in[X], r), y = hy_rows_of(op->out[0], r);
    const int64_t features = hy_feature_map_width(map);
    for (int64_t i = 0; i < y.rows; i++)
        for (int64_t h = 0; h < map->heads; h++) {
            project_row(op, r, hy_row(&x, i) + h / s->heads * map->width, h, s->z);
            map_row(map->map, map->columns, s->z, hy_row(&y, i) + h * features);
        }
}

static void feature_map_forward(const struct hy_op *op, int r)
{
    const struct hy_feature_map *map = op->attr;
    const struct hy_rows x = hy_rows_of(op->in[X], r), y = hy_rows_of(op->out[0], r);
    const int64_t features = hy_feature_map_width(map);
    struct space s;
    lay_out(op, hy_real_data(op->scratch, r), &s);
    if (op->in[W] && x.rows < HY_LANES) {
        forward_few(op, r, &s);
        return;
    }
    for (int64_t in_head = 0; in_head < map->in_heads; in_head++) {
        pack_weights(op, r, in_head, &s);
        for (int64_t from = 0; from < x.rows; from += BLOCK) {
            const int64_t rows = hy_min(x.rows - from, BLOCK);
            hy_pack(hy_row(&x, from) + in_head * map->width, x.ld, rows, map->width, 1,
                    hy_lanes_up(rows), s.width, s.x);
            for (int64_t i = 0; i < s.heads; i++) {
                project(op, r, in_head, i, rows, &s);
                for (int64_t row = 0; row < rows; row++)
                    map_row(map->map, map->columns, s.z + row * s.columns,
                            hy_row(&y, from + row) + (in_head * s.heads + i) * features);
            }
        }
    }
}

/* dz and what is added to db. Rows beyond those that there are become zero, as columns are. */
static void back_rows(const struct hy_op *op, int r, int64_t head, int64_t from, int64_t rows,
                      const struct space *s, hy_real *db)
{
    const struct hy_feature_map *map = op->attr;
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    memset(s->dz, 0, (size_t)(hy_lanes_up(rows) * s->columns) * sizeof *s->dz);
    for (int64_t row = 0; row < rows; row++) {
        hy_real *dz = s->dz + row * s->columns;
        back_row(map->map, map->columns, s->z + row * s->columns,
                 hy_row(&dy, from + row) + head * hy_feature_map_width(map), s->p, dz);
#pragma omp simd
        for (int64_t c = 0; c < map->columns; c++)
            db[c] += dz[c];
    }
}

/* dx grows by dz W', and dw by x' dz. */
static void back_product(const struct hy_op *op, int64_t i, int64_t rows, const struct space *s)
{
    const enum hy_precision precision = hy_precision_of(op->graph);
    const int64_t m = hy_lanes_up(rows), size = s->width * s->columns;
    if (!op->in[W]) {
        for (int64_t k = 0; k < m * s->width; k++)
            s->dx[k] += s->dz[k];
        return;
    }
    if (op->din[X])
        hy_micro_mul(precision, m, s->width, s->columns, (struct hy_left){s->dz, s->columns, 1},
                     s->w_turned + i * size, s->width, s->dx, NULL, s->dx, s->width);
    if (op->din[W])
        hy_micro_mul(precision, s->width, s->columns, m, (struct hy_left){s->x, 1, s->width}, s->dz,
                     s->columns, s->dw + i * size, NULL, s->dw + i * size, s->columns);
}

static void give_weights(const struct hy_op *op, int r, int64_t in_head, const struct space *s)
{
    const struct hy_feature_map *map = op->attr;
    const struct hy_tensor *dw = op->din[W], *db = op->din[B];
    for (int64_t i = 0; i < s->heads; i++) {
        const int64_t head = in_head * s->heads + i;
        if (dw)
            hy_unpack(s->dw + i * s->width * s->columns, s->columns, 1, map->width, map->columns,
                      hy_adds(op, W), hy_real_data(dw, r) + head * dw->ld, map->columns);
        if (db)
            hy_unpack(s->db + i * s->columns, s->columns, 1, 1, map->columns, hy_adds(op, B),
                      hy_real_data(db, r) + head * db->ld, db->ld);
    }
}

static void feature_map_backward(const struct hy_op *op, int r)
{
    const struct hy_feature_map *map = op->attr;
    const struct hy_rows x = hy_rows_of(op->in[X], r), dx = hy_rows_din(op, X, r, NULL);
    struct space s;
    lay_out(op, hy_real_data(op->scratch, r), &s);
    for (int64_t in_head = 0; in_head < map->in_heads; in_head++) {
        pack_weights(op, r, in_head, &s);
        if (op->in[W])
            memset(s.dw, 0, (size_t)(s.heads * s.width * s.columns) * sizeof *s.dw);
        memset(s.db, 0, (size_t)(s.heads * s.columns) * sizeof *s.db);
        for (int64_t from = 0; from < x.rows; from += BLOCK) {
            const int64_t rows = hy_min(x.rows - from, BLOCK);
            hy_pack(hy_row(&x, from) + in_head * map->width, x.ld, rows, map->width, 1,
                    hy_lanes_up(rows), s.width, s.x);
            memset(s.dx, 0, (size_t)(BLOCK * s.width) * sizeof *s.dx);
            for (int64_t i = 0; i < s.heads; i++) {
                project(op, r, in_head, i, rows, &s);
                back_rows(op, r, in_head * s.heads + i, from, rows, &s, s.db + i * s.columns);
                back_product(op, i, rows, &s);
            }
            if (dx.data)
                hy_unpack(s.dx, s.width, 1, rows, map->width, dx.add,
                          hy_row(&dx, from) + in_head * map->width, dx.ld);
        }
        give_weights(op, r, in_head, &s);
    }
}

/* ---- The operator ---- */

static void feature_map_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const struct hy_feature_map *map = op->attr;
    const double rows = (double)op->in[X]->rows * map->heads;
    const int products = op->pass == HY_FORWARD ? 1 : (op->din[X] != NULL) + (op->din[W] != NULL);
    cost->flops = rows * (double)hy_feature_map_width(map) * (op->pass == HY_FORWARD ? 4 : 6);
    if (op->in[W])
        cost->flops += products * 2 * rows * map->width * map->columns;
    cost->bytes = hy_op_bytes(op);
}

static int feature_map_example(struct hy_graph *g, int index)
{
    static const struct {
        struct hy_feature_map map;
        int learned, biased;
    } cases[] = {
        {{HY_MAP_SOFTMAX, 4, 2, 3, 5}, 1, 1}, {{HY_MAP_SOFTMAX, 2, 2, 4, 4}, 0, 0},
        {{HY_MAP_EXP, 2, 1, 4, 3}, 1, 0},     {{HY_MAP_RELU, 2, 2, 3, 4}, 1, 1},
        {{HY_MAP_ELU1, 2, 1, 5, 5}, 0, 0},
    };
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const struct hy_feature_map *s = &cases[index].map;
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2], *w = NULL, *b = NULL;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, s->in_heads * s->width + 3, -2, 2), 2,
                   (int64_t[]){3, s->in_heads * s->width}, views);
    if (cases[index].learned)
        w = hy_graph_leaf(g, "w", s->heads, s->width * s->columns, -1, 1);
    if (cases[index].biased)
        b = hy_graph_leaf(g, "b", s->heads, s->columns, -1, 1);
    hy_feature_map(g, views[1], w, b, s);
    return 1;
}

const struct hy_op_kind hy_op_feature_map = {
    .name = "feature_map",
    .forward = feature_map_forward,
    .backward = feature_map_backward,
    .cost = feature_map_cost,
    .scratch = feature_map_scratch,
    .backward_in = 1u << X | 1u << W | 1u << B,
    .example = feature_map_example,
};

struct hy_tensor *hy_feature_map(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w,
                                 struct hy_tensor *b, const struct hy_feature_map *s)
{
    if (!x)
        return NULL;
    if (s->in_heads < 1 || s->heads < 1 || s->heads % s->in_heads || s->width < 1 ||
        s->columns < 1 || (!w && s->columns != s->width))
        return hy_graph_fail(g, "feature_map: %d heads of %d, width %d, %d columns", s->heads,
                             s->in_heads, s->width, s->columns);
    if (!hy_has_shape(g, "feature_map", "x", x, x->rows, (int64_t)s->in_heads * s->width) ||
        (w && !hy_has_shape(g, "feature_map", "w", w, s->heads, (int64_t)s->width * s->columns)) ||
        (b && !hy_has_shape(g, "feature_map", "b", b, s->heads, s->columns)))
        return NULL;
    return hy_record(g, &hy_op_feature_map, 3, (struct hy_tensor *[]){x, w, b}, x->rows,
                     s->heads * hy_feature_map_width(s), s, sizeof *s);
}
