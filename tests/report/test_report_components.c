/* The table of components, and the mark that models which rest on their window have in all tables.
 */
#include "tests/support/components.h"
#include "tests/support/tables.h"

static int64_t add_run(struct hy_store *s, const char *ratio, double lr, int seed, double recall)
{
    const struct results_run run = {.variant = "gla",
                                    .ratio = ratio,
                                    .lr = lr,
                                    .seed = seed,
                                    .status = "done",
                                    .recall_valid = recall,
                                    .recall_test = recall,
                                    .ppl_valid = 20,
                                    .ppl_test = 20};
    const int64_t id = results_add(s, results_sweep(s, "a"), &run);
    results_fact(s, id, "cache_bytes", 4096);
    return id;
}

static void add_layer(struct hy_store *s, int64_t run, int layer, const char *metric, double value)
{
    const struct hy_row row = {.type = HY_ROW_LAYER,
                               .step = layer,
                               .task = "linear",
                               .split = "gla",
                               .name = metric,
                               .value = value};
    RESULTS_CHECK(hy_store_row(s, run, &row, &e_));
}

/* Two tasks of recall, one of which has answers beyond the window, and text. */
static void evaluate(struct hy_store *s, int64_t run, double full, double window)
{
    components_three(s, run, "mqar", "", "accuracy", full, window, 0);
    components_three(s, run, "niah", "", "accuracy", full - 0.25, window - 0.25, 0);
    components_three(s, run, "mqar", "beyond=16", "accuracy", full - 0.5, window - 0.5, 0);
    components_three(s, run, "text", "", "nll", log(16), log(16) + 0.5 * (full - window), log(64));
    components_score(s, run, "linear", "mqar", "", "accuracy", 0.5);
}

static struct hy_store *open_two_cells(void)
{
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    evaluate(s, add_run(s, "3:1", 1e-3, 0, 0.9), 1, 1);
    evaluate(s, add_run(s, "3:1", 1e-3, 1, 0.9), 1, 0.5);
    /* A rate that validation does not choose. */
    evaluate(s, add_run(s, "3:1", 3e-3, 0, 0.8), 0.875, 0.875);
    evaluate(s, add_run(s, "pure", 1e-3, 0, 0.9), 1, 1);
    add_run(s, "1:1", 1e-3, 0, 0.9);
    return s;
}

static const char rests[] = "rests on its window: without the linear part it scores the same "
                            "(hylas report DB components)";

static void a_cell_shows_what_its_parts_score(void **state)
{
    (void)state;
    struct hy_store *s = open_two_cells();
    add_layer(s, 1, 0, "far_share", 0.25);
    add_layer(s, 1, 1, "far_share", 0.5);
    add_layer(s, 2, 0, "far_share", 0.125);
    add_layer(s, 1, 0, "far_share_beyond", 0.75);
    add_layer(s, 1, 0, "gamma", 0.625);
    /* Of seeds 0 and 1 the differences are 0 and 0.5: 12.7062 * 0.25. */
    tables_check(
        s, "components", "md",
        "| variant | ratio | n | measured | full | window | linear | none | full - window | "
        "seed by seed | attention beyond the window | window factor |\n"
        "|---|---|---:|---|---:|---:|---:|---:|---:|---|---:|---:|\n"
        "| gla <sup>‡</sup> | pure | 1 | recall | 0.875 | 0.875 | 0.500 | 0.000 | +0.000 | "
        "0 | – | – |\n"
        "|  |  | 1 | recall beyond the window | 0.500 | 0.500 | – | 0.000 | +0.000 | 0 | – "
        "|  |\n"
        "|  |  | 1 | perplexity | 16 | 16 | – | 64 | +0.00 | 0 | – |  |\n"
        "| gla <sup>‡,1</sup> | 3:1 | 2 | recall | 0.875 | 0.625 | 0.500 | 0.000 | "
        "+0.250 ± 3.177 | 0, 0.5 | 0.250 | 0.625 |\n"
        "|  |  | 2 | recall beyond the window | 0.500 | 0.250 | – | 0.000 | "
        "+0.250 ± 3.177 | 0, 0.5 | 0.750 |  |\n");
    tables_check(s, "components", "text", rests);
    tables_check(s, "components", "text", "[1] 1 of 2 runs rest on their window\n");
    tables_check(s, "components", "latex", "gla\\textsuperscript{\\ddag{}}");
    tables_check(s, "components", "csv",
                 "sweep,variant,label,ratio,lr,n,measure,full,overlap,window,linear,dropped,sinks,"
                 "none,lost,lost_ci95,by_seed,far_share,gamma,collapsed\n"
                 "a,gla,,pure,0.001,1,recall,0.875,,0.875,0.5,,,0.0,0.0,,0,,,1\n");
    tables_check(s, "components", "csv",
                 "a,gla,,3:1,0.001,2,recall,0.875,,0.625,0.5,,,0.0,0.25,3.17");
    tables_check(s, "components", "csv", ",\"0, 0.5\",0.25,0.625,1\n");
    hy_store_close(s);
}

