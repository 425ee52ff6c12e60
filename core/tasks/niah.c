/* niah.c - needle in a haystack, after RULER (arXiv 2404.06654), small enough for small models.
 *
 * A haystack, random tokens or bytes of a file, holds needles [MARK key SEP value...]; behind it
 * stand the questions [QUERY key SEP], each followed by its answer. The values of an answer are
 * labelled where the token before them stands, so an answer whose labels are all hit is what greedy
 * decoding would write. By mode:
 *   single      one needle of one value
 *   multikey    `count` needles, one of which is asked
 *   multivalue  one needle of `count` values, all asked
 *   multiquery  `count` needles, each asked
 * The first question's needle lies at a controlled depth: evaluation sequences take turns among
 * `depths`, training ones lie anywhere, as do all other needles.
 *
 * Tokens: MARK, SEP, QUERY, then the keys, the values, and the haystack's own. A file's bytes are
 * scenery: every split reads windows from all of it. */
#include <stdlib.h>
#include <string.h>

#include "core/tasks/support/corpus.h"
#include "core/tasks/support/sequence.h"
#include "core/tasks/support/tally.h"

enum { MARK, SEP, QUERY, FIRST_KEY };

struct needle {
    int place; /* tokens of the haystack before it */
    int32_t key;
    int32_t *values;
};

struct niah {
    struct hy_task_env env;
    int keys, values, hay; /* how many tokens of each */
    int needles, values_each, queries, hay_length;
    int depth_count, *depths; /* percent */
    int64_t examples;
    struct hy_corpus corpus;
    struct needle *plan, **order; /* scratch: as drawn, as laid */
    int32_t *deck, *drawn;        /* scratch: keys to draw from, drawn */
};

static const struct hy_option niah_options[] = {
    {"mode", HY_OPT_CHOICE, .text = "single", .choices = "single|multikey|multivalue|multiquery",
     .help = "one needle; several, one asked; one of several values; several, all asked"},
    {"count", HY_OPT_INT, .def = 4, .min = 1, .max = 1 << 16,
     .help = "needles of multikey and multiquery, values of multivalue"},
    {"path", HY_OPT_PATH, .help = "a file whose bytes are the haystack; none: random tokens"},
    {"keys", HY_OPT_INT, .def = 64, .min = 1, .max = 1 << 22, .help = "tokens that are keys"},
    {"values", HY_OPT_INT, .def = 64, .min = 2, .max = 1 << 22, .help = "tokens that are values"},
    {"hay", HY_OPT_INT, .def = 64, .min = 1, .max = 1 << 22,
     .help = "tokens of a random haystack; of a file's there are 256"},
    {"depths", HY_OPT_INTS, .text = "0, 25, 50, 75, 100", .min = 0, .max = 100,
     .help = "where evaluation hides the needle, in percent; sequences take turns"},
    {"examples", HY_OPT_INT, .def = 64, .min = 1, .max = 1 << 30,
     .help = "sequences per depth in each of validation and test"},
    {0},
};

static const char *const file_keys[] = {"path"};

static void niah_close(void *state)
{
    struct niah *x = state;
    if (!x)
        return;
    hy_corpus_close(&x->corpus);
    free(x->depths);
    free(x->plan);
    free(x->order);
    free(x->deck);
    free(x->drawn);
    free(x);
}

static int needle_length(const struct niah *x)
{
    return 3 + x->values_each;
}

static void choose_mode(struct niah *x, const char *mode, int count)
{
    const int asks_all = !strcmp(mode, "multiquery");
    x->needles = asks_all || !strcmp(mode, "multikey") ? count : 1;
    x->values_each = !strcmp(mode, "multivalue") ? count : 1;
    x->queries = asks_all ? count : 1;
}

static int check(const struct niah *x, const struct hy_value *options, struct hy_err *e)
{
    char at[512];
    hy_mark_text(hy_value_get(options, "count")->mark, at, sizeof at);
    if (x->needles > x->keys)
        return hy_fail(e, HY_E_USAGE,
                       "%stask niah: %d needles need as many distinct keys, but keys is %d", at,
                       x->needles, x->keys);
    if (x->hay_length < 1)
        return hy_fail(e, HY_E_USAGE,
                       "%stask niah: %d needles and %d questions need seq_len >= %d, but it is %d",
                       at, x->needles, x->queries, x->env.seq_len - x->hay_length + 1,
                       x->env.seq_len);
    if (x->corpus.at && x->corpus.size < x->hay_length) {
        hy_mark_text(hy_value_get(options, "path")->mark, at, sizeof at);
        return hy_fail(
            e, HY_E_USAGE,
            "%stask niah: %s has %lld bytes, but a haystack needs %d; take a larger file "
            "or a shorter sequence",
            at, hy_get_string(options, "path"), (long long)x->corpus.size, x->hay_length);
    }
    return HY_OK;
}

