/* mad_fuzzy_recall.c - MAD's fuzzy in-context recall: keys and values are motifs of several
 * adjacent tokens.
 *
 * The last token pads; of the others the lower half make up keys, the upper half values, the tokens
 * of a motif being distinct. A motif's length is uniform from 1 to its longest, but keys of
 * evaluation sequences have the longest. A key's value is drawn when the key first occurs. The
 * sequence ends with a pair whose key is drawn from those that occurred, and begins with as much
 * padding as then fills it. Where a key occurs again, all tokens of its value are scored.
 *
 * The authors draw the last key first and put it in at a drawn position, which now and then lies
 * beyond the end and leaves the question without an answer; drawing it from what occurred cannot.
 */
#include <string.h>

#include "core/tasks/support/mad.h"
#include "core/tasks/support/sequence.h"

struct pair {
    int32_t key, key_length, value_length; /* key: its first token's place; the value follows */
};

struct fuzzy {
    struct hy_mad mad;
    int keys, values; /* tokens that make up keys, values, in this order */
    int longest_key, longest_value;
    struct pair *pairs; /* scratch, behind this struct */
};

static const struct hy_option mad_fuzzy_recall_options[] = {
    {"vocab", HY_OPT_INT, .def = 16, .min = 3, .max = 1 << 24,
     .help = "tokens: those of keys, as many of values, one that pads"},
    {"key_length", HY_OPT_INT, .def = 3, .min = 1, .max = 1 << 10,
     .help = "longest key, in tokens"},
    {"value_length", HY_OPT_INT, .def = 3, .min = 1, .max = 1 << 10,
     .help = "longest value, in tokens"},
    HY_MAD_PREDICT,
    HY_MAD_OPTIONS,
};

/* The last of count pairs with the same key; -1 where there is none. */
static int earlier_key(const int32_t *tokens, const struct pair *pairs, int count, int key,
                       int length)
{
    for (int i = count - 1; i >= 0; i--)
        if (pairs[i].key_length == length &&
            !memcmp(tokens + pairs[i].key, tokens + key, (size_t)length * sizeof *tokens))
            return i;
    return -1;
}

/* Copies the value of pair p behind the key that ends at `end`, and labels it; returns its end. */
static int repeat_value(const struct pair *p, int end, int32_t *tokens, int32_t *labels)
{
    const int32_t *value = tokens + p->key + p->key_length;
    memcpy(tokens + end, value, (size_t)p->value_length * sizeof *tokens);
    memcpy(labels + end - 1, value, (size_t)p->value_length * sizeof *labels);
    return end + p->value_length;
}

static void write_sequence(const struct hy_mad *mad, enum hy_split split, struct hy_rng *rng,
                           int32_t *tokens, int32_t *labels)
{
    const struct fuzzy *f = (const struct fuzzy *)mad;
    const int length = mad->env.seq_len, longest = f->longest_key + f->longest_value;
    int32_t *deck = mad->scratch;
    struct pair *pairs = f->pairs;
    int n = 0, count = 0;
    while (n + 2 * longest <= length) {
        const int key_length = split == HY_SPLIT_TRAIN
                                   ? 1 + (int)hy_rng_below(rng, (uint32_t)f->longest_key)
                                   : f->longest_key;
        hy_draw_distinct(rng, deck, 0, f->keys, key_length, 1, tokens + n);
        const int known = earlier_key(tokens, pairs, count, n, key_length);
        if (known >= 0) {
            n = repeat_value(&pairs[known], n + key_length, tokens, labels);
            continue;
        }
        const int value_length = 1 + (int)hy_rng_below(rng, (uint32_t)f->longest_value);
        hy_draw_distinct(rng, deck, f->keys, f->keys + f->values, value_length, 1,
                         tokens + n + key_length);
        pairs[count++] = (struct pair){n, key_length, value_length};
        n += key_length + value_length;
    }
    const struct pair *asked = &pairs[hy_rng_below(rng, (uint32_t)count)];
    memcpy(tokens + n, tokens + asked->key, (size_t)asked->key_length * sizeof *tokens);
    n = repeat_value(asked, n + asked->key_length, tokens, labels);

    const int pad = length - n;
    memmove(tokens + pad, tokens, (size_t)n * sizeof *tokens);
    memmove(labels + pad, labels, (size_t)n * sizeof *labels);
    for (int t = 0; t < pad; t++) {
        tokens[t] = mad->vocab - 1;
        labels[t] = HY_NO_LABEL;
    }
}

