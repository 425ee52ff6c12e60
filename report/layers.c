#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/list.h"
#include "report/mark.h"
#include "report/table.h"

/* What a method has measured of each layer: the first of these that a run has is shown. */
static const char *const measures[] = {"gate", "kl", "loss_added", "importance"};
enum { MEASURES = sizeof measures / sizeof *measures, FIXED = 3 };

/* Selected layouts first, method by method: a picture of many runs ends before the planned ones. */
static const char query[] =
    "SELECT run, sweep, name, ratio, layout, collapsed, layer, kind, layers.variant, "
    "max(value) FILTER (WHERE metric = 'params') AS params, "
    "max(value) FILTER (WHERE metric = 'state_bytes') AS state_bytes, "
    "max(value) FILTER (WHERE metric = 'cache_bytes') AS cache_bytes, "
    "max(value) FILTER (WHERE metric = 'flops_per_token') AS flops_per_token, "
    "max(value) FILTER (WHERE metric = 'importance') AS importance, "
    "max(value) FILTER (WHERE metric = 'gate') AS gate, "
    "max(value) FILTER (WHERE metric = 'loss_added') AS loss_added, "
    "max(value) FILTER (WHERE metric = 'kl') AS kl, "
    "results.variant || ' ' || coalesce(selected_by || ' ' || "
    "coalesce(json_extract(config, '$.select.tolerance'), "
    "json_extract(config, '$.select.budget'), ''), '') AS kin "
    "FROM results LEFT JOIN layers USING (run) "
    "WHERE ?1 IS NULL OR run IN (SELECT run FROM cells WHERE sweep = ?1) "
    "GROUP BY run, layer ORDER BY results.variant, selected_by IS NULL, kin, full_layers, run, "
    "layer";

struct map {
    const struct hy_rows *rows;
    struct hy_grid *grid;
    int columns;        /* layers of the deepest run */
    int several_sweeps; /* the page says whose a run is */
    int is_measured;    /* some run has a measure */
};

static const char *text_of(const struct map *m, int row, const char *name)
{
    const char *text = hy_rows_text(m->rows, row, name);
    return text ? text : "";
}

static int is_same(const struct map *m, int a, int b, const char *name)
{
    return !strcmp(text_of(m, a, name), text_of(m, b, name));
}

/* Behind the last row of the run whose first row is given. */
static int end_of_run(const struct map *m, int first)
{
    int end = first + 1;
    while (end < m->rows->count && is_same(m, first, end, "run"))
        end++;
    return end;
}

/* The measure that the run has, or NULL. */
static const char *find_measure(const struct map *m, int first, int end)
{
    for (int i = 0; i < MEASURES; i++)
        for (int row = first; row < end; row++)
            if (hy_rows_text(m->rows, row, measures[i]))
                return measures[i];
    return NULL;
}

static void add_columns(struct map *m)
{
    for (int row = 0; row < m->rows->count; row++) {
        const int layers = (int)strlen(text_of(m, row, "layout"));
        m->columns = layers > m->columns ? layers : m->columns;
        m->several_sweeps |= !is_same(m, 0, row, "sweep");
        m->is_measured |= find_measure(m, row, row + 1) != NULL;
    }
    hy_grid_add_column(m->grid, &m->grid->page, "run", HY_RIGHT);
    hy_grid_add_column(m->grid, &m->grid->page, "name", HY_LEFT);
    hy_grid_add_column(m->grid, &m->grid->page, m->is_measured ? "measured" : "layout", HY_LEFT);
    for (int layer = 0; layer < m->columns; layer++) {
        char head[16];
        snprintf(head, sizeof head, "%d", layer);
        hy_grid_add_column(m->grid, &m->grid->page, head, HY_LEFT);
    }
}

/* "F", or "F 0.12" where something was measured. */
static void print_layer(char letter, double value, char *text, size_t size)
{
    if (isnan(value))
        snprintf(text, size, "%c", letter);
    else
        snprintf(text, size, fabs(value) < 99.5 ? "%c %.2g" : "%c %.0f", letter, value);
}

