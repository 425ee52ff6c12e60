#include "core/tasks/support/span.h"

const char *const hy_span_keys[3] = {"path", "valid", "test"};

/* Fails for the first split that is too small for a sequence. */
static int check(const struct hy_value *options, const struct hy_task_env *env, const char *task,
                 const char *unit, const struct hy_span spans[3], struct hy_err *e)
{
    for (int i = 0; i < 3; i++) {
        if (spans[i].size > env->seq_len)
            continue;
        char place[512];
        const char *key = hy_span_keys[spans[i].own ? i : HY_SPLIT_TRAIN];
        const struct hy_value *named = hy_value_get(options, key);
        const int several = named->type == HY_V_LIST;
        return hy_fail(e, HY_E_USAGE,
                       "%stask %s: the %s split of %s%s has %lld %s, but a sequence of %d needs "
                       "%lld; take a larger file, larger fractions or a shorter sequence",
                       hy_mark_text(named->mark, place, sizeof place), task,
                       hy_split_name((enum hy_split)i),
                       several ? named->items[0]->string : named->string,
                       several && named->count > 1 ? " and others" : "", (long long)spans[i].size,
                       unit, env->seq_len, env->seq_len + 1LL);
    }
    return HY_OK;
}

int hy_spans_cut(const struct hy_value *options, const struct hy_task_env *env, const char *task,
                 const char *unit, const int64_t sizes[3], struct hy_span spans[3],
                 struct hy_err *e)
{
    static const char *const fraction_keys[] = {NULL, "valid_fraction", "test_fraction"};
    int64_t left = sizes[HY_SPLIT_TRAIN];
    for (int i = HY_SPLIT_TEST; i > HY_SPLIT_TRAIN; i--) {
        if (sizes[i]) {
            spans[i] = (struct hy_span){1, 0, sizes[i]};
            continue;
        }
        const double fraction = hy_get_real(options, fraction_keys[i]);
        const int64_t size = (int64_t)(fraction * (double)sizes[HY_SPLIT_TRAIN]);
        left = size < left ? left - size : 0;
        spans[i] = (struct hy_span){0, left, size};
    }
    spans[HY_SPLIT_TRAIN] = (struct hy_span){1, 0, left};
    return check(options, env, task, unit, spans, e);
}

static int64_t windows(const struct hy_span *s, const struct hy_task_env *env)
{
    return (s->size - 1) / env->seq_len;
}

int64_t hy_span_count(const struct hy_span *s, const struct hy_task_env *env, enum hy_split split,
                      int64_t examples)
{
    if (split == HY_SPLIT_TRAIN)
        return INT64_MAX;
    const int64_t all = windows(s, env);
    return examples && examples < all ? examples : all;
}

int64_t hy_span_start(const struct hy_span *s, const struct hy_task_env *env, enum hy_split split,
                      int64_t examples, int64_t index)
{
    if (split != HY_SPLIT_TRAIN) {
        const unsigned __int128 scaled = (unsigned __int128)index * (uint64_t)windows(s, env);
        const int64_t count = hy_span_count(s, env, split, examples);
        return s->begin + (int64_t)(scaled / (uint64_t)count) * env->seq_len;
    }
    struct hy_rng rng = hy_task_rng(env, split, index);
    const uint64_t high = hy_rng_u32(&rng), random = high << 32 | hy_rng_u32(&rng);
    const uint64_t starts = (uint64_t)(s->size - env->seq_len);
    return s->begin + (int64_t)((unsigned __int128)random * starts >> 64);
}
