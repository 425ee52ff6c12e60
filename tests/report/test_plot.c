/* Plots show each measured cell once, within axes that hold them all; the frontier is what nothing
 * else beats; names stay data. */
#include "tests/support/tables.h"

#include "report/svg.h"
#include "report/svg_axis.h"

static int count(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

/* A run with its cache; more seeds give an interval. */
static void add(struct hy_store *s, int64_t sweep, const char *variant, const char *ratio, int seed,
                double recall, double cache)
{
    const struct results_run run = {.variant = variant,
                                    .ratio = ratio,
                                    .seed = seed,
                                    .status = "done",
                                    .recall_valid = recall,
                                    .recall_test = recall,
                                    .ppl_valid = NAN,
                                    .ppl_test = NAN};
    results_fact(s, results_add(s, sweep, &run), "cache_bytes", cache);
}

static struct hy_store *open_study(void)
{
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    const int64_t sweep = results_sweep(s, "a");
    add(s, sweep, "gla", "pure", 0, 0.10, 1 << 10);
    add(s, sweep, "hgrn", "pure", 0, 0.10, 2 << 10); /* as much recall in more cache */
    add(s, sweep, "gla", "3:1", 0, 0.85, 1 << 20);
    add(s, sweep, "gla", "3:1", 1, 0.95, 1 << 20);
    add(s, sweep, "hgrn", "3:1", 0, 0.80, 1 << 20); /* less recall in as much cache */
    add(s, sweep, "softmax", "full", 0, 1.00, 4 << 20);
    add(s, results_sweep(s, "b"), "gla", "pure", 2, 0.05, 9 << 10); /* another study's frontier */
    const struct results_run failed = {.variant = "gla", .ratio = "1:1", .status = "failed"};
    results_add(s, sweep, &failed);
    return s;
}

static void the_frontier_is_what_no_other_cell_of_its_sweep_beats(void **state)
{
    (void)state;
    struct hy_store *s = open_study();
    static const char *const rows[] = {
        "\na,gla,,pure,,1024,0.1,,1,yes",   "\na,hgrn,,pure,,2048,0.1,,1,no",
        "\na,gla,,3:1,,1048576,0.9,",       ",2,yes\n",
        "\na,hgrn,,3:1,,1048576,0.8,,1,no", "\na,softmax,,full,,4194304,1.0,,1,yes",
        "\nb,gla,,pure,,9216,0.05,,1,yes",  "\na,gla,,1:1,,,,,0,\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        tables_check(s, "pareto", "csv", rows[i]);
    hy_store_close(s);
}

static void a_plot_has_a_marker_for_each_measured_cell(void **state)
{
    (void)state;
    struct hy_store *s = open_study();
    static const struct {
        const char *table;
        int series, intervals; /* of sweep a */
    } plots[] = {{"pareto", 4, 1}, {"ratio-vs-recall", 3, 1}};
    for (size_t i = 0; i < sizeof plots / sizeof *plots; i++) {
        char *text = tables_write(s, plots[i].table, "a", "svg");
        const int stairs = i == 0;
        /* A marker has a fill and a width of its own; the legend shows one per series. */
        assert_int_equal(count(text, "stroke-width=\"1"), 5 + plots[i].series - stairs);
        assert_int_equal(count(text, "class=\"interval\""), plots[i].intervals);
        assert_int_equal(count(text, "fill=\"#fff\" stroke="), stairs ? 2 : 0);
        assert_int_equal(count(text, "<text"), count(text, "</text>"));
        assert_non_null(strstr(text, ">softmax (full attention)</text>"));
        free(text);
    }
    hy_store_close(s);
}

static void a_table_without_results_has_an_empty_plot(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    tables_check(s, "pareto", "svg", "no run has ended yet");
    tables_check(s, "ratio-vs-recall", "html", "no run has ended yet");
    hy_store_close(s);
}

static void a_page_holds_the_table_and_the_plot(void **state)
{
    (void)state;
    struct hy_store *s = open_study();
    tables_check(s, "pareto", "html", "<svg xmlns");
    tables_check(s, "pareto", "html", "<td class=\"number\">1.0 MiB</td>");
    tables_check(s, "ratio-vs-recall", "html", "<td class=\"number\">–<sup>1</sup></td>");
    tables_check(s, "ratio-vs-recall", "html", "<sup>1</sup> 1 of 1 runs gave no result; failed");
    char *text = tables_write(s, "runs", NULL, "html");
    assert_null(strstr(text, "<svg"));
    free(text);
    hy_store_close(s);
}

static void hostile_names_stay_data_in_pictures_and_pages(void **state)
{
    (void)state;
    struct hy_store *s = results_open("x.db", HY_STORE_WRITE);
    add(s, results_sweep(s, "a"), "</text><script>\"&'\n", "3:1", 0, 0.5, 1024);
    static const char *const tables[] = {"pareto", "ratio-vs-recall"};
    static const char *const formats[] = {"svg", "html"};
    for (int i = 0; i < 4; i++) {
        char *text = tables_write(s, tables[i / 2], NULL, formats[i % 2]);
        assert_null(strstr(text, "<script"));
        assert_non_null(strstr(text, "&lt;/text&gt;&lt;script&gt;&quot;&amp;' </t"));
        free(text);
    }
    hy_store_close(s);
}

static struct hy_plot make_plot(int is_fraction, int points, const double (*at)[3])
{
    struct hy_plot p = {.is_fraction = is_fraction};
    hy_plot_add_series(&p, HY_SERIES_POINTS, "x");
    for (int i = 0; i < points; i++)
        hy_plot_add_point(
            &p, &(struct hy_plot_point){.x = at[i][0], .y = at[i][1], .interval = at[i][2]});
    assert_false(p.failed);
    return p;
}

static void axes_hold_all_points_and_their_intervals(void **state)
{
    (void)state;
    static const double cases[][2][3] = {
        {{1000, 0.2, NAN}, {3e6, 0.7, 0.1}},  {{64, 1, NAN}, {64, 1, NAN}},
        {{1, 0, NAN}, {1e15, 1, 0.5}},        {{4096, 0.9991, NAN}, {8192, 0.9994, NAN}},
        {{4096, 6.19, 0.02}, {8192, 6.2, 0}}, {{1024, 1e6, NAN}, {2048, 3, NAN}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int is_fraction = cases[i][0][1] <= 1;
        struct hy_plot p = make_plot(is_fraction, 2, cases[i]);
        struct hy_axis x, y;
        hy_axis_init(&p, &x, &y);
        assert_true(x.tick_count >= 2 && x.tick_count <= 9 && y.tick_count >= 2 &&
                    y.tick_count <= 11);
        for (int k = 0; k < 2; k++) {
            const double width = isnan(cases[i][k][2]) ? 0 : cases[i][k][2];
            const double low = cases[i][k][1] - width, high = cases[i][k][1] + width;
            assert_true(x.low <= log2(cases[i][k][0]) && log2(cases[i][k][0]) <= x.high);
            assert_true(y.low <= (is_fraction ? fmax(low, 0) : low) + 1e-9);
            assert_true(y.high >= (is_fraction ? fmin(high, 1) : high) - 1e-9);
        }
        assert_true(!is_fraction || (y.low >= 0 && y.high <= 1));
        for (int k = 1; k < y.tick_count; k++)
            assert_string_not_equal(y.ticks[k].text, y.ticks[k - 1].text);
        hy_plot_release(&p);
    }
}

static void bytes_are_marked_at_powers_of_two(void **state)
{
    (void)state;
    struct hy_plot p = make_plot(1, 2, (const double[][3]){{600, 0, NAN}, {3 << 10, 1, NAN}});
    struct hy_axis x, y;
    hy_axis_init(&p, &x, &y);
    static const char *const ticks[] = {"512 B", "1 KiB", "2 KiB", "4 KiB"};
    assert_int_equal(x.tick_count, 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(x.ticks[i].text, ticks[i]);
    assert_true(fabs(hy_axis_at(&x, 1024, 0, 300) - 100) < 1e-9);
    hy_plot_release(&p);
}

#define LAW(name) cmocka_unit_test_setup_teardown(name, results_enter, results_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAW(the_frontier_is_what_no_other_cell_of_its_sweep_beats),
        LAW(a_plot_has_a_marker_for_each_measured_cell),
        LAW(a_table_without_results_has_an_empty_plot),
        LAW(a_page_holds_the_table_and_the_plot),
        LAW(hostile_names_stay_data_in_pictures_and_pages),
        cmocka_unit_test(axes_hold_all_points_and_their_intervals),
        cmocka_unit_test(bytes_are_marked_at_powers_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
