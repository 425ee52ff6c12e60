/* text.c - language modelling of a text file's bytes: each position predicts the next byte.
 *
 * Splits are cut by position (core/tasks/support/span.h).
 *
 * Perplexity is also given apart for the positions where the context helps (after Zoology,
 * arXiv 2312.04927): an AR hit is the last byte of an n-gram of ar_ngram bytes that was seen
 * earlier in the same window and is rare in the training split. Zoology counts bigrams of words'
 * pieces and calls 1250 occurrences in 10 billion tokens rare; that rate gives less than one
 * occurrence in a small corpus, so ar_rare is the least that counts as rare. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/tasks/ngrams.h"
#include "core/tasks/support/corpus.h"
#include "core/tasks/support/span.h"
#include "core/tasks/task.h"

/* An evaluation split's n-grams that recur within a window, with their counts in training. */
struct recurring {
    int ready;
    struct hy_ngrams counts, seen;
};

struct text {
    struct hy_task_env env;
    struct hy_corpus files[3]; /* by enum hy_split; those without a path are empty */
    struct hy_span splits[3];
    int64_t examples;
    int n;                       /* bytes of an n-gram */
    double rare;                 /* most occurrences in training of a rare one */
    struct recurring *recurring; /* [3], by enum hy_split; filled when first scored */
};

struct text_score {
    struct recurring *recurring;
    double nll[2]; /* of the rest, of AR hits */
    int64_t n[2];
};

static const struct hy_option text_options[] = {
    {"path", HY_OPT_PATH, .required = 1, .help = "the text file"},
    {"valid", HY_OPT_PATH, .help = "a file of its own for validation"},
    {"test", HY_OPT_PATH, .help = "a file of its own for the test"},
    HY_SPAN_OPTIONS,
    {"ar_ngram", HY_OPT_INT, .def = 6, .min = 2, .max = HY_MAX_NGRAM,
     .help = "bytes of an n-gram whose recurrence in a window makes an AR hit"},
    {"ar_rare", HY_OPT_REAL, .def = 1, .min = 0, .max = 1e15,
     .help = "most occurrences in training of a rare n-gram, if 1250 per 10 GB is less"},
    {0},
};

static void text_close(void *state)
{
    struct text *x = state;
    if (!x)
        return;
    for (int i = 0; i < 3; i++) {
        hy_corpus_close(&x->files[i]);
        if (x->recurring) {
            hy_ngrams_release(&x->recurring[i].counts);
            hy_ngrams_release(&x->recurring[i].seen);
        }
    }
    free(x->recurring);
    free(x);
}

static int text_open(const struct hy_value *options, const struct hy_task_env *env, void **state,
                     struct hy_err *e)
{
    int rc = HY_OK;
    struct text *x = calloc(1, sizeof *x);
    if (!x || !(x->recurring = calloc(3, sizeof *x->recurring))) {
        rc = hy_fail_memory(e);
        goto out;
    }
    x->env = *env;
    x->examples = hy_get_int(options, "examples");
    x->n = (int)hy_get_int(options, "ar_ngram");
    for (int i = 0; !rc && i < 3; i++)
        rc = hy_corpus_open(options, hy_span_keys[i], "text", &x->files[i], e);
    const int64_t sizes[] = {x->files[0].size, x->files[1].size, x->files[2].size};
    if (!rc)
        rc = hy_spans_cut(options, env, "text", "bytes", sizes, x->splits, e);
    if (rc)
        goto out;
    x->rare =
        fmax(hy_get_real(options, "ar_rare"), 1250 / 1e10 * (double)x->splits[HY_SPLIT_TRAIN].size);
    *state = x;
    x = NULL;
out:
    text_close(x);
    return rc;
}

static int text_vocab(const void *state)
{
    (void)state;
    return 256;
}

static int64_t text_count(const void *state, enum hy_split split)
{
    const struct text *x = state;
    return hy_span_count(&x->splits[split], &x->env, split, x->examples);
}

static int text_max_labels(const void *state)
{
    const struct text *x = state;
    return x->env.seq_len;
}

/* The sequence's bytes, one more than it has tokens. */
static const unsigned char *sequence(const struct text *x, enum hy_split split, int64_t index)
{
    const struct hy_span *from = &x->splits[split];
    return x->files[from->own ? split : HY_SPLIT_TRAIN].at +
           hy_span_start(from, &x->env, split, x->examples, index);
}

static void text_fill(const void *state, enum hy_split split, int64_t index, int32_t *tokens,
                      int32_t *labels)
{
    const struct text *x = state;
    const unsigned char *bytes = sequence(x, split, index);
    for (int t = 0; t < x->env.seq_len; t++) {
        tokens[t] = bytes[t];
        labels[t] = bytes[t + 1];
    }
}

