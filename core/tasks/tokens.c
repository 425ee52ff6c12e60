/* tokens.c - language modelling of token ids that a tokenizer has written to files: each position
 * predicts the next id.
 *
 * core/tasks/support/token_files.h says which files; several are read as one, so that a sequence
 * may cross from a file to the next. Splits are cut by position (core/tasks/support/span.h).
 *
 * Losses are per token, and tokens of different tokenizers hold different amounts of text. Bits per
 * byte are comparable; they are given where bytes_per_token is known. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/tasks/support/span.h"
#include "core/tasks/support/token_files.h"

enum { MOST_TOKENS = 1 << 24 };

struct tokens {
    struct hy_task_env env;
    struct hy_token_files files[3]; /* by enum hy_split */
    struct hy_span splits[3];
    int64_t examples;
    int vocab;
    double bytes_per_token; /* 0: not known */
    int32_t *scratch;       /* of a sequence and its last label */
};

struct tokens_score {
    double nll;
    int64_t n;
};

static const struct hy_option tokens_options[] = {
    {"path", HY_OPT_STRINGS, .required = 1,
     .help = "files of token ids: raw, with llm.c's header, or .npy"},
    {"valid", HY_OPT_STRINGS, .help = "files of their own for validation"},
    {"test", HY_OPT_STRINGS, .help = "files of their own for the test"},
    {"dtype", HY_OPT_CHOICE, .text = "uint16", .choices = "uint16|uint32",
     .help = "ids of files without a header, little-endian"},
    {"vocab", HY_OPT_INT, .def = 0, .min = 0, .max = MOST_TOKENS, .text = "auto",
     .help = "how many ids there are; auto, or 0: as many as the largest in the files demands"},
    {"bytes_per_token", HY_OPT_REAL, .def = 0, .min = 0, .max = 1e6,
     .help = "bytes of text that a token stands for on average, for bits per byte; 0: not known"},
    HY_SPAN_OPTIONS,
    {0},
};

static void tokens_close(void *state)
{
    struct tokens *x = state;
    if (!x)
        return;
    for (int i = 0; i < 3; i++)
        hy_token_files_close(&x->files[i]);
    free(x->scratch);
    free(x);
}

/* Fails where the files are no files of ids below vocab; finds vocab where it is not given. */
static int open_files(struct tokens *x, const struct hy_value *options, struct hy_err *e)
{
    const enum hy_token_type raw =
        strcmp(hy_get_string(options, "dtype"), "uint16") == 0 ? HY_TOKEN_U16 : HY_TOKEN_U32;
    const int64_t given = hy_get_int(options, "vocab");
    int64_t largest = 0;
    int rc = HY_OK;
    for (int i = 0; !rc && i < 3; i++)
        rc = hy_token_files_open(options, hy_span_keys[i], raw, &x->files[i], e);
    for (int i = 0; !rc && i < 3; i++)
        rc = hy_token_files_check(&x->files[i], given ? given : MOST_TOKENS, &largest, e);
    x->vocab = (int)(given ? given : largest + 1);
    return rc;
}

static int tokens_open(const struct hy_value *options, const struct hy_task_env *env, void **state,
                       struct hy_err *e)
{
    int rc = HY_OK;
    struct tokens *x = calloc(1, sizeof *x);
    if (!x || !(x->scratch = calloc((size_t)env->seq_len + 1, sizeof *x->scratch))) {
        rc = hy_fail_memory(e);
        goto out;
    }
    x->env = *env;
    x->examples = hy_get_int(options, "examples");
    x->bytes_per_token = hy_get_real(options, "bytes_per_token");
    rc = open_files(x, options, e);
    const int64_t sizes[] = {x->files[0].size, x->files[1].size, x->files[2].size};
    if (!rc)
        rc = hy_spans_cut(options, env, "tokens", "tokens", sizes, x->splits, e);
    if (rc)
        goto out;
    *state = x;
    x = NULL;
out:
    tokens_close(x);
    return rc;
}

static int tokens_vocab(const void *state)
{
    const struct tokens *x = state;
    return x->vocab;
}

static int64_t tokens_count(const void *state, enum hy_split split)
{
    const struct tokens *x = state;
    return hy_span_count(&x->splits[split], &x->env, split, x->examples);
}

static int tokens_max_labels(const void *state)
{
    const struct tokens *x = state;
    return x->env.seq_len;
}

static void tokens_fill(const void *state, enum hy_split split, int64_t index, int32_t *tokens,
                        int32_t *labels)
{
    const struct tokens *x = state;
    const struct hy_span *from = &x->splits[split];
    const size_t length = (size_t)x->env.seq_len;
    hy_token_files_read(&x->files[from->own ? split : HY_SPLIT_TRAIN],
                        hy_span_start(from, &x->env, split, x->examples, index), x->env.seq_len + 1,
                        x->scratch);
    memcpy(tokens, x->scratch, length * sizeof *tokens);
    memcpy(labels, x->scratch + 1, length * sizeof *labels);
}

static int tokens_score_begin(const void *state, enum hy_split split, void **scorer,
                              struct hy_err *e)
{
    (void)state, (void)split;
    struct tokens_score *score = calloc(1, sizeof *score);
    if (!score)
        return hy_fail_memory(e);
    *scorer = score;
    return HY_OK;
}

static void tokens_score_add(const void *state, void *scorer, const struct hy_prediction *p)
{
    const struct tokens *x = state;
    struct tokens_score *score = scorer;
    for (int t = 0; t < x->env.seq_len; t++)
        score->nll += (double)p->nll[t];
    score->n += x->env.seq_len;
}

static void tokens_score_end(const void *state, void *scorer, hy_score_fn *emit, void *context)
{
    const struct tokens *x = state;
    const struct tokens_score *score = scorer;
    if (score->n) {
        const double nll = score->nll / (double)score->n;
        emit(context, "", "nll", nll, score->n);
        emit(context, "", "ppl", exp(nll), score->n);
        if (x->bytes_per_token > 0)
            emit(context, "", "bits_per_byte", nll / log(2) / x->bytes_per_token, score->n);
    }
    free(scorer);
}

static int tokens_content(const struct hy_value *options, char *text, struct hy_err *e)
{
    return hy_corpus_content(options, hy_span_keys, 3, "tokens", text, e);
}

static const char *const tokens_not_in_key[] = {"path", "valid", "test", NULL};

static void tokens_print(const void *state, const int32_t *tokens, const int32_t *labels)
{
    (void)labels;
    const struct tokens *x = state;
    for (int t = 0; t < x->env.seq_len; t++)
        printf(t ? " %d" : "%d", tokens[t]);
    putchar('\n');
}

const struct hy_task hy_task_tokens = {
    .name = "tokens",
    .summary = "language modelling: the next id of files of token ids",
    .options = tokens_options,
    .measures_text = 1,
    .open = tokens_open,
    .close = tokens_close,
    .vocab = tokens_vocab,
    .count = tokens_count,
    .max_labels = tokens_max_labels,
    .fill = tokens_fill,
    .score_begin = tokens_score_begin,
    .score_add = tokens_score_add,
    .score_end = tokens_score_end,
    .content = tokens_content,
    .not_in_key = tokens_not_in_key,
    .print = tokens_print,
};
