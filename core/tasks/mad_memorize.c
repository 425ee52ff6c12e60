/* mad_memorize.c - MAD's memorisation: facts that only training tells.
 *
 * The last token asks; of the others the lower half are keys, the upper half values. A sequence is
 * pairs of a key and the asking token, which is labelled with the key's value. The map from keys to
 * distinct values is one for all sequences and splits: it is of the task (map_seed), not of the
 * run, and never appears as input. */
#include "core/tasks/support/mad.h"
#include "core/tasks/support/sequence.h"

static const struct hy_option mad_memorize_options[] = {
    {"vocab", HY_OPT_INT, .def = 256, .min = 3, .max = 1 << 24,
     .help = "tokens: keys, as many values, one that asks"},
    {"map_seed", HY_OPT_INT, .def = 12345, .min = 0, .max = 0x1p53,
     .help = "chooses which value belongs to which key"},
    HY_MAD_OPTIONS,
};

static int keys_of(const struct hy_mad *m)
{
    return (m->vocab - 1) / 2;
}

static void write_sequence(const struct hy_mad *m, enum hy_split split, struct hy_rng *rng,
                           int32_t *tokens, int32_t *labels)
{
    (void)split;
    const int32_t *value_of = m->scratch;
    for (int t = 0; t < m->env.seq_len; t += 2) {
        tokens[t] = (int32_t)hy_rng_below(rng, (uint32_t)keys_of(m));
        tokens[t + 1] = m->vocab - 1;
        labels[t + 1] = value_of[tokens[t]];
    }
}

static int mad_memorize_open(const struct hy_value *options, const struct hy_task_env *env,
                             void **state, struct hy_err *e)
{
    const int64_t vocab = hy_get_int(options, "vocab");
    void *made;
    int rc = hy_mad_check_pairs(env, "mad_memorize", e);
    if (!rc)
        rc = hy_mad_new(options, env, sizeof(struct hy_mad), 2 * vocab, &made, e);
    if (rc)
        return rc;
    struct hy_mad *m = made;
    struct hy_rng facts =
        hy_rng_start((uint64_t)hy_get_int(options, "map_seed"), HY_RNG_FACTS, 0, 0);
    hy_draw_distinct(&facts, m->scratch + vocab, keys_of(m), m->vocab - 1, keys_of(m), 1,
                     m->scratch);
    m->write = write_sequence;
    m->most_labels = env->seq_len / 2;
    *state = m;
    return HY_OK;
}

const struct hy_task hy_task_mad_memorize = {
    .name = "mad_memorize",
    .summary = "MAD memorisation: values of keys, the same in all sequences, learnt by training",
    .options = mad_memorize_options,
    .measures_recall = 1,
    .open = mad_memorize_open,
    HY_MAD_FUNCTIONS,
};
