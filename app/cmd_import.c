/* cmd_import.c - what a folder of another program holds, and what it computes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/command.h"
#include "core/interchange/imported.h"

static const char usage[] = "hylas import FOLDER [--tokens FILE [--logits FILE]]";

/* ---- What it is ---- */

/* A value as a sweep file may have it; YAML reads JSON. */
static void print_section(const char *name, const struct hy_value *section)
{
    char *json = hy_value_to_json(section, 0);
    if (json)
        printf("%s: %s\n", name, json);
    free(json);
}

/* The sections that make the same model. */
static int print_sections(const struct hy_imported *m, struct hy_err *e)
{
    struct hy_value *sections;
    const int rc = hy_foreign_sections(&m->foreign, &sections, e);
    if (rc)
        return rc;
    for (size_t i = 0; i < sections->count; i++)
        print_section(sections->keys[i], sections->items[i]);
    hy_value_free(sections);
    return HY_OK;
}

static void print_names(const char *what, int count, const struct hy_buf *names)
{
    enum { MOST = 400 };
    if (count)
        printf("# %d %s: %.*s%s\n", count, what, MOST, names->data,
               names->size > MOST ? " ..." : "");
}

static int print_model(const struct hy_imported *m, struct hy_err *e)
{
    const struct hy_layout_text layout = hy_config_layout(&m->config);
    printf("# %s: %s, %lld parameters, %d of its weights are there\n",
           hy_json_text(m->foreign.json, "model_type", ""), layout.text, (long long)m->params.count,
           m->report.taken);
    print_names("weights of the model are missing", m->report.initialised,
                &m->report.initialised_names);
    print_names("tensors have no place in it", m->report.unused, &m->report.unused_names);
    return print_sections(m, e);
}

/* ---- What it computes ---- */

static int read_tokens(const char *path, int32_t **out, int *count, struct hy_err *e)
{
    enum { MOST = 1 << 20 };
    struct hy_buf text = {0};
    int rc = hy_buf_read_file(&text, path, e);
    int32_t *tokens = rc ? NULL : malloc((text.size / 2 + 1) * sizeof *tokens);
    if (!rc && !tokens)
        rc = hy_fail_memory(e);
    *count = 0;
    for (char *at = text.data, *end; !rc && at; at = end) {
        const long token = strtol(at, &end, 10);
        if (end == at) {
            at += strspn(at, " \t\n\r,");
            if (*at)
                rc = hy_fail(e, HY_E_USAGE, "%s: '%.*s' is no token's number", path,
                             (int)strcspn(at, " \t\n\r,"), at);
            break;
        }
        if (token < 0 || token > INT32_MAX || *count == MOST)
            rc = hy_fail(e, HY_E_USAGE, "%s: token %d is %ld", path, *count + 1, token);
        else
            tokens[(*count)++] = (int32_t)token;
    }
    if (!rc && *count < 2)
        rc = hy_fail(e, HY_E_USAGE, "%s has %d tokens; 2 are the least", path, *count);
    hy_buf_release(&text);
    if (rc)
        free(tokens);
    else
        *out = tokens;
    return rc;
}

/* Mean loss of each token but the first, in nats. */
static double loss_of(const float *logits, const int32_t *tokens, int count, int vocab)
{
    double sum = 0;
    for (int i = 0; i + 1 < count; i++) {
        const float *row = logits + (size_t)i * (size_t)vocab;
        double top = -INFINITY, all = 0;
        for (int c = 0; c < vocab; c++)
            top = fmax(top, (double)row[c]);
        for (int c = 0; c < vocab; c++)
            all += exp((double)row[c] - top);
        sum += log(all) + top - (double)row[tokens[i + 1]];
    }
    return sum / (count - 1);
}

static int compute(struct hy_imported *m, const char *from, const char *to, struct hy_err *e)
{
    int32_t *tokens;
    int count, rc = read_tokens(from, &tokens, &count, e);
    if (rc)
        return rc;
    float *logits = malloc((size_t)count * (size_t)m->spec.vocab * sizeof *logits);
    rc = logits ? hy_imported_logits(m, tokens, count, logits, e) : hy_fail_memory(e);
    if (!rc)
        printf("# loss of %d tokens: %.6f nats\n", count - 1,
               loss_of(logits, tokens, count, m->spec.vocab));
    const struct hy_st_tensor tensor = {"logits", HY_ST_F32, 2, {count, m->spec.vocab}, logits};
    if (!rc && to)
        rc = hy_st_write(to, &tensor, 1, NULL, 0, e);
    free(logits);
    free(tokens);
    return rc;
}

static int cmd_import(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {
        {"tokens", required_argument, NULL, 't'}, {"logits", required_argument, NULL, 'l'}, {0}};
    const char *tokens = NULL, *logits = NULL, *folder;
    struct hy_imported m;
    hy_args_begin();
    for (int letter; (letter = hy_args_next(argc, argv, "", options, e)) != -1;) {
        if (letter == 't')
            tokens = optarg;
        else if (letter == 'l')
            logits = optarg;
        else
            return HY_E_USAGE;
    }
    int rc = hy_args_one(argc, argv, "the folder", usage, &folder, e);
    if (!rc && logits && !tokens)
        rc = hy_fail(e, HY_E_USAGE, "--logits needs --tokens");
    if (rc)
        return rc;
    rc = hy_imported_open(folder, &m, e);
    if (!rc)
        rc = print_model(&m, e);
    if (!rc && tokens)
        rc = compute(&m, tokens, logits, e);
    hy_imported_release(&m);
    return rc;
}

const struct hy_command hy_command_import = {
    .name = "import",
    .usage = usage,
    .summary = "show what a folder of another program's model holds",
    .help = "  --tokens FILE  token numbers as text, separated by blanks: prints the model's loss\n"
            "  --logits FILE  writes the logits at these tokens as a safetensors file\n"
            "Prints the sections of a sweep file that make the same model: with init.from its\n"
            "weights are where training begins.\n",
    .run = cmd_import,
};
