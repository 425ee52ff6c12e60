#include "core/tasks/support/mad_recall.h"

struct recall {
    struct hy_mad mad;
    int keys, values, noise_vocab; /* how many tokens of each, in this order */
    double noise;
};

static void write_sequence(const struct hy_mad *mad, enum hy_split split, struct hy_rng *rng,
                           int32_t *tokens, int32_t *labels)
{
    (void)split;
    const struct recall *r = (const struct recall *)mad;
    const int pairs = mad->env.seq_len / 2;
    int32_t *value_of = mad->scratch, *seen = value_of + r->keys;
    int seen_count = 0;
    for (int k = 0; k < r->keys; k++)
        value_of[k] = HY_NO_LABEL;
    const int clear = (int)hy_rng_below(rng, (uint32_t)(pairs - 1));
    for (int i = 0; i < pairs; i++) {
        int32_t *pair = tokens + 2 * i;
        const int last = i == pairs - 1;
        if (i != clear && !last && hy_rng_uniform(rng) < r->noise) {
            for (int j = 0; j < 2; j++)
                pair[j] =
                    r->keys + r->values + (int32_t)hy_rng_below(rng, (uint32_t)r->noise_vocab);
            continue;
        }
        const int32_t key = last ? seen[hy_rng_below(rng, (uint32_t)seen_count)]
                                 : (int32_t)hy_rng_below(rng, (uint32_t)r->keys);
        if (value_of[key] == HY_NO_LABEL) {
            value_of[key] = r->keys + (int32_t)hy_rng_below(rng, (uint32_t)r->values);
            seen[seen_count++] = key;
        } else {
            labels[2 * i] = value_of[key];
        }
        pair[0] = key;
        pair[1] = value_of[key];
    }
}

void hy_mad_recall_evidence(const void *state, const int32_t *tokens, const int32_t *labels,
                            int32_t *where)
{
    const struct recall *r = state;
    int32_t *value_at = r->mad.scratch; /* of the key, where its value last stood */
    for (int k = 0; k < r->keys; k++)
        value_at[k] = -1;
    for (int t = 0; t + 1 < r->mad.env.seq_len; t += 2) {
        const int32_t key = tokens[t];
        where[t] = where[t + 1] = -1; /* what the value is followed by is drawn anew */
        if (key >= r->keys)
            continue;
        if (labels[t] != HY_NO_LABEL)
            where[t] = value_at[key];
        value_at[key] = t + 1;
    }
}

int hy_mad_recall_open(const struct hy_value *options, const struct hy_task_env *env,
                       const char *task, int noise_vocab, double noise, void **state,
                       struct hy_err *e)
{
    const int vocab = (int)hy_get_int(options, "vocab"), others = vocab - noise_vocab;
    void *made;
    int rc = hy_mad_check_pairs(env, task, e);
    if (rc)
        return rc;
    if (others < 2) {
        char at[512];
        hy_mark_text(hy_value_get(options, "vocab")->mark, at, sizeof at);
        return hy_fail(e, HY_E_USAGE,
                       "%stask %s: vocab %d leaves no key and value beside %d tokens of noise; "
                       "take %d or more",
                       at, task, vocab, noise_vocab, noise_vocab + 2);
    }
    rc = hy_mad_new(options, env, sizeof(struct recall), others / 2 * 2, &made, e);
    if (rc)
        return rc;
    struct recall *r = made;
    r->mad.write = write_sequence;
    r->mad.most_labels = env->seq_len / 2;
    r->keys = others / 2;
    r->values = others - r->keys;
    r->noise_vocab = noise_vocab;
    r->noise = noise;
    *state = r;
    return HY_OK;
}
