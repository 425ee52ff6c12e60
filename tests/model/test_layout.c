/* Laws of layouts: which layers are full under each ratio and placement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/model/layout.h"

static void check_layers(const struct hy_layout *l, const char *kinds)
{
    const int layers = (int)strlen(kinds);
    int full = 0;
    assert_int_equal(l->layers, layers);
    for (int i = 0; i < layers; i++) {
        assert_int_equal(l->kinds[i], kinds[i] == 'F' ? HY_FULL : HY_LINEAR);
        full += kinds[i] == 'F';
    }
    assert_int_equal(hy_layout_count(l, HY_FULL), full);
    assert_int_equal(hy_layout_count(l, HY_LINEAR), layers - full);
}

static void check(const char *ratio, enum hy_placement placement, int layers, const char *kinds)
{
    struct hy_layout l;
    struct hy_err e;
    assert_int_equal(hy_layout_from_ratio(ratio, placement, layers, &l, &e), 0);
    check_layers(&l, kinds);
}

static void interleave_puts_one_full_layer_after_n_linear_ones(void **state)
{
    (void)state;
    check("3:1", HY_PLACE_INTERLEAVE, 8, "LLLFLLLF");
    check("1:1", HY_PLACE_INTERLEAVE, 4, "LFLF");
    check("6:1", HY_PLACE_INTERLEAVE, 8, "LLLLLLFL");
    check("3:1", HY_PLACE_INTERLEAVE, 6, "LLLFLL");
}

static void every_counts_the_full_layer_among_the_n(void **state)
{
    (void)state;
    check("3:1", HY_PLACE_EVERY, 6, "LLFLLF");
    check("24:1", HY_PLACE_EVERY, 24, "LLLLLLLLLLLLLLLLLLLLLLLF");
}

static void first_middle_and_last_hold_as_many_as_interleave(void **state)
{
    (void)state;
    check("3:1", HY_PLACE_FIRST, 8, "FFLLLLLL");
    check("3:1", HY_PLACE_MIDDLE, 8, "LLLFFLLL");
    check("3:1", HY_PLACE_LAST, 8, "LLLLLLFF");
}

static void pure_and_full_have_one_kind_under_any_placement(void **state)
{
    (void)state;
    for (int p = HY_PLACE_INTERLEAVE; p <= HY_PLACE_LAST; p++) {
        check("pure", (enum hy_placement)p, 3, "LLL");
        check("full", (enum hy_placement)p, 3, "FFF");
    }
}

static void an_impossible_ratio_names_the_depth_it_needs(void **state)
{
    (void)state;
    static const struct {
        const char *ratio;
        enum hy_placement placement;
        int layers;
        const char *says;
    } cases[] = {
        {"24:1", HY_PLACE_INTERLEAVE, 24, "at least 25 layers, the model has 24"},
        {"24:1", HY_PLACE_EVERY, 23, "at least 24 layers"},
        {"99999999999999999999:1", HY_PLACE_INTERLEAVE, 8, "is none of"},
        {"3:2", HY_PLACE_INTERLEAVE, 8, "'3:2' is none of pure, full and n:1"},
        {"0:1", HY_PLACE_INTERLEAVE, 8, "'0:1'"},
        {"-3:1", HY_PLACE_INTERLEAVE, 8, "'-3:1'"},
        {" 3:1", HY_PLACE_INTERLEAVE, 8, "' 3:1'"},
        {"3:1x", HY_PLACE_INTERLEAVE, 8, "'3:1x'"},
        {"", HY_PLACE_INTERLEAVE, 8, "''"},
        {"1:1", HY_PLACE_EVERY, 8, "write ratio full"},
        {"3:1", HY_PLACE_INTERLEAVE, 129, "1 to 128"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hy_layout l = {.layers = -1};
        struct hy_err e;
        assert_int_equal(
            hy_layout_from_ratio(cases[i].ratio, cases[i].placement, cases[i].layers, &l, &e),
            HY_E_USAGE);
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].says);
        assert_int_equal(l.layers, -1);
    }
}

static void a_list_names_the_full_layers(void **state)
{
    (void)state;
    struct hy_layout l;
    struct hy_err e;
    assert_int_equal(hy_layout_from_list((int[]){7, 3}, 2, 8, &l, &e), 0);
    check_layers(&l, "LLLFLLLF");
    assert_int_equal(hy_layout_from_list((int[]){3, 3}, 2, 8, &l, &e), HY_E_USAGE);
    assert_int_equal(hy_layout_from_list((int[]){8}, 1, 8, &l, &e), HY_E_USAGE);
    assert_non_null(strstr(e.text, "0 to 7"));
}

static void placements_have_the_names_of_their_choices(void **state)
{
    (void)state;
    static const char *const names[] = {"interleave", "every", "first", "middle", "last"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(hy_placement_parse(names[i]), i);
        assert_non_null(strstr(hy_placement_choices, names[i]));
    }
    assert_int_equal(hy_placement_parse("list"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interleave_puts_one_full_layer_after_n_linear_ones),
        cmocka_unit_test(every_counts_the_full_layer_among_the_n),
        cmocka_unit_test(first_middle_and_last_hold_as_many_as_interleave),
        cmocka_unit_test(pure_and_full_have_one_kind_under_any_placement),
        cmocka_unit_test(an_impossible_ratio_names_the_depth_it_needs),
        cmocka_unit_test(a_list_names_the_full_layers),
        cmocka_unit_test(placements_have_the_names_of_their_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
