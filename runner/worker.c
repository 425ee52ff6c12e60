#include "runner/worker.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/row.h"
#include "core/base/value.h"
#include "runner/child.h"
#include "runner/stop.h"

enum { BATCH_BYTES = 32768 };
static const double batch_seconds = 0.2; /* rows wait at most this long in their rank */
static const double grace_seconds = 10;  /* from asking a run that is too slow to killing it */

struct hy_worker {
    struct hy_comm *comm;
    pid_t launcher;
    int left, asked; /* asked: a run is wanted or running */
    int stopping;    /* signals heeded so far */
    int run;         /* index in the plan, -1: none */
    struct hy_child child;
    double started, timeout; /* seconds; timeout 0: none */
    int timed_out;           /* 1: asked to stop, 2: killed */
    struct hy_buf rows;      /* complete lines, to be sent */
    struct hy_buf progress;  /* the last progress line */
    double sent;
    int measured_rss;
    char end[32];     /* name of the end row, "" before it came */
    char reason[512]; /* its text */
};

int hy_worker_new(struct hy_comm *comm, struct hy_worker **out, struct hy_err *e)
{
    struct hy_worker *w = calloc(1, sizeof *w);
    if (!w)
        return hy_fail_memory(e);
    w->comm = comm;
    w->launcher = getppid();
    w->run = -1;
    *out = w;
    return HY_OK;
}

void hy_worker_free(struct hy_worker *w)
{
    if (!w)
        return;
    hy_child_release(&w->child);
    hy_buf_release(&w->rows);
    hy_buf_release(&w->progress);
    free(w);
}

int hy_worker_left(const struct hy_worker *w)
{
    return w->left;
}

void hy_worker_wait(const struct hy_worker *w, int microseconds)
{
    const struct timespec time = {.tv_nsec = microseconds * 1000L};
    if (w->run >= 0)
        hy_child_wait(&w->child, &time);
    else
        nanosleep(&time, NULL);
}

static int send_end(struct hy_worker *w, const char *status, const char *reason, struct hy_err *e)
{
    char text[2048];
    snprintf(text, sizeof text, "%s\n%s", status, reason);
    const int run = w->run;
    w->run = -1;
    w->asked = 0;
    return hy_message_send(w->comm, 0, "end", run, text, strlen(text), e);
}

/* ---- Starting ---- */

static int start(struct hy_worker *w, const struct hy_message *m, struct hy_err *e)
{
    struct hy_value *order = NULL;
    struct hy_err why;
    char *config = NULL, host[256] = "";
    int rc = hy_value_from_json(m->payload, "order", &order, e);
    if (rc)
        return rc;
    config = hy_value_to_json(hy_value_get(order, "config"), 0);
    if (!config) {
        rc = hy_fail_memory(e);
        goto out;
    }
    const char *checkpoint = hy_value_get(order, "checkpoint")->string;
    hy_child_release(&w->child);
    w->run = m->run;
    w->started = w->sent = hy_now();
    w->timeout = hy_value_at(order, "config.run.timeout")->real;
    w->timed_out = w->measured_rss = 0;
    w->end[0] = w->reason[0] = 0;
    w->rows.size = w->progress.size = 0;
    gethostname(host, sizeof host - 1);
    rc = hy_message_send(w->comm, 0, "began", w->run, host, strlen(host), e);
    const int isolated = strcmp(hy_value_at(order, "config.run.isolate")->string, "none") != 0;
    if (!rc && hy_child_start(&w->child, config, checkpoint, isolated, &why))
        rc = send_end(w, "failed", why.text, e);
out:
    free(config);
    hy_value_free(order);
    return rc;
}

/* ---- Rows ---- */

/* Takes one line of the child; what is no row becomes the run's reason to fail. */
static void take_line(struct hy_worker *w, char *line)
{
    struct hy_row row;
    struct hy_err why;
    void *memory = NULL;
    if (hy_row_decode(line, &row, &memory, &why)) {
        snprintf(w->reason, sizeof w->reason, "%.*s", (int)sizeof w->reason - 1, why.text);
        return;
    }
    struct hy_buf *to = &w->rows;
    if (row.type == HY_ROW_PROGRESS) {
        w->progress.size = 0;
        to = &w->progress;
    }
    if (row.type == HY_ROW_FACT && !strcmp(row.name, "peak_rss_bytes"))
        w->measured_rss = 1;
    if (row.type == HY_ROW_END) {
        snprintf(w->end, sizeof w->end, "%s", row.name);
        snprintf(w->reason, sizeof w->reason, "%s", row.text ? row.text : "");
    } else {
        hy_buf_printf(to, "%s\n", line);
    }
    free(memory);
}

static void take_lines(struct hy_worker *w)
{
    struct hy_buf *in = &w->child.rows;
    size_t used = 0;
    while (used < in->size) {
        char *line = in->data + used, *end = memchr(line, '\n', in->size - used);
        if (!end)
            break;
        *end = 0;
        take_line(w, line);
        used += (size_t)(end - line) + 1;
    }
    if (used)
        hy_buf_drop(in, used);
}

static int send_rows(struct hy_worker *w, struct hy_err *e)
{
    if (w->progress.size)
        hy_buf_add(&w->rows, w->progress.data, w->progress.size);
    w->progress.size = 0;
    w->sent = hy_now();
    if (!w->rows.size)
        return HY_OK;
    const int rc = hy_message_send(w->comm, 0, "rows", w->run, w->rows.data, w->rows.size, e);
    w->rows.size = 0;
    return rc;
}

