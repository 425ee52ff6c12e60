#include "report/mark.h"

#include <stdio.h>

void hy_mark_collapsed(struct hy_grid *g, int row, int column, long collapsed, long runs)
{
    char text[96];
    if (collapsed <= 0)
        return;
    hy_grid_note(g, row, column, "‡",
                 "rests on its window: without the linear part it scores the same (hylas report DB "
                 "components)");
    if (collapsed == runs)
        return;
    snprintf(text, sizeof text, "%ld of %ld runs rest on their window", collapsed, runs);
    hy_grid_note(g, row, column, NULL, text);
}