static void add_page_row(struct map *m, int first, int end)
{
    struct hy_sheet *page = &m->grid->page;
    const int at = hy_grid_add_row(m->grid, page);
    const char *layout = text_of(m, first, "layout"), *measure = find_measure(m, first, end);
    char text[512];
    hy_grid_set(m->grid, page, at, 0, text_of(m, first, "run"));
    snprintf(text, sizeof text, "%s%s%s", m->several_sweeps ? text_of(m, first, "sweep") : "",
             m->several_sweeps ? ": " : "", text_of(m, first, "name"));
    hy_grid_set(m->grid, page, at, 1, text);
    hy_grid_set(m->grid, page, at, 2, m->is_measured ? measure : layout);
    for (int layer = 0; layout[layer]; layer++) {
        double value = NAN;
        for (int row = first; measure && row < end; row++)
            if (hy_rows_text(m->rows, row, "layer") &&
                hy_rows_count(m->rows, row, "layer") == layer)
                value = hy_rows_number(m->rows, row, measure);
        print_layer(layout[layer], value, text, sizeof text);
        hy_grid_set(m->grid, page, at, FIXED + layer, text);
    }
    hy_mark_collapsed(m->grid, at, 1, hy_rows_count(m->rows, first, "collapsed"), 1);
    if (strchr(layout, '?'))
        hy_grid_note(m->grid, at, 1, NULL, "?: which layers stay full is not decided yet");
}

static enum hy_tone tone_of(char letter)
{
    return letter == 'F'   ? HY_TONE_DARK
           : letter == 'L' ? HY_TONE_LIGHT
           : letter == '?' ? HY_TONE_EMPTY
                           : HY_TONE_HATCHED;
}

static void add_map_row(struct map *m, int first, int before)
{
    struct hy_plot *plot = &m->grid->plot;
    const char *layout = text_of(m, first, "layout");
    hy_plot_add_row(plot, text_of(m, first, "name"), !is_same(m, first, before, "kin"));
    for (int layer = 0; layout[layer]; layer++) {
        const enum hy_tone tone = tone_of(layout[layer]);
        const char letter[2] = {layout[layer], 0};
        hy_plot_add_cell(plot, tone, tone == HY_TONE_HATCHED ? letter : NULL);
    }
}

static void fill_map(struct map *m)
{
    struct hy_plot *plot = &m->grid->plot;
    hy_plot_titles(plot, "layer", "run");
    hy_plot_name_tone(plot, HY_TONE_DARK, "full attention");
    hy_plot_name_tone(plot, HY_TONE_LIGHT, "linear");
    hy_plot_name_tone(plot, HY_TONE_HATCHED, "another kind");
    hy_plot_name_tone(plot, HY_TONE_EMPTY, "not decided yet");
    add_columns(m);
    for (int first = 0, before = 0, end; first < m->rows->count; before = first, first = end) {
        end = end_of_run(m, first);
        add_page_row(m, first, end);
        add_map_row(m, first, before);
    }
}

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    static const struct hy_list_column columns[] = {
        {"run", "", HY_UNIT_COUNT},         {"sweep", "", HY_UNIT_TEXT},
        {"name", "", HY_UNIT_TEXT},         {"ratio", "", HY_UNIT_TEXT},
        {"layout", "", HY_UNIT_TEXT},       {"layer", "", HY_UNIT_COUNT},
        {"kind", "", HY_UNIT_TEXT},         {"variant", "", HY_UNIT_TEXT},
        {"params", "", HY_UNIT_COUNT},      {"state_bytes", "", HY_UNIT_BYTES},
        {"cache_bytes", "", HY_UNIT_BYTES}, {"flops_per_token", "", HY_UNIT_NUMBER},
        {"importance", "", HY_UNIT_NUMBER}, {"gate", "", HY_UNIT_NUMBER},
        {"loss_added", "", HY_UNIT_NUMBER}, {"kl", "", HY_UNIT_NUMBER},
        {"collapsed", "", HY_UNIT_MARK},    {0},
    };
    struct hy_rows rows;
    const int rc = hy_rows_load(store, query, sweep, &rows, e);
    if (rc)
        return rc;
    struct map m = {.rows = &rows, .grid = grid};
    hy_grid_title(grid, "Layers: L linear, F full attention, and what selecting them measured");
    hy_list_fill_data(grid, &rows, columns);
    fill_map(&m);
    hy_rows_release(&rows);
    return 0;
}

const struct hy_table hy_table_layers = {
    .name = "layers",
    .summary = "a map of the layers of every run; as data what each of them takes",
    .plots = 1,
    .fill = fill,
};
