#include "report/list.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/mark.h"

static void print_bytes(double value, char *text, int size)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int i = 0;
    for (; value >= 1024 && i < 4; i++)
        value /= 1024;
    const int decimals = i == 0 || value >= 100 ? 0 : 1;
    snprintf(text, (size_t)size, "%.*f %s", decimals, value, names[i]);
}

static void print_seconds(double value, char *text, int size)
{
    const long s = lround(value);
    if (value < 10)
        snprintf(text, (size_t)size, "%.1f s", value);
    else if (s < 100)
        snprintf(text, (size_t)size, "%ld s", s);
    else if (s < 3600)
        snprintf(text, (size_t)size, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(text, (size_t)size, "%ld h %02ld min", s / 3600, s / 60 % 60);
}

const char *hy_unit_text(enum hy_unit unit, double value, char *text, int size)
{
    if (isnan(value))
        snprintf(text, (size_t)size, "–");
    else if (unit == HY_UNIT_BYTES)
        print_bytes(value, text, size);
    else if (unit == HY_UNIT_SECONDS)
        print_seconds(value, text, size);
    else if (unit == HY_UNIT_COUNT)
        snprintf(text, (size_t)size, "%.0f", value);
    else if (unit == HY_UNIT_SCORE)
        snprintf(text, (size_t)size, "%.3f", value);
    else
        snprintf(text, (size_t)size, "%.4g", value);
    return text;
}

static enum hy_align align_of(const struct hy_list_column *column)
{
    return column->unit <= HY_UNIT_KEY ? HY_LEFT : HY_RIGHT;
}

static int is_in_data(const struct hy_rows *rows, const struct hy_list_column *column)
{
    return column->unit != HY_UNIT_MARK || hy_rows_any(rows, column->name);
}

void hy_list_fill_data(struct hy_grid *g, const struct hy_rows *rows,
                       const struct hy_list_column *columns)
{
    for (int c = 0; columns[c].name; c++)
        if (is_in_data(rows, &columns[c]))
            hy_grid_add_column(g, &g->data, columns[c].name, align_of(&columns[c]));
    for (int r = 0; r < rows->count; r++)
        hy_grid_add_row(g, &g->data);
    for (int c = 0, at = 0; columns[c].name; c++) {
        if (!is_in_data(rows, &columns[c]))
            continue;
        for (int r = 0; r < rows->count; r++)
            hy_grid_set(g, &g->data, r, at, hy_rows_text(rows, r, columns[c].name));
        at++;
    }
}

static int is_shown(const struct hy_rows *rows, const struct hy_list_column *column)
{
    if (column->unit != HY_UNIT_GROUP || !column->head)
        return column->head && column->unit != HY_UNIT_MARK;
    return hy_rows_differ(rows, column->name);
}

static const char *page_text(const struct hy_rows *rows, int row,
                             const struct hy_list_column *column, char *text, int size)
{
    const char *value = hy_rows_text(rows, row, column->name);
    if (align_of(column) == HY_RIGHT)
        return hy_unit_text(column->unit, hy_rows_number(rows, row, column->name), text, size);
    if (column->unit != HY_UNIT_KEY || !value)
        return value;
    snprintf(text, (size_t)size, "%.8s", value);
    return text;
}

/* at: the column of the page that shows the one named `name`. */
static void mark_rows(struct hy_grid *g, const struct hy_rows *rows,
                      const struct hy_list_column *columns, const char *name, int at)
{
    for (int c = 0; columns[c].name; c++) {
        if (columns[c].unit != HY_UNIT_MARK || strcmp(columns[c].head, name) != 0)
            continue;
        for (int r = 0; r < rows->count; r++)
            hy_mark_collapsed(g, r, at, hy_rows_count(rows, r, columns[c].name),
                              hy_rows_count(rows, r, "counted"));
    }
}

void hy_list_fill(struct hy_grid *g, const struct hy_rows *rows,
                  const struct hy_list_column *columns)
{
    hy_list_fill_data(g, rows, columns);
    for (int c = 0; columns[c].name; c++)
        if (is_shown(rows, &columns[c]))
            hy_grid_add_column(g, &g->page, columns[c].head, align_of(&columns[c]));
    for (int r = 0; r < rows->count; r++)
        hy_grid_add_row(g, &g->page);
    for (int c = 0, at = 0; columns[c].name; c++) {
        if (!is_shown(rows, &columns[c]))
            continue;
        for (int r = 0; r < rows->count; r++) {
            char text[32];
            hy_grid_set(g, &g->page, r, at, page_text(rows, r, &columns[c], text, sizeof text));
        }
        mark_rows(g, rows, columns, columns[c].name, at++);
    }
}
