/* The keys of the shipped sweeps' runs. A finished run is found again by its key: one that changes
 * costs its users the run. tests/config/keys.txt holds a line per run: sweep, key, title. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "runner/plan/plan.h"

static const char *const sweeps[] = {"mqar_reference", "mqar_zoology", "quickstart",
                                     "ratio_vs_recall", "ratio_vs_recall_small"};

/* Sweeps read corpora where sweeps/corpus and ./demo put them; these stand in for them. */
static const char *const corpora[] = {"build/demo/corpus.txt", "build/corpus/gcide.txt",
                                      "build/corpus/foldoc.txt"};

static void make_corpora(void)
{
    mkdir("keys", 0777);
    assert_int_equal(chdir("keys"), 0);
    mkdir("build", 0777);
    mkdir("build/demo", 0777);
    mkdir("build/corpus", 0777);
    for (size_t i = 0; i < sizeof corpora / sizeof *corpora; i++) {
        FILE *file = fopen(corpora[i], "w");
        assert_non_null(file);
        for (int line = 0; line < 4000; line++)
            fprintf(file, "line %d of %s\n", line, corpora[i]);
        assert_int_equal(fclose(file), 0);
    }
}

static void add_keys(const char *name, struct hy_buf *out)
{
    char path[4096];
    struct hy_sweep sweep;
    struct hy_plan plan;
    struct hy_err e = {0};
    snprintf(path, sizeof path, "%s/sweeps/%s.yaml", getenv("HYLAS_SOURCE"), name);
    if (hy_sweep_load(path, NULL, 0, &sweep, &e) || hy_plan_make(&sweep, &plan, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < plan.count; i++)
        hy_buf_printf(out, "%s %s %s\n", name, plan.runs[i].key, plan.runs[i].title);
    hy_plan_release(&plan);
    hy_sweep_release(&sweep);
}

static void keys_of_shipped_sweeps_are_those_of_before(void **state)
{
    (void)state;
    struct hy_buf now = {0}, before = {0};
    char path[4096], line[4096];
    make_corpora();
    for (size_t i = 0; i < sizeof sweeps / sizeof *sweeps; i++)
        add_keys(sweeps[i], &now);
    snprintf(path, sizeof path, "%s/tests/config/keys.txt", getenv("HYLAS_SOURCE"));
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        hy_buf_text(&before, line);
    if (file)
        fclose(file);
    if (!before.data || strcmp(now.data, before.data) != 0) {
        file = fopen("keys.txt", "w");
        assert_non_null(file);
        fputs(now.data, file);
        fclose(file);
        fail_msg("the keys have changed: compare %s with keys/keys.txt", path);
    }
    hy_buf_release(&before);
    hy_buf_release(&now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_shipped_sweeps_are_those_of_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