static int end_of_run(const int32_t *tokens, int at, int end, int from, int to)
{
    while (at < end && tokens[at] >= from && tokens[at] < to)
        at++;
    return at;
}

/* Motifs of keys and of values alternate, so each is as long as its kind of tokens lasts. */
static void mad_fuzzy_recall_evidence(const void *state, const int32_t *tokens,
                                      const int32_t *labels, int32_t *where)
{
    const struct fuzzy *f = state;
    const int end = f->mad.env.seq_len, pad = f->mad.vocab - 1;
    for (int t = 0; t < end; t++)
        where[t] = -1;
    int at = end_of_run(tokens, 0, end, pad, pad + 1);
    for (int count = 0; at < end; count++) {
        const int value = end_of_run(tokens, at, end, 0, f->keys);
        struct pair *p = &f->pairs[count];
        *p = (struct pair){at, value - at, 0};
        at = end_of_run(tokens, value, end, f->keys, pad);
        p->value_length = at - value;
        const int known = earlier_key(tokens, f->pairs, count, p->key, p->key_length);
        for (int i = 0; known >= 0 && i < p->value_length; i++)
            if (labels[value - 1 + i] != HY_NO_LABEL)
                where[value - 1 + i] = f->pairs[known].key + p->key_length + i;
    }
}

static int check_motif(const struct hy_value *options, const char *key, int tokens,
                       struct hy_err *e)
{
    const int longest = (int)hy_get_int(options, key);
    char at[512];
    if (longest <= tokens)
        return HY_OK;
    hy_mark_text(hy_value_get(options, key)->mark, at, sizeof at);
    return hy_fail(e, HY_E_USAGE,
                   "%stask mad_fuzzy_recall: %s %d needs as many distinct tokens, but vocab %d has "
                   "%d for it; take %d or less",
                   at, key, longest, (int)hy_get_int(options, "vocab"), tokens, tokens);
}

static int mad_fuzzy_recall_open(const struct hy_value *options, const struct hy_task_env *env,
                                 void **state, struct hy_err *e)
{
    const int others = (int)hy_get_int(options, "vocab") - 1, keys = others / 2;
    const int longest_key = (int)hy_get_int(options, "key_length");
    const int longest_value = (int)hy_get_int(options, "value_length");
    const int longest = longest_key + longest_value;
    void *made;
    int rc = check_motif(options, "key_length", keys, e);
    if (!rc)
        rc = check_motif(options, "value_length", others - keys, e);
    if (!rc && env->seq_len < 2 * longest)
        rc = hy_fail(e, HY_E_USAGE,
                     "task mad_fuzzy_recall: two pairs of at most %d + %d tokens need seq_len %d, "
                     "but it is %d",
                     longest_key, longest_value, 2 * longest, env->seq_len);
    if (!rc)
        rc = hy_mad_new(options, env,
                        sizeof(struct fuzzy) + (size_t)env->seq_len / 2 * sizeof(struct pair),
                        others, &made, e);
    if (rc)
        return rc;
    struct fuzzy *f = made;
    f->pairs = (struct pair *)(f + 1);
    f->mad.write = write_sequence;
    f->mad.most_labels = env->seq_len - 1;
    f->keys = keys;
    f->values = others - keys;
    f->longest_key = longest_key;
    f->longest_value = longest_value;
    *state = f;
    return HY_OK;
}

const struct hy_task hy_task_mad_fuzzy_recall = {
    .name = "mad_fuzzy_recall",
    .summary = "MAD fuzzy recall: keys and values of several adjacent tokens",
    .options = mad_fuzzy_recall_options,
    .measures_recall = 1,
    .open = mad_fuzzy_recall_open,
    .evidence = mad_fuzzy_recall_evidence,
    HY_MAD_FUNCTIONS,
};