static int niah_open(const struct hy_value *options, const struct hy_task_env *env, void **state,
                     struct hy_err *e)
{
    const struct hy_value *depths = hy_get_list(options, "depths");
    struct niah *x = calloc(1, sizeof *x);
    int rc = HY_OK;
    if (!x)
        return hy_fail_memory(e);
    x->env = *env;
    x->keys = (int)hy_get_int(options, "keys");
    x->values = (int)hy_get_int(options, "values");
    x->examples = hy_get_int(options, "examples");
    choose_mode(x, hy_get_string(options, "mode"), (int)hy_get_int(options, "count"));
    x->hay_length =
        env->seq_len - x->needles * needle_length(x) - x->queries * needle_length(x) + 1;
    x->depth_count = (int)depths->count;
    x->depths = calloc(depths->count + 1, sizeof *x->depths);
    x->plan = calloc((size_t)x->needles, sizeof *x->plan);
    x->order = calloc((size_t)x->needles, sizeof *x->order);
    x->deck = calloc((size_t)x->keys, sizeof *x->deck);
    x->drawn = calloc((size_t)x->needles * (size_t)(1 + x->values_each), sizeof *x->drawn);
    if (!x->depths || !x->plan || !x->order || !x->deck || !x->drawn) {
        rc = hy_fail_memory(e);
        goto out;
    }
    for (int i = 0; i < x->depth_count; i++)
        x->depths[i] = (int)depths->items[i]->integer;
    rc = hy_corpus_open(options, "path", "niah", &x->corpus, e);
    if (!rc)
        rc = check(x, options, e);
    if (rc)
        goto out;
    x->hay = x->corpus.at ? 256 : (int)hy_get_int(options, "hay");
    *state = x;
    x = NULL;
out:
    niah_close(x);
    return rc;
}

static int niah_vocab(const void *state)
{
    const struct niah *x = state;
    return FIRST_KEY + x->keys + x->values + x->hay;
}

static int64_t niah_count(const void *state, enum hy_split split)
{
    const struct niah *x = state;
    return split == HY_SPLIT_TRAIN ? INT64_MAX : x->examples * x->depth_count;
}

static int niah_max_labels(const void *state)
{
    const struct niah *x = state;
    return x->queries * x->values_each;
}

/* Draws the needles in the order in which they are asked. depth: of the first, percent, or -1. */
static void draw_needles(const struct niah *x, struct hy_rng *rng, int depth)
{
    hy_draw_distinct(rng, x->deck, FIRST_KEY, FIRST_KEY + x->keys, x->needles, 1, x->drawn);
    for (int i = 0; i < x->needles; i++) {
        struct needle *n = &x->plan[i];
        n->key = x->drawn[i];
        n->values = x->drawn + x->needles + i * x->values_each;
        for (int j = 0; j < x->values_each; j++)
            n->values[j] = FIRST_KEY + x->keys + (int32_t)hy_rng_below(rng, (uint32_t)x->values);
        n->place = i || depth < 0 ? (int)hy_rng_below(rng, (uint32_t)x->hay_length + 1)
                                  : (int)((int64_t)depth * x->hay_length / 100);
        x->order[i] = n;
    }
}

static int by_place(const void *left, const void *right)
{
    const struct needle *const *a = left, *const *b = right;
    if ((*a)->place != (*b)->place)
        return (*a)->place < (*b)->place ? -1 : 1;
    return *a < *b ? -1 : *a > *b;
}

/* Writes [opener key SEP value...] with the given number of values; returns the end. */
static int32_t *write_needle(const struct needle *n, int32_t opener, int values, int32_t *at)
{
    *at++ = opener;
    *at++ = n->key;
    *at++ = SEP;
    memcpy(at, n->values, (size_t)values * sizeof *at);
    return at + values;
}

