/* mad_selective_copy.c - MAD's selective copying: tokens spread among blanks, to be repeated in
 * their order.
 *
 * The last token says copy, the one before it is the blank, the others are data. A sequence is
 * `copies` data tokens among blanks, the word to copy, and as many blanks as tokens to copy, each
 * labelled with the next of them. As in the authors' sequences each of the first part's blanks lies
 * before a data token drawn uniformly. */
#include "core/tasks/support/mad.h"

struct copy {
    struct hy_mad mad;
    int copies;
};

static const struct hy_option mad_selective_copy_options[] = {
    {"vocab", HY_OPT_INT, .def = 16, .min = 3, .max = 1 << 24,
     .help = "tokens: data, then the blank and the word to copy"},
    {"copies", HY_OPT_INT, .def = 16, .min = 1, .max = 1 << 20, .help = "tokens to copy"},
    HY_MAD_OPTIONS,
};

static void write_sequence(const struct hy_mad *mad, enum hy_split split, struct hy_rng *rng,
                           int32_t *tokens, int32_t *labels)
{
    (void)split;
    const struct copy *c = (const struct copy *)mad;
    const int answers = mad->env.seq_len - c->copies, blanks = answers - 1 - c->copies;
    const int32_t blank = mad->vocab - 2, copy = mad->vocab - 1;
    int32_t *gaps = mad->scratch;
    for (int i = 0; i < c->copies; i++)
        gaps[i] = 0;
    for (int i = 0; i < blanks; i++)
        gaps[hy_rng_below(rng, (uint32_t)c->copies)]++;
    for (int t = 0; t < mad->env.seq_len; t++)
        tokens[t] = blank;
    for (int i = 0, t = 0; i < c->copies; i++) {
        t += gaps[i];
        tokens[t] = labels[answers + i] = (int32_t)hy_rng_below(rng, (uint32_t)(mad->vocab - 2));
        t++;
    }
    tokens[answers - 1] = copy;
}

static int mad_selective_copy_open(const struct hy_value *options, const struct hy_task_env *env,
                                   void **state, struct hy_err *e)
{
    const int copies = (int)hy_get_int(options, "copies");
    void *made;
    if (env->seq_len < 2 * copies + 2) {
        char at[512];
        hy_mark_text(hy_value_get(options, "copies")->mark, at, sizeof at);
        return hy_fail(e, HY_E_USAGE,
                       "%stask mad_selective_copy: copies %d needs seq_len >= 2 * copies + 2 = %d, "
                       "but seq_len is %d; at most %d copies fit",
                       at, copies, 2 * copies + 2, env->seq_len, (env->seq_len - 2) / 2);
    }
    const int rc = hy_mad_new(options, env, sizeof(struct copy), copies, &made, e);
    if (rc)
        return rc;
    struct copy *c = made;
    c->mad.write = write_sequence;
    c->mad.most_labels = c->copies = copies;
    *state = c;
    return HY_OK;
}

const struct hy_task hy_task_mad_selective_copy = {
    .name = "mad_selective_copy",
    .summary = "MAD selective copying: repeat the tokens that lie among blanks",
    .options = mad_selective_copy_options,
    .measures_recall = 1,
    .open = mad_selective_copy_open,
    HY_MAD_FUNCTIONS,
};
