/* mad_compress.c - MAD's compression: a sequence is to be rebuilt from the state of its last token.
 *
 * The last token says compress, the others are drawn uniformly. Each position but the last is
 * labelled with its own token, which only the model's readout can be asked for: it sees the last
 * token's state and a position, so that what counts is how much of a sequence that state holds.
 * (The authors also score the last position, where there is nothing to find out.) */
#include "core/tasks/support/mad.h"

static const struct hy_option mad_compress_options[] = {
    {"vocab", HY_OPT_INT, .def = 16, .min = 2, .max = 1 << 24,
     .help = "tokens: data, then the word to compress"},
    HY_MAD_OPTIONS,
};

static void write_sequence(const struct hy_mad *m, enum hy_split split, struct hy_rng *rng,
                           int32_t *tokens, int32_t *labels)
{
    (void)split;
    const int last = m->env.seq_len - 1;
    for (int t = 0; t < last; t++)
        tokens[t] = labels[t] = (int32_t)hy_rng_below(rng, (uint32_t)(m->vocab - 1));
    tokens[last] = m->vocab - 1;
}

static int mad_compress_open(const struct hy_value *options, const struct hy_task_env *env,
                             void **state, struct hy_err *e)
{
    void *made;
    if (env->seq_len < 2)
        return hy_fail(e, HY_E_USAGE,
                       "task mad_compress: a token and the word to compress need seq_len >= 2, but "
                       "it is %d",
                       env->seq_len);
    const int rc = hy_mad_new(options, env, sizeof(struct hy_mad), 1, &made, e);
    if (rc)
        return rc;
    struct hy_mad *m = made;
    m->write = write_sequence;
    m->most_labels = env->seq_len - 1;
    *state = m;
    return HY_OK;
}

const struct hy_task hy_task_mad_compress = {
    .name = "mad_compress",
    .summary =
        "MAD compression: rebuild the tokens from the last one's state; beside no other task",
    .options = mad_compress_options,
    .measures_recall = 1,
    .uses_readout = 1,
    .open = mad_compress_open,
    HY_MAD_FUNCTIONS,
};
