#include "runner/rank/child_status.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "core/base/err.h"

enum { LAST_LINES = 3 };

void hy_last_words(const struct hy_buf *words, char *text, size_t size)
{
    size_t end = words->size, begin;
    text[0] = 0;
    while (end && words->data[end - 1] == '\n')
        end--;
    begin = end > size - 1 ? end - (size - 1) : 0;
    for (size_t at = end, lines = 0; at > begin; at--)
        if (words->data[at - 1] == '\n' && ++lines == LAST_LINES) {
            begin = at;
            break;
        }
    size_t n = 0;
    for (size_t at = begin; at < end; at++)
        text[n++] = words->data[at] == '\n' ? ' ' : words->data[at];
    text[n] = 0;
}

int hy_is_result(const char *row)
{
    return !strcmp(row, "done") || !strcmp(row, "paused") || !strcmp(row, "diverged");
}

const char *hy_child_status(const struct hy_ending *g, char *reason, size_t size)
{
    char words[768];
    hy_last_words(g->words, words, sizeof words);
    const char *colon = *words ? ": " : "";
    snprintf(reason, size, "%s", g->text);
    if (WIFEXITED(g->status) && hy_is_result(g->row))
        return g->row;
    switch (g->cause) {
    case HY_CAUSE_TIMEOUT:
        snprintf(reason, size, "not done after %g s", g->limit);
        return "timeout";
    case HY_CAUSE_SILENCE:
        snprintf(reason, size, "killed: it reported nothing for %g s%s%s", g->limit, colon, words);
        return "failed";
    case HY_CAUSE_STOP:
        snprintf(reason, size, "stopped by a signal");
        return "interrupted";
    case HY_CAUSE_NONE:
        break;
    }
    if (WIFEXITED(g->status) && WEXITSTATUS(g->status) == HY_E_INTERRUPTED) {
        snprintf(reason, size, "stopped by a signal");
        return "interrupted";
    }
    if (WIFSIGNALED(g->status))
        snprintf(reason, size, "killed by SIG%s%s%s%s", sigabbrev_np(WTERMSIG(g->status)),
                 WTERMSIG(g->status) == SIGKILL ? " (out of memory?)" : "", colon, words);
    else if (!*reason)
        snprintf(reason, size, "%s", *words ? words : "ended without a result");
    return "failed";
}
