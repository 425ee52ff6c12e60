/* Tables show what is in the database: the rate that validation chose, intervals over seeds, and
 * why a cell is empty. */
#include "tests/support/tables.h"

static void check_value(struct hy_store *s, const char *sql, double value)
{
    const double found = strtod(results_query(s, sql), NULL);
    if (!(fabs(found - value) < 1e-4))
        fail_msg("%s gives %g, not %g", sql, found, value);
}

/* Three seeds at one rate, with the given mean recall on both splits. */
static void add_rate(struct hy_store *s, int64_t sweep, const char *ratio, double lr, double valid,
                     double test)
{
    for (int seed = 0; seed < 3; seed++) {
        const double off = 0.1 * (seed - 1);
        const struct results_run run = {.variant = "gla",
                                        .ratio = ratio,
                                        .lr = lr,
                                        .seed = seed,
                                        .status = "done",
                                        .recall_valid = valid + off,
                                        .recall_test = test + off,
                                        .ppl_valid = 20,
                                        .ppl_test = 30 + 10 * off};
        results_add(s, sweep, &run);
    }
}

static void validation_chooses_the_rate_and_test_data_report_it(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    add_rate(s, sweep, "3:1", 1e-3, 0.5, 0.9);
    add_rate(s, sweep, "3:1", 3e-3, 0.6, 0.4);
    add_rate(s, sweep, "3:1", 1e-2, 0.4, 0.8);
    check_value(s, "SELECT lr FROM ratio_recall", 3e-3);
    check_value(s, "SELECT recall_test FROM ratio_recall", 0.4);
    check_value(s, "SELECT n FROM ratio_recall", 3);
    tables_check(s, "lr", "text", "chosen\n");
    hy_store_close(s);
}

static void the_interval_is_students_over_seeds(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    add_rate(s, results_sweep(s, "a"), "3:1", 1e-3, 0.5, 0.4);
    /* The quantile of two degrees of freedom, 4.3027, times 0.1 / sqrt(3); perplexity varies by 1.
     */
    check_value(s, "SELECT recall_test_ci95 FROM ratio_recall", 0.248416);
    check_value(s, "SELECT ppl_test_ci95 FROM ratio_recall", 2.48416);
    tables_check(s, "ratio-vs-recall", "text", "0.400 ± 0.248 (3)");
    tables_check(s, "ratio-vs-perplexity", "text", "30.00 ± 2.48 (3)");
    hy_store_close(s);
}

static void one_seed_has_no_interval(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const struct results_run run = {.variant = "gla",
                                    .ratio = "3:1",
                                    .status = "done",
                                    .recall_valid = 0.5,
                                    .recall_test = 0.25,
                                    .ppl_valid = NAN,
                                    .ppl_test = NAN};
    results_add(s, results_sweep(s, "a"), &run);
    assert_string_equal(results_query(s, "SELECT recall_test_ci95 FROM ratio_recall"), "-");
    tables_check(s, "ratio-vs-recall", "text", "0.250 (1)");
    tables_check(s, "ratio-vs-perplexity", "text", "no perplexity was measured");
    hy_store_close(s);
}

static void without_recall_the_lowest_perplexity_chooses(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    for (int i = 0; i < 3; i++) {
        const struct results_run run = {.variant = "gla",
                                        .ratio = "3:1",
                                        .lr = 1e-3 * (i + 1),
                                        .status = "done",
                                        .recall_valid = NAN,
                                        .recall_test = NAN,
                                        .ppl_valid = i == 1 ? 9 : 10,
                                        .ppl_test = 11};
        results_add(s, sweep, &run);
    }
    check_value(s, "SELECT lr FROM ratio_recall", 2e-3);
    hy_store_close(s);
}

static void a_rate_that_diverges_loses_to_one_that_holds(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    add_rate(s, sweep, "3:1", 1e-3, 0.7, 0.7);
    add_rate(s, sweep, "3:1", 3e-3, 0.8, 0.8);
    const struct results_run diverged = {
        .variant = "gla", .ratio = "3:1", .lr = 3e-3, .seed = 3, .status = "diverged"};
    results_add(s, sweep, &diverged);
    check_value(s, "SELECT lr FROM ratio_recall", 1e-3);
    check_value(s, "SELECT failed FROM ratio_recall", 1);
    tables_check(s, "ratio-vs-recall", "text", "1 of 7 runs gave no result; diverged");
    hy_store_close(s);
}

