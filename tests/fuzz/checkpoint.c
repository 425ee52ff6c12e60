/* A checkpoint, or weights of any origin, with any damage: refused without a trace, or as it was
 * saved. */
#include <string.h>

#include "core/base/hash.h"
#include "core/model/checkpoint.h"
#include "core/model/safetensors.h"
#include "core/model/weights.h"
#include "tests/fuzz/fuzz.h"

static struct hy_slab params;
static struct hy_adamw optimizer;

static void make_model(void)
{
    struct hy_err e;
    const struct hy_entry a = {.name = "a", .rank = 2, .dims = {2, 3}};
    const struct hy_entry b = {.name = "b", .rank = 1, .dims = {4}};
    hy_slab_init(&params, 1);
    fuzz_require(hy_slab_add(&params, &a, &e) == 0 && hy_slab_add(&params, &b, &e) == 1 &&
                     !hy_slab_allocate(&params, &e) &&
                     !hy_adamw_init(&optimizer, &params, &params, &e),
                 "a small model can be made");
}

/* Every byte that the reader hands out can be read. */
static void read_through(const struct hy_st_file *file)
{
    char sum[HY_HASH_TEXT];
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct hy_st_tensor *t = &file->tensors[i];
        const int half = t->dtype == HY_ST_F16 || t->dtype == HY_ST_BF16;
        const size_t width = half ? 2 : t->dtype == HY_ST_F32 || t->dtype == HY_ST_I32 ? 4 : 8;
        hy_hash_bytes(t->data, (size_t)hy_st_count(t) * width, sum);
        fuzz_require(hy_st_find(file, t->name) != NULL, "a tensor is found by its name");
    }
    for (size_t i = 0; i < file->pair_count; i++)
        fuzz_require(hy_st_value(file, file->pairs[i].key) == file->pairs[i].value,
                     "keys of metadata are unique");
}

/* Weights of any origin: taken as a whole or not at all. */
static void take(const char *path)
{
    static const hy_real before = 7;
    const struct hy_weights_order order = {0};
    struct hy_weights_report report = {0};
    struct hy_weights weights;
    struct hy_err e = {0};
    if (hy_weights_open(path, &weights, &e))
        return;
    params.data[0] = before;
    if (hy_weights_take(&weights, &order, &params, 0, &report, &e))
        fuzz_require(e.text[0] && params.data[0] == before, "what is refused leaves no trace");
    hy_weights_report_release(&report);
    hy_weights_close(&weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const hy_real before = 7;
    struct hy_st_file file;
    struct hy_trained trained = {.step = -1};
    struct hy_err e = {0};
    if (!params.data)
        make_model();
    const char *path = fuzz_file(data, size);
    if (!hy_st_read(path, &file, &e)) {
        read_through(&file);
        hy_st_release(&file);
    }
    params.data[0] = before;
    if (hy_checkpoint_load(path, "key", &trained, &params, &optimizer, 0, &e))
        fuzz_require(e.text[0] && trained.step == -1 && params.data[0] == before,
                     "what is refused leaves no trace");
    hy_buf_release(&trained.history);
    take(path);
    return 0;
}
