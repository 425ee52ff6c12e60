/* mqar.c - multi-query associative recall (Arora et al., Zoology, arXiv 2312.04927).
 *
 * A sequence of T tokens over a vocabulary V begins with its N pairs, k1 v1 ... kN vN: keys from
 * [1, V/2), values from [V/2, V), each drawn without replacement. The (T - 2N)/2 slots of two
 * tokens behind them hold the queries: slot i = 1, 2, ... has weight a i^(a-1), N distinct slots
 * are drawn one after another from the weights still left, and the i-th drawn one begins with the
 * i-th pair's key. That position is labelled with the pair's value. All else is filler. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/tasks/support/sequence.h"
#include "core/tasks/support/tally.h"

struct slot {
    double time;
    int place;
};

struct mqar {
    struct hy_task_env env;
    int vocab, random_fill, most_pairs;
    int pairs_count, *pairs;
    int64_t examples;   /* per number of pairs, in each evaluation split */
    double *waits;      /* slot i's expected arrival, up to a common factor: i^(1-a) */
    int32_t *deck;      /* scratch: cards to draw from */
    struct slot *slots; /* scratch */
};

static const struct hy_option mqar_options[] = {
    {"vocab", HY_OPT_INT, .def = 256, .min = 4, .max = 1 << 24,
     .help = "tokens: the lower half but 0 are keys, the upper half values"},
    {"pairs", HY_OPT_INTS, .text = "8", .min = 1, .max = 1 << 20,
     .help = "key-value pairs of a sequence; of a list, sequences take turns"},
    {"power_a", HY_OPT_REAL, .def = 0.01, .min = 1e-6, .max = 100,
     .help = "a: slot i of the queries has weight a i^(a-1)"},
    {"fill", HY_OPT_CHOICE, .text = "random", .choices = "random|zero",
     .help = "positions that are neither pair nor query: uniform tokens, or token 0"},
    {"examples", HY_OPT_INT, .def = 256, .min = 1, .max = 1 << 30,
     .help = "sequences per number of pairs in each of validation and test"},
    {0},
};

static void mqar_close(void *state)
{
    struct mqar *m = state;
    if (!m)
        return;
    free(m->pairs);
    free(m->waits);
    free(m->deck);
    free(m->slots);
    free(m);
}

static int check_pairs(const struct mqar *m, const struct hy_value *pairs, struct hy_err *e)
{
    char at[512];
    hy_mark_text(pairs->mark, at, sizeof at);
    const int keys = m->vocab / 2 - 1, quarter = m->env.seq_len / 4;
    const int most = quarter < keys ? quarter : keys;
    for (int i = 0; i < m->pairs_count; i++) {
        const int n = m->pairs[i];
        if (n > keys)
            return hy_fail(e, HY_E_USAGE,
                           "%stask mqar: pairs %d needs as many distinct keys, but vocab %d has "
                           "%d; at most %d pairs fit",
                           at, n, m->vocab, keys, most);
        if (n > quarter)
            return hy_fail(e, HY_E_USAGE,
                           "%stask mqar: pairs %d needs seq_len >= 4 * pairs = %d, but seq_len is "
                           "%d; at most %d pairs fit",
                           at, n, 4 * n, m->env.seq_len, most);
    }
    return HY_OK;
}

static int mqar_open(const struct hy_value *options, const struct hy_task_env *env, void **state,
                     struct hy_err *e)
{
    int rc = HY_OK;
    const struct hy_value *pairs = hy_get_list(options, "pairs");
    const double a = hy_get_real(options, "power_a");
    struct mqar *m = calloc(1, sizeof *m);
    if (!m)
        return hy_fail_memory(e);
    m->env = *env;
    m->vocab = (int)hy_get_int(options, "vocab");
    m->random_fill = strcmp(hy_get_string(options, "fill"), "random") == 0;
    m->examples = hy_get_int(options, "examples");
    m->pairs_count = (int)pairs->count;
    m->pairs = calloc(pairs->count + 1, sizeof *m->pairs);
    m->waits = calloc((size_t)env->seq_len / 2 + 1, sizeof *m->waits);
    m->slots = calloc((size_t)env->seq_len / 2 + 1, sizeof *m->slots);
    m->deck = calloc((size_t)m->vocab, sizeof *m->deck);
    if (!m->pairs || !m->waits || !m->slots || !m->deck) {
        rc = hy_fail_memory(e);
        goto out;
    }
    for (int i = 0; i < m->pairs_count; i++) {
        m->pairs[i] = (int)pairs->items[i]->integer;
        if (m->pairs[i] > m->most_pairs)
            m->most_pairs = m->pairs[i];
    }
    rc = check_pairs(m, pairs, e);
    if (rc)
        goto out;
    for (int i = 0; i < env->seq_len / 2; i++)
        m->waits[i] = pow(i + 1, 1 - a);
    *state = m;
    m = NULL;
out:
    mqar_close(m);
    return rc;
}