static void the_picture_is_of_what_lies_beyond_the_window(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = add_run(s, "3:1", 1e-3, 0, 0.9);
    components_three(s, run, "text", "", "nll", 2, 2.5, 4);
    tables_check(s, "components", "svg", ">perplexity on test data<");
    components_three(s, run, "mqar", "", "accuracy", 0.9, 0.5, 0);
    tables_check(s, "components", "svg", ">recall on test data<");
    components_three(s, run, "mqar", "beyond=16", "accuracy", 0.9, 0.5, 0);
    tables_check(s, "components", "svg", ">recall beyond the window on test data<");
    tables_check(s, "components", "svg", ">gla 3:1<");
    tables_check(s, "components", "svg", ">none<");
    hy_store_close(s);
}

static void every_table_marks_a_model_that_rests_on_its_window(void **state)
{
    (void)state;
    struct hy_store *s = open_two_cells();
    static const char *const tables[] = {
        "ratio-vs-recall", "ratio-vs-perplexity", "pareto", "memory", "lr", "runs", "stages",
        "layers"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        tables_check(s, tables[i], "text", "[‡] rests on its window");
        tables_check(s, tables[i], "md", "<sup>‡</sup>");
    }
    tables_check(
        s, "ratio-vs-recall", "md",
        "| gla | 0.900 (1) <sup>‡</sup> | 0.900 ± 0.000 (2) <sup>†,‡,1</sup> | 0.900 (1) |\n");
    tables_check(s, "pareto", "md", "| gla <sup>‡,1</sup> | 3:1 |");
    tables_check(s, "pareto", "md", "| gla | 1:1 |");
    tables_check(s, "memory", "md", "| gla <sup>‡,1</sup> | 3:1 |");
    tables_check(s, "lr", "md", "| gla <sup>‡,1</sup> | 3:1 | 0.001 |");
    tables_check(s, "lr", "md", "| gla <sup>‡</sup> | 3:1 | 0.003 |");
    tables_check(s, "runs", "md", "| gla/3:1/interleave/64/0.001/0 <sup>‡</sup> |");
    tables_check(s, "runs", "md", "| gla/3:1/interleave/64/0.001/1 |");
    tables_check(s, "ratio-vs-recall", "csv", ",failure,pruned,collapsed\n");
    tables_check(s, "runs", "csv", ",reason,collapsed\n");
    hy_store_close(s);
}

static void where_nothing_was_switched_off_nothing_is_marked(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t run = add_run(s, "3:1", 1e-3, 0, 0.9);
    components_score(s, run, NULL, "mqar", "", "accuracy", 0.9);
    for (int t = 0; hy_tables[t]; t++) {
        char *text = tables_write(s, hy_tables[t]->name, NULL, "text");
        char *data = tables_write(s, hy_tables[t]->name, NULL, "csv");
        assert_null(strstr(text, "‡"));
        if (strcmp(hy_tables[t]->name, "components") != 0)
            assert_null(strstr(data, "collapsed"));
        free(text);
        free(data);
    }
    /* One that uses its linear part has a column in the data and no mark. */
    components_three(s, run, "mqar", "", "accuracy", 0.9, 0.5, 0.1);
    for (int t = 0; hy_tables[t]; t++) {
        char *text = tables_write(s, hy_tables[t]->name, NULL, "text");
        assert_null(strstr(text, "‡"));
        free(text);
    }
    tables_check(s, "pareto", "csv", ",frontier,collapsed\n");
    tables_check(s, "pareto", "csv", ",yes,0\n");
    hy_store_close(s);
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, results_enter, results_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(a_cell_shows_what_its_parts_score),
        LAW(the_picture_is_of_what_lies_beyond_the_window),
        LAW(every_table_marks_a_model_that_rests_on_its_window),
        LAW(where_nothing_was_switched_off_nothing_is_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
