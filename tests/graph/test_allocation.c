/* Law: a training step allocates nothing. Every allocation of the process passes the counters here;
 * those made by this program's own code are counted. (oneDNN packs the operands of a product into a
 * buffer that it allocates and frees within each call; no interface of it takes one from us.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/ops/products/gemm.h"
#include "tests/support/model_kit.h"

static long allocations;

#if defined(__SANITIZE_ADDRESS__)
enum { COUNTED = 0 }; /* the sanitizer owns the allocator */
#else
enum { COUNTED = 1 };

extern char __executable_start, etext;
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
int posix_memalign(void **out, size_t alignment, size_t size);

static void note(const void *caller)
{
    allocations += (const char *)caller >= &__executable_start && (const char *)caller < &etext;
}

void *malloc(size_t size)
{
    note(__builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    note(__builtin_return_address(0));
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    note(__builtin_return_address(0));
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    note(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    note(__builtin_return_address(0));
    *out = __libc_memalign(alignment, size);
    return !*out;
}
#endif

static void step_allocates_nothing(const struct hy_variant *v, enum hy_precision precision)
{
    struct kit k;
    struct hy_model_ends ends;
    struct hy_tensor *weights;
    kit_init(&k, v, NULL, "LF", 1);
    k.precision = precision;
    struct hy_graph *g = kit_graph(&k, HY_TRAIN, 2, 150, 0, NULL, &ends, &weights, 3);
    long before = 0;
    for (int step = 1; step <= 3; step++) { /* libraries set themselves up in the first two */
        before = allocations;
        hy_graph_run(g, NULL);
        hy_adamw_step(&k.optimizer, &k.params, &k.grads, 0, step, 1e-3, .1, 1,
                      hy_adamw_norm(&k.optimizer, &k.grads, 0));
    }
    if (allocations != before)
        fail_msg("%s: a step in %s makes %ld allocations", v->name, hy_precision_name(precision),
                 allocations - before);
    hy_graph_free(g);
    kit_release(&k);
}

static void test_step_allocates_nothing(void **state)
{
    struct hy_err e;
    (void)state;
    if (!COUNTED)
        skip();
    for (int i = 0; hy_variants[i]; i++) {
        step_allocates_nothing(hy_variants[i], HY_PRECISION_FLOAT32);
        if (!hy_gemm_check(HY_PRECISION_BF16, &e))
            step_allocates_nothing(hy_variants[i], HY_PRECISION_BF16);
    }
    assert_true(allocations > 0); /* the counters are in place */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_step_allocates_nothing)};
    return cmocka_run_group_tests_name("allocation", tests, NULL, NULL);
}