static void a_pruned_run_is_counted_and_its_scores_are_not(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    add_rate(s, sweep, "3:1", 1e-3, 0.7, 0.7);
    const struct results_run pruned = {.variant = "gla",
                                       .ratio = "3:1",
                                       .lr = 3e-3,
                                       .status = "pruned",
                                       .reason = "recall 0.1 at step 20"};
    const int64_t run = results_add(s, sweep, &pruned);
    results_fact(s, run, "recall_valid", 1);
    results_fact(s, run, "recall_test", 1);
    check_value(s, "SELECT lr FROM ratio_recall", 1e-3);
    check_value(s, "SELECT recall_test FROM ratio_recall", 0.7);
    check_value(s, "SELECT pruned FROM ratio_recall", 1);
    check_value(s, "SELECT failed + open FROM ratio_recall", 0);
    check_value(s, "SELECT sum(pruned) FROM rates WHERE n = 0", 1);
    tables_check(s, "ratio-vs-recall", "text", "1 of 4 runs were pruned before their end");
    tables_check(s, "runs", "text", "recall 0.1 at step 20");
    hy_store_close(s);
}

static void a_tie_goes_to_the_lower_rate(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    add_rate(s, sweep, "3:1", 3e-3, 0.7, 0.7);
    add_rate(s, sweep, "3:1", 1e-3, 0.7, 0.7);
    check_value(s, "SELECT lr FROM ratio_recall", 1e-3);
    hy_store_close(s);
}

static void the_edge_of_a_grid_is_flagged_and_its_inside_is_not(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    add_rate(s, sweep, "pure", 1e-3, 0.5, 0.5);
    assert_string_equal(results_query(s, "SELECT lr_edge FROM ratio_recall"), "-");
    add_rate(s, sweep, "pure", 3e-3, 0.6, 0.6);
    assert_string_equal(results_query(s, "SELECT lr_edge FROM ratio_recall"), "highest");
    tables_check(s, "ratio-vs-recall", "text", "0.600 ± 0.248 (3) [†]\n");
    tables_check(s, "ratio-vs-recall", "text",
                 "[†] the best learning rate is the lowest or highest");
    add_rate(s, sweep, "pure", 1e-2, 0.5, 0.5);
    assert_string_equal(results_query(s, "SELECT lr_edge FROM ratio_recall"), "-");
    hy_store_close(s);
}

