#include "report/grid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"

static void release_sheet(struct hy_sheet *s)
{
    for (int i = 0; i < s->columns; i++)
        free(s->heads[i]);
    for (int i = 0; i < s->rows * s->columns; i++) {
        free(s->cells[i].text);
        free(s->cells[i].marks);
    }
    free(s->heads);
    free(s->align);
    free(s->cells);
}

void hy_grid_release(struct hy_grid *g)
{
    release_sheet(&g->page);
    release_sheet(&g->data);
    for (int i = 0; i < g->note_count; i++) {
        free(g->notes[i].mark);
        free(g->notes[i].text);
    }
    hy_plot_release(&g->plot);
    free(g->notes);
    free(g->title);
    *g = (struct hy_grid){0};
}

int hy_grid_failed(const struct hy_grid *g)
{
    return g->failed || g->plot.failed;
}

/* A copy of text in UTF-8; NULL, and the grid marked, when memory is out. */
static char *copy(struct hy_grid *g, const char *text)
{
    char *own = hy_utf8_copy(text);
    if (!own)
        g->failed = 1;
    return own;
}

/* Makes *array hold count elements; 0, and the grid marked, when memory is out. */
static int resize(struct hy_grid *g, void **array, int count, size_t size)
{
    void *grown = realloc(*array, (size_t)count * size);
    if (!grown) {
        g->failed = 1;
        return 0;
    }
    *array = grown;
    return 1;
}

void hy_grid_title(struct hy_grid *g, const char *title)
{
    free(g->title);
    g->title = copy(g, title);
}

void hy_grid_add_column(struct hy_grid *g, struct hy_sheet *s, const char *head,
                        enum hy_align align)
{
    if (!resize(g, (void **)&s->heads, s->columns + 1, sizeof *s->heads) ||
        !resize(g, (void **)&s->align, s->columns + 1, sizeof *s->align))
        return;
    s->heads[s->columns] = copy(g, head);
    s->align[s->columns] = align;
    s->columns++;
}

int hy_grid_add_row(struct hy_grid *g, struct hy_sheet *s)
{
    if (!resize(g, (void **)&s->cells, (s->rows + 1) * s->columns, sizeof *s->cells))
        return 0;
    memset(s->cells + s->rows * s->columns, 0, sizeof *s->cells * (size_t)s->columns);
    return s->rows++;
}

const struct hy_cell *hy_grid_cell(const struct hy_sheet *s, int row, int column)
{
    return &s->cells[row * s->columns + column];
}

void hy_grid_set(struct hy_grid *g, struct hy_sheet *s, int row, int column, const char *text)
{
    if (g->failed)
        return;
    struct hy_cell *cell = &s->cells[row * s->columns + column];
    free(cell->text);
    cell->text = text ? copy(g, text) : NULL;
}

/* The note with that text, made where there is none; NULL when memory is out. */
static const struct hy_note *get_note(struct hy_grid *g, const char *mark, const char *text)
{
    int numbered = 1;
    for (int i = 0; i < g->note_count; i++) {
        if (!strcmp(g->notes[i].text, text))
            return &g->notes[i];
        numbered += *g->notes[i].mark >= '0' && *g->notes[i].mark <= '9';
    }
    char number[16];
    snprintf(number, sizeof number, "%d", numbered);
    if (!resize(g, (void **)&g->notes, g->note_count + 1, sizeof *g->notes))
        return NULL;
    struct hy_note *note = &g->notes[g->note_count];
    *note = (struct hy_note){copy(g, mark ? mark : number), copy(g, text)};
    if (g->failed) {
        free(note->mark);
        free(note->text);
        return NULL;
    }
    g->note_count++;
    return note;
}

/* Whether marks, such as "1,†", hold the mark. */
static int has_mark(const char *marks, const char *mark)
{
    const size_t size = strlen(mark);
    for (const char *at = marks; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, mark, size) && (!at[size] || at[size] == ','))
            return 1;
    }
    return 0;
}

void hy_grid_note(struct hy_grid *g, int row, int column, const char *mark, const char *text)
{
    if (g->failed)
        return;
    const struct hy_note *note = get_note(g, mark, text);
    if (!note)
        return;
    struct hy_cell *cell = &g->page.cells[row * g->page.columns + column];
    char *marks;
    if (has_mark(cell->marks, note->mark))
        return;
    if (asprintf(&marks, "%s%s%s", cell->marks ? cell->marks : "", cell->marks ? "," : "",
                 note->mark) < 0) {
        g->failed = 1;
        return;
    }
    free(cell->marks);
    cell->marks = marks;
}
