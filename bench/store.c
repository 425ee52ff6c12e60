/* bench_store DB [ROWS]: writes history rows into a new database as rank 0 does, 100 to a run and a
 * commit per run, and prints rows per second. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "db/store.h"

enum { POINTS = 100 };

static int write_run(struct hy_store *store, int64_t sweep, long number, struct hy_err *e)
{
    char key[33], status[16];
    int64_t run;
    snprintf(key, sizeof key, "%032ld", number);
    const struct hy_run_facts facts = {.key = key,
                                       .title = "a run",
                                       .variant = "gla",
                                       .ratio = "pure",
                                       .placement = "",
                                       .layout = "LLLL",
                                       .linear_layers = 4,
                                       .d_model = 128,
                                       .layers = 4,
                                       .heads = 4,
                                       .lr = 1e-3,
                                       .config = "{}"};
    int rc = hy_store_add_run(store, sweep, &facts, &run, status, e);
    if (!rc)
        rc = hy_store_begin_run(store, run, "localhost", 0, e);
    for (int i = 1; !rc && i <= POINTS; i++)
        rc = hy_store_row(
            store, run,
            &(struct hy_row){
                .type = HY_ROW_HISTORY, .step = i, .name = "train.loss", .value = 1.0 / i},
            e);
    if (!rc)
        rc = hy_store_end_run(store, run, "done", NULL, e);
    return rc ? rc : hy_store_flush(store, e);
}

int main(int argc, char **argv)
{
    const long rows = argc > 2 ? strtol(argv[2], NULL, 10) : 1000000;
    struct hy_store *store = NULL;
    struct hy_err e = {0};
    int64_t sweep;
    if (argc < 2) {
        fputs("usage: bench_store DB [ROWS]\n", stderr);
        return 2;
    }
    int rc = hy_store_open(argv[1], HY_STORE_WRITE, &store, &e);
    if (!rc)
        rc = hy_store_add_sweep(store, "bench", "", "bench", &sweep, &e);
    const double began = hy_now();
    for (long i = 0; !rc && i < rows / POINTS; i++)
        rc = write_run(store, sweep, i, &e);
    const double spent = hy_now() - began;
    hy_store_close(store);
    if (rc)
        fprintf(stderr, "%s\n", e.text);
    else
        printf("%.0f\n", (double)rows / spent);
    return rc;
}