/* Three variants, three ratios and a full model, each kind of hole. */
static struct hy_store *open_holes(void)
{
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    const struct results_run runs[] = {
        {.variant = "softmax", .ratio = "full", .status = "done", .recall_test = 1},
        {.variant = "gla", .ratio = "3:1", .status = "done", .recall_test = 0.5},
        {.variant = "gla", .ratio = "12:1", .status = "failed", .reason = "killed by SIGKILL"},
        {.variant = "gla", .ratio = "pure"},
        {.variant = "hgrn", .ratio = "pure", .status = "timeout", .reason = "after 2 h"},
        {.variant = "hgrn", .ratio = "3:1", .status = "diverged"},
        {.variant = "hgrn", .ratio = "12:1", .status = "running"},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        results_add(s, sweep, &runs[i]);
    return s;
}

static void columns_fall_in_linear_share_and_a_hole_has_its_reason(void **state)
{
    (void)state;
    struct hy_store *s = open_holes();
    const struct results_run retnet = {
        .variant = "retnet", .ratio = "6:1", .status = "done", .recall_test = 0.25};
    results_add(s, 1, &retnet);
    tables_check(s, "ratio-vs-recall", "md",
                 "| variant | pure | 12:1 | 6:1 | 3:1 | full |\n"
                 "|---|---:|---:|---:|---:|---:|\n"
                 "| gla | – <sup>1</sup> | – <sup>2</sup> | – <sup>3</sup> | 0.500 (1) |  |\n"
                 "| hgrn | – <sup>4</sup> | – <sup>1</sup> | – <sup>3</sup> | – <sup>5</sup> |  |\n"
                 "| retnet | – <sup>3</sup> | – <sup>3</sup> | 0.250 (1) | – <sup>3</sup> |  |\n"
                 "| softmax (full attention) |  |  |  |  | 1.000 (1) |\n"
                 "\n"
                 "<sup>1</sup> pending: 1 of 1 runs have not ended<br>\n"
                 "<sup>2</sup> 1 of 1 runs gave no result; failed: killed by SIGKILL<br>\n"
                 "<sup>3</sup> not planned<br>\n"
                 "<sup>4</sup> 1 of 1 runs gave no result; timeout: after 2 h<br>\n"
                 "<sup>5</sup> 1 of 1 runs gave no result; diverged\n");
    hy_store_close(s);
}

static void widths_are_rows_of_their_own(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    for (int d = 32; d <= 64; d += 32) {
        const struct results_run run = {.variant = "gla",
                                        .ratio = "pure",
                                        .d_model = d,
                                        .status = "done",
                                        .recall_test = 0.01 * d};
        results_add(s, sweep, &run);
    }
    tables_check(s, "ratio-vs-recall", "md",
                 "| gla d_model=32 | 0.320 (1) |\n| gla d_model=64 | 0.640");
    hy_store_close(s);
}

static void a_pure_model_stands_in_the_row_of_every_placement(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    const struct results_run runs[] = {
        {.variant = "gla", .ratio = "pure", .status = "done", .recall_test = 0.1},
        {.variant = "gla", .ratio = "3:1", .status = "done", .recall_test = 0.2},
        {.variant = "gla",
         .ratio = "3:1",
         .placement = "last",
         .status = "done",
         .recall_test = 0.3},
        /* Planned under the other placement, which a pure model has no use for. */
        {.variant = "gla",
         .ratio = "pure",
         .placement = "last",
         .seed = 1,
         .status = "done",
         .recall_test = 0.1},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        results_add(s, sweep, &runs[i]);
    tables_check(s, "ratio-vs-recall", "md",
                 "| gla placement=interleave | 0.100 ± 0.000 (2) | 0.200 (1) |\n"
                 "| gla placement=last | 0.100 ± 0.000 (2) | 0.300 (1) |\n");
    check_value(s, "SELECT count(*) FROM ratio_recall", 3);
    hy_store_close(s);
}

static void a_sweep_shows_its_own_runs(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    add_rate(s, results_sweep(s, "a"), "3:1", 1e-3, 0.5, 0.5);
    add_rate(s, results_sweep(s, "b"), "pure", 1e-3, 0.5, 0.5);
    for (int t = 0; hy_tables[t]; t++) {
        char *text = tables_write(s, hy_tables[t]->name, "b", "csv");
        /* Some have rows of runs that select their layers alone. */
        if (strchr(text, '\n')[1])
            assert_non_null(strstr(text, "pure"));
        assert_null(strstr(text, "3:1"));
        free(text);
    }
    tables_check(s, "ratio-vs-recall", "text", "a: gla");
    tables_check(s, "ratio-vs-recall", "text", "b: gla");
    hy_store_close(s);
}

static void data_is_one_row_per_figure_with_plain_numbers(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    add_rate(s, results_sweep(s, "a"), "3:1", 1e-3, 0.5, 0.25);
    tables_check(
        s, "ratio-vs-recall", "csv",
        "sweep,variant,label,ratio,placement,linear_layers,full_layers,lr,lr_edge,n,recall_test,"
        "recall_test_ci95,cache_bytes,runs,failed,open,failure,pruned\n"
        "a,gla,,3:1,interleave,3,1,0.001,,3,0.25,0.2484");
    hy_store_close(s);
}

static void hostile_names_stay_data_in_every_format(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const char *name = "x'); DROP TABLE run;--";
    const struct results_run run = {
        .variant = "a|b\\_&%$#{}~^\"<,\n", .ratio = "3:1", .status = "done", .recall_test = 0.5};
    results_add(s, results_sweep(s, name), &run);
    for (int t = 0; hy_tables[t]; t++)
        free(tables_write(s, hy_tables[t]->name, name, "text"));
    check_value(s, "SELECT count(*) FROM run", 1);
    tables_check(s, "ratio-vs-recall", "md", "| a\\|b\\\\_&amp;%$#{}~^\"&lt;,  | 0.500 (1) |\n");
    tables_check(s, "ratio-vs-recall", "latex",
                 "a\\textbar{}b\\textbackslash{}\\_\\&\\%\\$\\#\\{\\}\\textasciitilde{}"
                 "\\textasciicircum{}\\textquotedbl{}\\textless{},  & 0.500 (1) \\\\\n");
    tables_check(s, "ratio-vs-recall", "csv", ",\"a|b\\_&%$#{}~^\"\"<,\n\",,3:1,");
    tables_check(s, "ratio-vs-recall", "text", "\na|b\\_&%$#{}~^\"<,   0.500 (1)\n");
    hy_store_close(s);
}

static void memory_has_a_column_per_context(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const struct results_run run = {.variant = "gla", .ratio = "3:1", .status = "done"};
    const int64_t id = results_add(s, results_sweep(s, "a"), &run);
    static const char *const contexts[] = {"context=2048", "context=256"};
    for (int i = 0; i < 2; i++) {
        const struct hy_row row = {.type = HY_ROW_SLICE,
                                   .task = "memory",
                                   .split = "cache",
                                   .slice = contexts[i],
                                   .name = "bytes",
                                   .value = i ? 1536 : 3 << 20};
        assert_int_equal(hy_store_row(s, id, &row, NULL), 0);
    }
    const struct hy_row speed = {.type = HY_ROW_SLICE,
                                 .task = "speed",
                                 .split = "decode",
                                 .slice = "context=256",
                                 .name = "tokens_per_s",
                                 .value = 1234};
    assert_int_equal(hy_store_row(s, id, &speed, NULL), 0);
    results_fact(s, id, "params", 115008);
    results_fact(s, id, "activation_bytes", 2048);
    tables_check(s, "memory", "md", "| state | cache at 256 | cache at 2048 |");
    tables_check(s, "memory", "md", "| 115008 | – | 1.5 KiB | 3.0 MiB |");
    tables_check(s, "memory", "md", "| decoding at 256 | decoding at 2048 |");
    tables_check(s, "memory", "md", "| 2.0 KiB | – | – | – | 1234 | – |");
    tables_check(s, "memory", "csv", "cache_bytes_256,cache_bytes_2048");
    tables_check(s, "memory", "csv", ",115008,,1536.0,3145728.0,");
    hy_store_close(s);
}

static void an_empty_database_has_every_table_in_every_format(void **state)
{
    (void)state;
    hy_store_close(results_open("x.db", HY_STORE_WRITE));
    struct hy_store *s = results_open("x.db", HY_STORE_READ);
    for (int t = 0; hy_tables[t]; t++)
        for (int f = 0; hy_formats[f].name; f++) {
            char *text = tables_write(s, hy_tables[t]->name, NULL, hy_formats[f].name);
            const int is_csv = !strcmp(hy_formats[f].name, "csv");
            assert_non_null(strstr(text, is_csv ? "sweep," : "\n"));
            free(text);
        }
    hy_store_close(s);
}

static void every_run_is_listed_with_its_reason(void **state)
{
    (void)state;
    struct hy_store *s = open_holes();
    tables_check(s, "runs", "csv", ",failed,1,,,,,");
    tables_check(s, "runs", "csv", "killed by SIGKILL\n");
    tables_check(s, "runs", "csv", ",pending,0,,,,,,,\n");
    hy_store_close(s);
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, results_enter, results_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(validation_chooses_the_rate_and_test_data_report_it),
        LAW(the_interval_is_students_over_seeds),
        LAW(one_seed_has_no_interval),
        LAW(without_recall_the_lowest_perplexity_chooses),
        LAW(a_rate_that_diverges_loses_to_one_that_holds),
        LAW(a_pruned_run_is_counted_and_its_scores_are_not),
        LAW(a_tie_goes_to_the_lower_rate),
        LAW(the_edge_of_a_grid_is_flagged_and_its_inside_is_not),
        LAW(columns_fall_in_linear_share_and_a_hole_has_its_reason),
        LAW(widths_are_rows_of_their_own),
        LAW(a_pure_model_stands_in_the_row_of_every_placement),
        LAW(a_sweep_shows_its_own_runs),
        LAW(data_is_one_row_per_figure_with_plain_numbers),
        LAW(hostile_names_stay_data_in_every_format),
        LAW(memory_has_a_column_per_context),
        LAW(an_empty_database_has_every_table_in_every_format),
        LAW(every_run_is_listed_with_its_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
