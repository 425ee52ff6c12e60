#include "report/plot.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"

/* Makes *array hold one element more; NULL, and the plot marked, when memory is out. */
static void *extend(struct hy_plot *p, void **array, int count, size_t size)
{
    void *grown = realloc(*array, ((size_t)count + 1) * size);
    if (!grown) {
        p->failed = 1;
        return NULL;
    }
    *array = grown;
    return memset((char *)grown + (size_t)count * size, 0, size);
}

static char *copy(struct hy_plot *p, const char *text)
{
    char *own = hy_utf8_copy(text);
    if (!own)
        p->failed = 1;
    return own;
}

void hy_plot_release(struct hy_plot *p)
{
    for (int s = 0; s < p->series_count; s++) {
        for (int i = 0; i < p->series[s].count; i++)
            free(p->series[s].points[i].label);
        free(p->series[s].points);
        free(p->series[s].name);
    }
    for (int r = 0; r < p->row_count; r++) {
        for (int i = 0; i < p->rows[r].count; i++)
            free(p->rows[r].cells[i].text);
        free(p->rows[r].cells);
        free(p->rows[r].label);
    }
    for (int i = 0; i < p->place_count; i++)
        free(p->places[i]);
    for (int i = 0; i < HY_TONES; i++)
        free(p->tone_names[i]);
    free(p->rows);
    free(p->series);
    free(p->places);
    free(p->x_title);
    free(p->y_title);
    *p = (struct hy_plot){0};
}

void hy_plot_titles(struct hy_plot *p, const char *x_title, const char *y_title)
{
    free(p->x_title);
    free(p->y_title);
    p->x_title = copy(p, x_title);
    p->y_title = copy(p, y_title);
}

void hy_plot_add_place(struct hy_plot *p, const char *name)
{
    char **place = extend(p, (void **)&p->places, p->place_count, sizeof *p->places);
    if (place && (*place = copy(p, name)))
        p->place_count++;
}

void hy_plot_add_series(struct hy_plot *p, enum hy_series_kind kind, const char *name)
{
    struct hy_series *series = extend(p, (void **)&p->series, p->series_count, sizeof *series);
    if (!series || !(series->name = copy(p, name)))
        return;
    series->kind = kind;
    p->series_count++;
}

void hy_plot_add_point(struct hy_plot *p, const struct hy_plot_point *point)
{
    if (p->failed)
        return;
    struct hy_series *series = &p->series[p->series_count - 1];
    struct hy_plot_point *own =
        extend(p, (void **)&series->points, series->count, sizeof *series->points);
    if (!own)
        return;
    *own = *point;
    own->label = point->label ? copy(p, point->label) : NULL;
    series->count++;
}

void hy_plot_name_tone(struct hy_plot *p, enum hy_tone tone, const char *name)
{
    p->is_map = 1;
    free(p->tone_names[tone]);
    p->tone_names[tone] = copy(p, name);
}

void hy_plot_add_row(struct hy_plot *p, const char *label, int begins_group)
{
    struct hy_map_row *row = extend(p, (void **)&p->rows, p->row_count, sizeof *row);
    if (!row || !(row->label = copy(p, label)))
        return;
    row->begins_group = begins_group;
    p->row_count++;
}

void hy_plot_add_cell(struct hy_plot *p, enum hy_tone tone, const char *text)
{
    if (p->failed)
        return;
    struct hy_map_row *row = &p->rows[p->row_count - 1];
    struct hy_map_cell *cell = extend(p, (void **)&row->cells, row->count, sizeof *cell);
    if (!cell)
        return;
    *cell = (struct hy_map_cell){tone, text ? copy(p, text) : NULL};
    row->count++;
}
