/* cmd_sample.c - shows the sequences that a run trains on or is evaluated on. */
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/args.h"
#include "app/command.h"
#include "core/tasks/data.h"
#include "runner/plan/plan.h"

static const char usage[] = "hylas sample SWEEP [options]";

enum { USUAL_COUNT = 8 };

struct sample {
    const char *sweep, *task, *raw; /* task, raw: NULL when not given */
    enum hy_split split;
    long run, count, seq_len; /* count 0: the usual one; seq_len 0: any */
    const struct hy_data *data;
    int32_t *tokens, *labels;
    FILE *files[2]; /* raw: inputs, labels */
};

static int write_raw(struct sample *s, size_t length, struct hy_err *e)
{
    int32_t *const rows[] = {s->tokens, s->labels};
    for (int i = 0; i < 2; i++) {
        for (size_t t = 0; t < length; t++)
            rows[i][t] = (int32_t)htole32((uint32_t)rows[i][t]);
        if (fwrite(rows[i], sizeof(int32_t), length, s->files[i]) != length)
            return hy_fail_errno(e, HY_E_ENV, "cannot write to %s", s->raw);
    }
    return HY_OK;
}

/* Prints or writes the sequence of seq_len tokens that was just filled in. What is printed, and
 * what is written of one task, is in the task's own tokens. */
static int put(struct sample *s, const struct hy_task *task, const void *state, int seq_len,
               int64_t index, int shift, struct hy_err *e)
{
    if (!s->raw || s->task)
        for (int t = 0; t < seq_len; t++) {
            s->tokens[t] -= shift;
            s->labels[t] -= s->labels[t] == HY_NO_LABEL ? 0 : shift;
        }
    if (s->raw)
        return write_raw(s, (size_t)seq_len, e);
    printf("%s %lld: ", task->name, (long long)index);
    task->print(state, s->tokens, s->labels);
    return HY_OK;
}

static int wanted(const struct sample *s, const struct hy_task *task, int seq_len)
{
    return (!s->task || !strcmp(s->task, task->name)) && (!s->seq_len || s->seq_len == seq_len);
}

static int put_training(struct sample *s, int seq_len, struct hy_err *e)
{
    const int64_t count = s->count ? s->count : USUAL_COUNT;
    int rc = HY_OK;
    for (int64_t n = 0, done = 0; !rc && done < count; n++) {
        int shift;
        const int source = hy_data_train_fill(s->data, n, s->tokens, s->labels, &shift);
        const struct hy_task *task = hy_data_train_task(s->data, source);
        if (!wanted(s, task, seq_len))
            continue;
        rc = put(s, task, hy_data_train_state(s->data, source), seq_len, n, shift, e);
        done++;
    }
    return rc;
}

static int put_evaluation(struct sample *s, struct hy_err *e)
{
    int rc = HY_OK;
    for (int source = 0; !rc && source < hy_data_eval_count(s->data); source++) {
        const struct hy_task *task = hy_data_eval_task(s->data, source);
        const void *state = hy_data_eval_state(s->data, source);
        const int64_t there = task->count(state, s->split);
        const int seq_len = hy_data_eval_seq_len(s->data, source);
        if (!wanted(s, task, seq_len))
            continue;
        if (s->count > there)
            return hy_fail(
                e, HY_E_USAGE, "--count %lld, but the %s split of task %s has %lld sequences",
                (long long)s->count, hy_split_name(s->split), task->name, (long long)there);
        const int64_t usual = there < USUAL_COUNT ? there : USUAL_COUNT;
        for (int64_t i = 0; !rc && i < (s->count ? s->count : usual); i++) {
            int shift;
            hy_data_eval_fill(s->data, source, s->split, i, s->tokens, s->labels, &shift);
            rc = put(s, task, state, seq_len, i, shift, e);
        }
    }
    return rc;
}

/* Fails where nothing is wanted, or what cannot be written to one file. *longest: sequence. */
static int check_wanted(const struct sample *s, const struct hy_source *sources, int count,
                        int *longest, struct hy_err *e)
{
    const char *names[HY_MAX_SOURCES];
    const char *section = s->split == HY_SPLIT_TRAIN ? "data.train" : "data.eval";
    int known = 0, length = 0;
    for (int i = 0; i < count; i++) {
        const int seq_len = sources[i].seq_len;
        names[i] = sources[i].task->name;
        known |= !s->task || !strcmp(s->task, names[i]);
        if (!wanted(s, sources[i].task, seq_len))
            continue;
        if (s->raw && length && length != seq_len)
            return hy_fail(e, HY_E_USAGE,
                           "--raw writes rows of one length, but %s has sequences of %d and of %d "
                           "tokens: choose with --seq-len",
                           section, length, seq_len);
        length = seq_len > length ? seq_len : length;
    }
    if (!known) {
        char what[64];
        snprintf(what, sizeof what, "task in %s:", section);
        return hy_refuse_name((struct hy_mark){0}, what, s->task, names, (size_t)count, e);
    }
    if (!length)
        return hy_fail(e, HY_E_USAGE, "--seq-len %ld, but %s has no such sequences", s->seq_len,
                       section);
    *longest = length;
    return HY_OK;
}

static int open_raw(struct sample *s, struct hy_err *e)
{
    static const char *const names[] = {"inputs.i32", "labels.i32"};
    if (mkdir(s->raw, 0777) && errno != EEXIST)
        return hy_fail_errno(e, HY_E_ENV, "cannot make folder %s", s->raw);
    for (int i = 0; i < 2; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", s->raw, names[i]);
        s->files[i] = fopen(path, "wb");
        if (!s->files[i])
            return hy_fail_errno(e, HY_E_ENV, "cannot write %s", path);
    }
    return HY_OK;
}