/* ---- The end of a child ---- */

/* What the operating system accounted to the child. */
static void add_usage(struct hy_worker *w)
{
    const struct rusage *u = &w->child.usage;
    const double cpu = (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
                       1e-6 * (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
    hy_row_encode(&(struct hy_row){.type = HY_ROW_FACT, .name = "cpu_s", .value = cpu}, &w->rows);
    /* A child that died had no time to report its peak. The system's figure may include the rank's
     * own memory, from the moment between fork and exec. */
    if (!w->measured_rss && u->ru_maxrss)
        hy_row_encode(&(struct hy_row){.type = HY_ROW_FACT,
                                       .name = "peak_rss_bytes",
                                       .value = 1024.0 * (double)u->ru_maxrss},
                      &w->rows);
}

/* The last lines of what the child printed, in one line. */
static void last_words(const struct hy_worker *w, char *text, size_t size)
{
    const struct hy_buf *words = &w->child.words;
    size_t end = words->size, begin;
    text[0] = 0;
    while (end && words->data[end - 1] == '\n')
        end--;
    begin = end > size - 1 ? end - (size - 1) : 0;
    for (size_t at = end, lines = 0; at > begin; at--)
        if (words->data[at - 1] == '\n' && ++lines == 3) {
            begin = at;
            break;
        }
    size_t n = 0;
    for (size_t at = begin; at < end; at++)
        text[n++] = words->data[at] == '\n' ? ' ' : words->data[at];
    text[n] = 0;
}

static const char *judge(const struct hy_worker *w, char *reason, size_t size)
{
    const int status = w->child.status;
    char words[768];
    last_words(w, words, sizeof words);
    const char *colon = *words ? ": " : "";
    snprintf(reason, size, "%s", w->reason);
    if (WIFEXITED(status) && (!strcmp(w->end, "done") || !strcmp(w->end, "diverged")))
        return w->end;
    if (w->timed_out) {
        snprintf(reason, size, "not done after %g s", w->timeout);
        return "timeout";
    }
    if (w->stopping || (WIFEXITED(status) && WEXITSTATUS(status) == HY_E_INTERRUPTED)) {
        snprintf(reason, size, "stopped by a signal");
        return "interrupted";
    }
    if (WIFSIGNALED(status))
        snprintf(reason, size, "killed by SIG%s%s%s%s", sigabbrev_np(WTERMSIG(status)),
                 WTERMSIG(status) == SIGKILL ? " (out of memory?)" : "", colon, words);
    else if (!*reason)
        snprintf(reason, size, "%s", *words ? words : "ended without a result");
    return "failed";
}

static int finish(struct hy_worker *w, struct hy_err *e)
{
    char reason[1500], words[768];
    take_lines(w);
    last_words(w, words, sizeof words);
    if (*words)
        hy_verbose("run %d said: %s", w->run + 1, words);
    add_usage(w);
    int rc = send_rows(w, e);
    if (!rc)
        rc = send_end(w, judge(w, reason, sizeof reason), reason, e);
    return rc;
}

/* ---- Control ---- */

static void stop_child(struct hy_worker *w, int signals)
{
    hy_child_signal(&w->child, signals > 1 ? SIGKILL : SIGTERM);
    w->stopping = signals;
}

/* Signals, and the death of mpirun, which would leave its ranks behind. */
static int heed_signals(struct hy_worker *w, struct hy_err *e)
{
    int signals = hy_stop_signals;
    if (!signals && hy_comm_size(w->comm) > 1 && getppid() != w->launcher)
        signals = 1;
    if (signals <= w->stopping)
        return HY_OK;
    const int first = !w->stopping;
    stop_child(w, signals);
    return first ? hy_message_send(w->comm, 0, "stopping", -1, NULL, 0, e) : HY_OK;
}

static void heed_time(struct hy_worker *w)
{
    const double spent = hy_now() - w->started;
    if (!w->timeout || spent < w->timeout)
        return;
    if (!w->timed_out)
        hy_child_signal(&w->child, SIGTERM);
    else if (w->timed_out == 1 && spent > w->timeout + grace_seconds)
        hy_child_signal(&w->child, SIGKILL);
    else
        return;
    w->timed_out++;
}

int hy_worker_message(struct hy_worker *w, const struct hy_message *m, struct hy_err *e)
{
    if (!strcmp(m->verb, "train") && w->stopping) {
        /* The order and the stop crossed each other. */
        w->run = m->run;
        return send_end(w, "interrupted", "stopped by a signal", e);
    }
    if (!strcmp(m->verb, "train"))
        return start(w, m, e);
    if (!strcmp(m->verb, "leave"))
        w->left = 1;
    else if (!strcmp(m->verb, "stop") && !w->stopping)
        stop_child(w, 1);
    return HY_OK;
}

int hy_worker_step(struct hy_worker *w, struct hy_err *e)
{
    int rc = heed_signals(w, e);
    if (!rc && !w->asked && !w->stopping) {
        w->asked = 1;
        rc = hy_message_send(w->comm, 0, "ready", -1, NULL, 0, e);
    }
    if (rc || w->run < 0)
        return rc;
    heed_time(w);
    if (hy_child_poll(&w->child))
        return finish(w, e);
    take_lines(w);
    if (w->rows.size > BATCH_BYTES || hy_now() - w->sent > batch_seconds)
        rc = send_rows(w, e);
    return rc;
}