static int mqar_vocab(const void *state)
{
    const struct mqar *m = state;
    return m->vocab;
}

static int64_t mqar_count(const void *state, enum hy_split split)
{
    const struct mqar *m = state;
    return split == HY_SPLIT_TRAIN ? INT64_MAX : m->examples * m->pairs_count;
}

static int mqar_max_labels(const void *state)
{
    const struct mqar *m = state;
    return m->most_pairs;
}

static int pairs_of(const struct mqar *m, int64_t index)
{
    return m->pairs[index % m->pairs_count];
}

static int by_time(const void *left, const void *right)
{
    const struct slot *a = left, *b = right;
    if (a->time != b->time)
        return a->time < b->time ? -1 : 1;
    return a->place - b->place;
}

/* Orders the slots. Exponential arrivals at the slots' rates come in exactly the order of
 * successive draws without replacement, since what is left after an arrival has forgotten the time
 * passed. */
static void draw_slots(struct hy_rng *rng, const double *waits, struct slot *slots, int count)
{
    for (int i = 0; i < count; i++)
        slots[i] = (struct slot){-log(hy_rng_uniform(rng)) * waits[i], i};
    qsort(slots, (size_t)count, sizeof *slots, by_time);
}

static void mqar_fill(const void *state, enum hy_split split, int64_t index, int32_t *tokens,
                      int32_t *labels)
{
    const struct mqar *m = state;
    const int length = m->env.seq_len, n = pairs_of(m, index);
    struct hy_rng rng = hy_task_rng(&m->env, split, index);
    hy_draw_distinct(&rng, m->deck, 1, m->vocab / 2, n, 2, tokens);
    hy_draw_distinct(&rng, m->deck, m->vocab / 2, m->vocab, n, 2, tokens + 1);
    draw_slots(&rng, m->waits, m->slots, (length - 2 * n) / 2);
    for (int t = 2 * n; t < length; t++)
        tokens[t] = m->random_fill ? (int32_t)hy_rng_below(&rng, (uint32_t)m->vocab) : 0;
    hy_clear_labels(labels, length);
    for (int i = 0; i < n; i++) {
        const int t = 2 * n + 2 * m->slots[i].place;
        tokens[t] = tokens[2 * i];
        labels[t] = tokens[2 * i + 1];
    }
}

/* A sequence has as many labels as pairs. */
static void mqar_evidence(const void *state, const int32_t *tokens, const int32_t *labels,
                          int32_t *where)
{
    const struct mqar *m = state;
    int n = 0;
    for (int t = 0; t < m->env.seq_len; t++)
        n += labels[t] != HY_NO_LABEL;
    for (int t = 0; t < m->env.seq_len; t++) {
        where[t] = -1;
        for (int i = 0; i < n && labels[t] != HY_NO_LABEL; i++)
            if (tokens[2 * i] == tokens[t])
                where[t] = 2 * i + 1;
    }
}

static int mqar_score_begin(const void *state, enum hy_split split, void **scorer, struct hy_err *e)
{
    (void)split;
    const struct mqar *m = state;
    struct hy_tally *tally;
    const int rc = hy_tally_new(m->pairs_count, &tally, e);
    if (!rc)
        *scorer = tally;
    return rc;
}

static void mqar_score_add(const void *state, void *scorer, const struct hy_prediction *p)
{
    const struct mqar *m = state;
    int hits = 0, queries = 0;
    for (int t = 0; t < m->env.seq_len; t++) {
        queries += p->labels[t] != HY_NO_LABEL;
        hits += p->labels[t] != HY_NO_LABEL && p->hit[t];
    }
    hy_tally_add(scorer, HY_WHOLE, (double)hits / queries);
    hy_tally_add(scorer, (int)(p->index % m->pairs_count), (double)hits / queries);
}

static void mqar_score_end(const void *state, void *scorer, hy_score_fn *emit, void *context)
{
    const struct mqar *m = state;
    hy_tally_end(scorer, "pairs", m->pairs, emit, context);
}

static void mqar_print(const void *state, const int32_t *tokens, const int32_t *labels)
{
    const struct mqar *m = state;
    hy_print_tokens(tokens, labels, m->env.seq_len);
}

const struct hy_task hy_task_mqar = {
    .name = "mqar",
    .summary = "multi-query associative recall: given pairs of tokens, later the value of each key",
    .options = mqar_options,
    .measures_recall = 1,
    .open = mqar_open,
    .close = mqar_close,
    .vocab = mqar_vocab,
    .count = mqar_count,
    .max_labels = mqar_max_labels,
    .fill = mqar_fill,
    .evidence = mqar_evidence,
    .score_begin = mqar_score_begin,
    .score_add = mqar_score_add,
    .score_end = mqar_score_end,
    .print = mqar_print,
};
