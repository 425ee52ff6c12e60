#include "runner/lead/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "core/base/log.h"

const char *hy_progress_duration(double seconds, char *text, size_t size)
{
    if (seconds < 10)
        snprintf(text, size, "%.1f s", seconds);
    else if (seconds < 120)
        snprintf(text, size, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(text, size, "%.0f min", seconds / 60);
    else if (seconds < 2 * 86400)
        snprintf(text, size, "%.1f h", seconds / 3600);
    else
        snprintf(text, size, "%.1f d", seconds / 86400);
    return text;
}

const char *hy_progress_line(const struct hy_progress *p, char *text, size_t size)
{
    char pruned[32] = "", diverged[32] = "", failed[32] = "", left[64] = "", duration[32];
    if (p->pruned)
        snprintf(pruned, sizeof pruned, ", %d pruned", p->pruned);
    if (p->diverged)
        snprintf(diverged, sizeof diverged, ", %d diverged", p->diverged);
    if (p->failed)
        snprintf(failed, sizeof failed, ", %d failed", p->failed);
    if (p->eta >= 0)
        snprintf(left, sizeof left, ", %s left",
                 hy_progress_duration(p->eta, duration, sizeof duration));
    snprintf(text, size, "%d/%d done%s%s%s, %d running%s", p->done, p->total, pruned, diverged,
             failed, p->running, left);
    return text;
}

void hy_progress_show(const struct hy_progress *p)
{
    char text[200];
    if (isatty(STDERR_FILENO))
        hy_log_live(hy_progress_line(p, text, sizeof text));
}