static void niah_fill(const void *state, enum hy_split split, int64_t index, int32_t *tokens,
                      int32_t *labels)
{
    const struct niah *x = state;
    const int first_hay = FIRST_KEY + x->keys + x->values;
    struct hy_rng rng = hy_task_rng(&x->env, split, index);
    draw_needles(x, &rng, split == HY_SPLIT_TRAIN ? -1 : x->depths[index % x->depth_count]);
    qsort(x->order, (size_t)x->needles, sizeof(struct needle *), by_place);
    const uint64_t high = hy_rng_u32(&rng), random = high << 32 | hy_rng_u32(&rng);
    const unsigned char *bytes = x->corpus.at;
    if (bytes)
        bytes +=
            (uint64_t)((unsigned __int128)random * (uint64_t)(x->corpus.size - x->hay_length + 1) >>
                       64);
    int32_t *at = tokens;
    for (int place = 0, laid = 0; place <= x->hay_length; place++) {
        for (; laid < x->needles && x->order[laid]->place == place; laid++)
            at = write_needle(x->order[laid], MARK, x->values_each, at);
        if (place < x->hay_length)
            *at++ =
                first_hay + (bytes ? bytes[place] : (int32_t)hy_rng_below(&rng, (uint32_t)x->hay));
    }
    hy_clear_labels(labels, x->env.seq_len);
    for (int q = 0; q < x->queries; q++) {
        const struct needle *n = &x->plan[q];
        memcpy(labels + (at - tokens) + 2, n->values, (size_t)x->values_each * sizeof *labels);
        /* The last value of all is a label but no input. */
        at = write_needle(n, QUERY, x->values_each - (q == x->queries - 1), at);
    }
}

/* Where the values of the needle of this key begin, of all that are laid before `end`. */
static int values_of(const int32_t *tokens, int end, int32_t key)
{
    for (int t = 0; t + 3 < end; t++)
        if (tokens[t] == MARK && tokens[t + 1] == key)
            return t + 3;
    return -1;
}

static void niah_evidence(const void *state, const int32_t *tokens, const int32_t *labels,
                          int32_t *where)
{
    const struct niah *x = state;
    for (int t = 0, at = -1; t < x->env.seq_len; t++) {
        where[t] = -1;
        if (labels[t] == HY_NO_LABEL)
            continue;
        if (tokens[t] == SEP) /* the question's: the first value is asked */
            at = values_of(tokens, t, tokens[t - 1]);
        where[t] = at < 0 ? -1 : at++;
    }
}

static int niah_score_begin(const void *state, enum hy_split split, void **scorer, struct hy_err *e)
{
    (void)split;
    const struct niah *x = state;
    struct hy_tally *tally;
    const int rc = hy_tally_new(x->depth_count, &tally, e);
    if (!rc)
        *scorer = tally;
    return rc;
}

static void niah_score_add(const void *state, void *scorer, const struct hy_prediction *p)
{
    const struct niah *x = state;
    int exact = 1, first = 1, labels = 0;
    for (int t = 0; t < x->env.seq_len; t++) {
        if (p->labels[t] == HY_NO_LABEL)
            continue;
        exact &= p->hit[t] != 0;
        if (++labels == x->values_each)
            first = exact;
    }
    hy_tally_add(scorer, HY_WHOLE, exact);
    hy_tally_add(scorer, (int)(p->index % x->depth_count), first);
}

static void niah_score_end(const void *state, void *scorer, hy_score_fn *emit, void *context)
{
    const struct niah *x = state;
    hy_tally_end(scorer, "depth", x->depths, emit, context);
}

static int niah_content(const struct hy_value *options, char *text, struct hy_err *e)
{
    return hy_corpus_content(options, file_keys, 1, "niah", text, e);
}

static const char *const niah_not_in_key[] = {"path", NULL};

static void niah_print(const void *state, const int32_t *tokens, const int32_t *labels)
{
    const struct niah *x = state;
    hy_print_tokens(tokens, labels, x->env.seq_len);
}

const struct hy_task hy_task_niah = {
    .name = "niah",
    .summary = "needle in a haystack: the value of a key hidden in a long context",
    .options = niah_options,
    .measures_recall = 1,
    .open = niah_open,
    .close = niah_close,
    .vocab = niah_vocab,
    .count = niah_count,
    .max_labels = niah_max_labels,
    .fill = niah_fill,
    .evidence = niah_evidence,
    .score_begin = niah_score_begin,
    .score_add = niah_score_add,
    .score_end = niah_score_end,
    .content = niah_content,
    .not_in_key = niah_not_in_key,
    .print = niah_print,
};