/* Fills r->counts: first which n-grams recur within a window, then how often training has them. */
static int count_recurring(const struct text *x, enum hy_split split, struct recurring *r,
                           struct hy_err *e)
{
    const int length = x->env.seq_len + 1;
    int rc = hy_ngrams_reserve(&r->seen, (size_t)length, e);
    for (int64_t i = 0; !rc && i < text_count(x, split); i++) {
        const unsigned char *bytes = sequence(x, split, i);
        uint64_t gram = 0;
        hy_ngrams_clear(&r->seen);
        rc = hy_ngrams_reserve(&r->counts, r->counts.used + (size_t)length, e);
        for (int t = 0; !rc && t < length; t++) {
            gram = hy_ngram_next(gram, bytes[t], x->n);
            if (t >= x->n - 1 && (*hy_ngrams_add(&r->seen, gram))++)
                hy_ngrams_add(&r->counts, gram);
        }
    }
    if (rc)
        return rc;
    const unsigned char *train = x->files[HY_SPLIT_TRAIN].at;
    uint64_t gram = 0;
    for (int64_t i = 0; i < x->splits[HY_SPLIT_TRAIN].size; i++) {
        gram = hy_ngram_next(gram, train[i], x->n);
        uint32_t *count = i >= x->n - 1 ? hy_ngrams_find(&r->counts, gram) : NULL;
        if (count)
            *count += *count < UINT32_MAX;
    }
    r->ready = 1;
    return HY_OK;
}

/* Whether an n-gram that recurs in a window of a split that is being scored is rare in training. */
static int is_rare(const struct text *x, uint64_t gram)
{
    for (int i = 0; i < 3; i++) {
        const struct recurring *r = &x->recurring[i];
        const uint32_t *count = r->ready ? hy_ngrams_find(&r->counts, gram) : NULL;
        if (count)
            return *count <= x->rare;
    }
    return 0;
}

static int text_score_begin(const void *state, enum hy_split split, void **scorer, struct hy_err *e)
{
    const struct text *x = state;
    struct recurring *r = &x->recurring[split];
    const int rc = r->ready ? HY_OK : count_recurring(x, split, r, e);
    if (rc)
        return rc;
    struct text_score *score = calloc(1, sizeof *score);
    if (!score)
        return hy_fail_memory(e);
    score->recurring = r;
    *scorer = score;
    return HY_OK;
}

static void text_score_add(const void *state, void *scorer, const struct hy_prediction *p)
{
    const struct text *x = state;
    struct text_score *score = scorer;
    struct recurring *r = score->recurring;
    uint64_t gram = (uint64_t)p->tokens[0];
    hy_ngrams_clear(&r->seen);
    for (int t = 0; t < x->env.seq_len; t++) {
        gram = hy_ngram_next(gram, (unsigned)p->labels[t], x->n);
        const int seen = t >= x->n - 2 && (*hy_ngrams_add(&r->seen, gram))++;
        const int hit = seen && is_rare(x, gram);
        score->nll[hit] += (double)p->nll[t];
        score->n[hit]++;
    }
}

/* The answers of AR hits: the last bytes of the n-grams' last occurrences before. How rare an
 * n-gram is in training is known of splits whose scoring has begun. */
static void text_evidence(const void *state, const int32_t *tokens, const int32_t *labels,
                          int32_t *where)
{
    const struct text *x = state;
    struct hy_ngrams *last = NULL; /* of n-grams: where their last bytes last stood */
    uint64_t gram = (uint64_t)tokens[0];
    for (int i = 0; i < 3; i++)
        if (x->recurring[i].ready)
            last = &x->recurring[i].seen;
    if (last)
        hy_ngrams_clear(last);
    for (int t = 0; t < x->env.seq_len; t++) {
        where[t] = -1;
        gram = hy_ngram_next(gram, (unsigned)labels[t], x->n);
        if (!last || t < x->n - 2)
            continue;
        uint32_t *place = hy_ngrams_add(last, gram);
        if (*place && is_rare(x, gram))
            where[t] = (int32_t)*place;
        *place = (uint32_t)t + 1;
    }
}

static void text_score_end(const void *state, void *scorer, hy_score_fn *emit, void *context)
{
    (void)state;
    static const char *const slices[] = {"rest", "ar_hit"};
    struct text_score *score = scorer;
    const int64_t n = score->n[0] + score->n[1];
    if (n) {
        const double nll = (score->nll[0] + score->nll[1]) / (double)n;
        emit(context, "", "nll", nll, n);
        emit(context, "", "ppl", exp(nll), n);
        emit(context, "", "bits_per_byte", nll / log(2), n);
    }
    for (int i = 0; i < 2; i++)
        if (score->n[i])
            emit(context, slices[i], "ppl", exp(score->nll[i] / (double)score->n[i]), score->n[i]);
    free(score);
}

static int text_content(const struct hy_value *options, char *text, struct hy_err *e)
{
    return hy_corpus_content(options, hy_span_keys, 3, "text", text, e);
}

static const char *const text_not_in_key[] = {"path", "valid", "test", NULL};

static void text_print(const void *state, const int32_t *tokens, const int32_t *labels)
{
    (void)labels;
    const struct text *x = state;
    for (int t = 0; t < x->env.seq_len; t++) {
        const int byte = tokens[t];
        if (byte == '\n')
            fputs("\\n", stdout);
        else if (byte == '\\')
            fputs("\\\\", stdout);
        else if (byte < ' ' || byte == 127)
            printf("\\x%02x", byte);
        else
            putchar(byte);
    }
    putchar('\n');
}

const struct hy_task hy_task_text = {
    .name = "text",
    .summary = "language modelling: the next byte of a text file",
    .options = text_options,
    .measures_text = 1,
    .open = text_open,
    .close = text_close,
    .vocab = text_vocab,
    .count = text_count,
    .max_labels = text_max_labels,
    .fill = text_fill,
    .evidence = text_evidence,
    .score_begin = text_score_begin,
    .score_add = text_score_add,
    .score_end = text_score_end,
    .content = text_content,
    .not_in_key = text_not_in_key,
    .print = text_print,
};