static int close_raw(struct sample *s, int rc, struct hy_err *e)
{
    for (int i = 0; i < 2; i++)
        if (s->files[i] && fclose(s->files[i]) && !rc)
            rc = hy_fail_errno(e, HY_E_ENV, "cannot write to %s", s->raw);
    return rc;
}

static int sample_data(struct sample *s, const struct hy_config *c, struct hy_err *e)
{
    const int training = s->split == HY_SPLIT_TRAIN;
    const struct hy_task_env env = {.seq_len = c->train.seq_len, .seed = (uint64_t)c->train.seed};
    struct hy_data *data = NULL;
    int longest, rc = training ? check_wanted(s, c->data.train, c->data.train_count, &longest, e)
                               : check_wanted(s, c->data.eval, c->data.eval_count, &longest, e);
    if (!rc)
        rc = hy_data_open(c->data.train, c->data.train_count, c->data.eval, c->data.eval_count,
                          &env, &data, e);
    if (rc)
        return rc;
    s->data = data;
    s->tokens = calloc((size_t)longest, sizeof *s->tokens);
    s->labels = calloc((size_t)longest, sizeof *s->labels);
    if (!s->tokens || !s->labels)
        rc = hy_fail_memory(e);
    if (!rc && s->raw)
        rc = open_raw(s, e);
    if (!rc)
        rc = training ? put_training(s, env.seq_len, e) : put_evaluation(s, e);
    rc = close_raw(s, rc, e);
    free(s->tokens);
    free(s->labels);
    hy_data_close(data);
    return rc;
}

static int sample_sweep(struct sample *s, const struct hy_sets *sets, struct hy_err *e)
{
    struct hy_sweep sweep = {0};
    struct hy_plan plan = {0};
    int rc = hy_sweep_load(s->sweep, sets->items, sets->count, &sweep, e);
    if (!rc)
        rc = hy_plan_make(&sweep, &plan, e);
    if (!rc && s->run > plan.count)
        rc = hy_fail(e, HY_E_USAGE, "--run %ld, but %s has the runs 1 to %d", s->run, s->sweep,
                     plan.count);
    if (!rc)
        rc = sample_data(s, &plan.runs[s->run - 1].config, e);
    hy_plan_release(&plan);
    hy_sweep_release(&sweep);
    return rc;
}

static int read_split(const char *text, enum hy_split *out, struct hy_err *e)
{
    const char *names[3];
    for (int i = HY_SPLIT_TRAIN; i <= HY_SPLIT_TEST; i++) {
        names[i] = hy_split_name((enum hy_split)i);
        if (!strcmp(text, names[i])) {
            *out = (enum hy_split)i;
            return HY_OK;
        }
    }
    return hy_refuse_name((struct hy_mark){0}, "split", text, names, 3, e);
}

static int sample_run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {
        {"run", required_argument, NULL, 'n'},     {"task", required_argument, NULL, 't'},
        {"split", required_argument, NULL, 'p'},   {"count", required_argument, NULL, 'c'},
        {"seq-len", required_argument, NULL, 'l'}, {"set", required_argument, NULL, 's'},
        {"raw", required_argument, NULL, 'r'},     {0}};
    struct sample s = {.run = 1, .split = HY_SPLIT_TRAIN};
    struct hy_sets sets;
    int rc = hy_sets_init(&sets, argc, e);
    if (rc)
        return rc;
    hy_args_begin();
    for (int c; !rc && (c = hy_args_next(argc, argv, ":", options, e)) != -1;) {
        if (c == 'n')
            rc = hy_args_int("--run", optarg, 1, INT_MAX, &s.run, e);
        else if (c == 't')
            s.task = optarg;
        else if (c == 'p')
            rc = read_split(optarg, &s.split, e);
        else if (c == 'c')
            rc = hy_args_int("--count", optarg, 1, LONG_MAX, &s.count, e);
        else if (c == 'l')
            rc = hy_args_int("--seq-len", optarg, 1, INT_MAX, &s.seq_len, e);
        else if (c == 's')
            hy_sets_add(&sets, optarg);
        else if (c == 'r')
            s.raw = optarg;
        else
            rc = HY_E_USAGE;
    }
    if (!rc)
        rc = hy_args_one(argc, argv, "the sweep file", usage, &s.sweep, e);
    if (!rc)
        rc = sample_sweep(&s, &sets, e);
    hy_sets_release(&sets);
    return rc;
}

const struct hy_command hy_command_sample = {
    .name = "sample",
    .usage = usage,
    .summary = "prints or writes sequences that a run trains on or is evaluated on",
    .help = "  --run N           the run whose data to show (1), as hylas plan counts them\n"
            "  --task NAME       this task alone, in its own tokens\n"
            "  --split SPLIT     train, valid or test (train)\n"
            "  --count N         sequences; of valid and test: of each task (8)\n"
            "  --seq-len N       tasks whose sequences have N tokens alone\n"
            "  --set PATH=VALUE  a setting in place of the sweep file's\n"
            "  --raw DIR         writes DIR/inputs.i32 and DIR/labels.i32: N x T little-endian\n"
            "                    int32, label -100 where nothing is scored\n",
    .run = sample_run,
};
