/* results.h - databases with made-up runs, in a folder of their own. For the one test that includes
 * it. */
#ifndef HY_TESTS_RESULTS_H
#define HY_TESTS_RESULTS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db/store.h"

#define RESULTS_CHECK(call)                     \
    do {                                        \
        struct hy_err e_ = {0};                 \
        if (call)                               \
            fail_msg("%s: %s", #call, e_.text); \
    } while (0)

static char results_folder[64];

/* Makes a temporary folder and changes into it; leaves and removes it. */
static inline int results_enter(void **state)
{
    (void)state;
    strcpy(results_folder, "/tmp/hylas-test-XXXXXX");
    return !mkdtemp(results_folder) || chdir(results_folder);
}

static inline int results_leave(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", results_folder);
    return chdir("/") || system(command);
}

static inline struct hy_store *results_open(const char *path, enum hy_store_mode mode)
{
    struct hy_store *s = NULL;
    RESULTS_CHECK(hy_store_open(path, mode, &s, &e_));
    return s;
}

static inline int64_t results_sweep(struct hy_store *s, const char *name)
{
    int64_t sweep = 0;
    RESULTS_CHECK(hy_store_add_sweep(s, name, "name: x\n", "0.1", &sweep, &e_));
    return sweep;
}

static inline void results_fact(struct hy_store *s, int64_t run, const char *name, double value)
{
    const struct hy_row row = {.type = HY_ROW_FACT, .name = name, .value = value};
    if (!isnan(value))
        RESULTS_CHECK(hy_store_row(s, run, &row, &e_));
}

/* What a made-up run is and how it went; zero fields get the values that most runs share. */
struct results_run {
    const char *variant, *ratio;
    double lr;
    int seed, d_model;
    const char *placement; /* "interleave" */
    const char *status;    /* NULL: stays pending */
    const char *reason;
    /* Reported when the status is done; NaN: not reported. */
    double recall_valid, recall_test, ppl_valid, ppl_test;
};
static inline int64_t results_add(struct hy_store *s, int64_t sweep, const struct results_run *r)
{
    const double lr = r->lr ? r->lr : 1e-3;
    const char *placement = r->placement ? r->placement : "interleave";
    const int d_model = r->d_model ? r->d_model : 64;
    const int full = !strcmp(r->ratio, "full"), pure = !strcmp(r->ratio, "pure");
    char key[200], config[500], status[16];
    snprintf(key, sizeof key, "%s/%s/%s/%d/%g/%d", r->variant, r->ratio, pure ? "" : placement,
             d_model, lr, r->seed);
    snprintf(config, sizeof config,
             "{\"mixer\":{\"placement\":\"%s\",\"ratio\":\"%s\"},\"model\":{\"d_model\":%d},"
             "\"name\":\"x\",\"run\":{\"threads\":%d},"
             "\"train\":{\"batch\":4,\"lr\":%g,\"seed\":%d,\"seq_len\":64,\"steps\":100}}",
             placement, r->ratio, d_model, r->seed + 1, lr, r->seed);
    const struct hy_run_facts facts = {.key = key,
                                       .title = key,
                                       .variant = r->variant,
                                       .ratio = r->ratio,
                                       .placement = placement,
                                       .layout = full   ? "FFFF"
                                                 : pure ? "LLLL"
                                                        : "LLLF",
                                       .linear_layers = full   ? 0
                                                        : pure ? 4
                                                               : 3,
                                       .full_layers = full   ? 4
                                                      : pure ? 0
                                                             : 1,
                                       .d_model = d_model,
                                       .layers = 4,
                                       .heads = 2,
                                       .seed = r->seed,
                                       .lr = lr,
                                       .config = config};
    int64_t run = 0;
    RESULTS_CHECK(hy_store_add_run(s, sweep, &facts, &run, status, &e_));
    if (!r->status)
        return run;
    RESULTS_CHECK(hy_store_begin_run(s, run, "n01", 0, &e_));
    if (!strcmp(r->status, "running"))
        return run;
    if (!strcmp(r->status, "done")) {
        results_fact(s, run, "recall_valid", r->recall_valid);
        results_fact(s, run, "recall_test", r->recall_test);
        results_fact(s, run, "ppl_valid", r->ppl_valid);
        results_fact(s, run, "ppl_test", r->ppl_test);
    }
    RESULTS_CHECK(hy_store_end_run(s, run, r->status, r->reason, &e_));
    return run;
}

static inline int results_append(void *context, int columns, const char *const *names,
                                 const char *const *values)
{
    (void)columns, (void)names;
    char *text = context;
    const size_t used = strlen(text);
    snprintf(text + used, 4096 - used, "%s%s", used ? " " : "", values[0] ? values[0] : "-");
    return 0;
}

/* The first column of the rows, separated by spaces: "-" is null. Static storage. */
static inline const char *results_query(struct hy_store *s, const char *sql)
{
    static char text[4096];
    *text = 0;
    RESULTS_CHECK(hy_store_query(s, sql, 0, NULL, results_append, text, &e_));
    return text;
}

#endif
