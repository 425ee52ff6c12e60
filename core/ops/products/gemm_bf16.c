/* gemm_bf16.c - products of bf16 operands. The library compiles a kernel per shape, so the kernels
 * of the shapes seen so far are kept; a model has a few dozen. One product runs at a time. */
#include "core/ops/products/gemm.h"

#include <stdio.h>
#include <stdlib.h>

static const char no_tf32[] = "tf32 is for CUDA devices; on the CPU take float32 or bf16";

#if defined(HY_DOUBLE) || defined(HY_WITHOUT_DNNL)

int hy_gemm_check(enum hy_precision p, struct hy_err *e)
{
    if (p == HY_PRECISION_FLOAT32)
        return HY_OK;
    if (p == HY_PRECISION_TF32)
        return hy_fail(e, HY_E_USAGE, no_tf32);
    return hy_fail(e, HY_E_USAGE, "%s needs oneDNN, which this build is without",
                   hy_precision_name(p));
}

void hy_gemm_bf16(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, const hy_bf16 *a,
                  int64_t lda, const hy_bf16 *b, int64_t ldb, int add, hy_real *c, int64_t ldc)
{
    (void)trans_a, (void)trans_b, (void)m, (void)n, (void)k, (void)a, (void)lda, (void)b;
    (void)ldb, (void)add, (void)c, (void)ldc;
    fprintf(stderr, "hylas: a product in bf16, which this build does not have\n");
    abort();
}

#else

#include <dnnl.h>
#include <string.h>

struct shape {
    int64_t trans_a, trans_b, m, n, k, lda, ldb, ldc, add;
};

enum { A, B, C, SCRATCH, ARGS };

struct product {
    struct shape shape;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[ARGS];
};

static struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct product *products;
    size_t count, room;
    void *scratch; /* as large as the most demanding product needs */
    size_t scratch_bytes;
} library;

int hy_gemm_check(enum hy_precision p, struct hy_err *e)
{
    const unsigned needed = dnnl_cpu_isa_avx512_core_bf16, has = dnnl_get_effective_cpu_isa();
    if (p == HY_PRECISION_TF32)
        return hy_fail(e, HY_E_USAGE, no_tf32);
    if (p == HY_PRECISION_FLOAT32 || (has & needed) == needed)
        return HY_OK;
    return hy_fail(e, HY_E_USAGE,
                   "%s needs a processor with AVX512_BF16, which this one is not (or "
                   "DNNL_MAX_CPU_ISA says so)",
                   hy_precision_name(p));
}

static void check(dnnl_status_t status, const struct shape *s)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "hylas: oneDNN refused a bf16 product of [%lld, %lld] by [%lld, %lld]: %d\n",
            (long long)s->m, (long long)s->k, (long long)s->k, (long long)s->n, (int)status);
    abort();
}

static void *checked(void *memory)
{
    if (memory)
        return memory;
    fprintf(stderr, "hylas: out of memory in a product\n");
    abort();
}

static dnnl_memory_desc_t matrix(const struct shape *s, dnnl_data_type_t type, int trans,
                                 int64_t rows, int64_t cols, int64_t ld)
{
    dnnl_memory_desc_t md;
    const dnnl_dims_t dims = {rows, cols}, strides = {trans ? 1 : ld, trans ? ld : 1};
    check(dnnl_memory_desc_init_by_strides(&md, 2, dims, type, strides), s);
    return md;
}

static void set_argument(struct product *p, int i, int index, const dnnl_memory_desc_t *md)
{
    p->args[i].arg = index;
    check(dnnl_memory_create(&p->args[i].memory, md, library.engine, DNNL_MEMORY_NONE), &p->shape);
}

static dnnl_primitive_desc_t describe(const struct shape *s, const dnnl_memory_desc_t md[])
{
    dnnl_matmul_desc_t op;
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t add;
    dnnl_primitive_desc_t pd;
    check(dnnl_primitive_attr_create(&attr), s);
    check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), s);
    check(dnnl_post_ops_create(&add), s);
    if (s->add)
        check(dnnl_post_ops_append_sum(add, 1), s);
    check(dnnl_primitive_attr_set_post_ops(attr, add), s);
    check(dnnl_matmul_desc_init(&op, &md[A], &md[B], NULL, &md[C]), s);
    check(dnnl_primitive_desc_create(&pd, &op, attr, library.engine, NULL), s);
    dnnl_post_ops_destroy(add);
    dnnl_primitive_attr_destroy(attr);
    return pd;
}

static struct product *add_product(const struct shape *s)
{
    if (!library.engine) {
        check(dnnl_engine_create(&library.engine, dnnl_cpu, 0), s);
        check(dnnl_stream_create(&library.stream, library.engine, dnnl_stream_default_flags), s);
    }
    if (library.count == library.room) {
        library.room = library.room ? 2 * library.room : 64;
        library.products =
            checked(realloc(library.products, library.room * sizeof *library.products));
    }
    struct product *p = &library.products[library.count++];
    const dnnl_memory_desc_t md[] = {
        [A] = matrix(s, dnnl_bf16, (int)s->trans_a, s->m, s->k, s->lda),
        [B] = matrix(s, dnnl_bf16, (int)s->trans_b, s->k, s->n, s->ldb),
        [C] = matrix(s, dnnl_f32, 0, s->m, s->n, s->ldc),
    };
    p->shape = *s;
    const dnnl_primitive_desc_t pd = describe(s, md);
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    check(dnnl_primitive_create(&p->primitive, pd), s);
    set_argument(p, A, DNNL_ARG_SRC, &md[A]);
    set_argument(p, B, DNNL_ARG_WEIGHTS, &md[B]);
    set_argument(p, C, DNNL_ARG_DST, &md[C]);
    set_argument(p, SCRATCH, DNNL_ARG_SCRATCHPAD, scratch);
    const size_t bytes = dnnl_memory_desc_get_size(scratch);
    if (bytes > library.scratch_bytes) {
        free(library.scratch);
        library.scratch_bytes = (bytes + 4095) / 4096 * 4096;
        library.scratch = checked(aligned_alloc(4096, library.scratch_bytes));
    }
    dnnl_primitive_desc_destroy(pd);
    return p;
}

static struct product *find_product(const struct shape *s)
{
    for (size_t i = 0; i < library.count; i++)
        if (!memcmp(&library.products[i].shape, s, sizeof *s))
            return &library.products[i];
    return add_product(s);
}

void hy_gemm_bf16(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, const hy_bf16 *a,
                  int64_t lda, const hy_bf16 *b, int64_t ldb, int add, hy_real *c, int64_t ldc)
{
    const struct shape s = {trans_a != 0, trans_b != 0, m, n, k, lda, ldb, ldc, add != 0};
    struct product *p = find_product(&s);
    void *const data[] = {[A] = (void *)a, [B] = (void *)b, [C] = c, [SCRATCH] = library.scratch};
    for (int i = 0; i < ARGS; i++)
        check(dnnl_memory_set_data_handle(p->args[i].memory, data[i]), &s);
    check(dnnl_primitive_execute(p->primitive, library.stream, ARGS, p->args), &s);
    check(dnnl_stream_wait(library.stream), &s);
}

#endif
