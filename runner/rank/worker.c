#include "runner/rank/worker.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/row.h"
#include "core/base/option.h"
#include "runner/rank/child.h"
#include "runner/rank/order.h"
#include "runner/rank/serve.h"
#include "runner/rank/stop.h"
#include "runner/rank/supply.h"
#include "runner/rank/child_status.h"

enum { BATCH_BYTES = 32768 };
static const double batch_seconds = 0.2; /* rows wait at most this long in their rank */
static const double beat_seconds = 1;    /* between signs of life to rank 0 */
static const double grace_seconds = 10;  /* from asking a child to stop to killing it */
static const double last_word = 3;       /* that a rank which stops waits for one of rank 0 */
/* Until rank 0 has spoken once it plans the sweep and cannot: it gets so many times its time. */
static const double first_word_factor = 20;

/* One of the runs that the child trains. */
struct part {
    int run;                /* index in the plan */
    int ended;              /* rank 0 knows */
    int lost;               /* a row was, so it cannot count as done */
    struct hy_buf rows;     /* complete lines, to be sent */
    struct hy_buf progress; /* the last progress line */
    int measured_rss, measured_cpu;
    char end[32];     /* name of the end row, "" before it came */
    char reason[512]; /* its text */
};

struct hy_worker {
    struct hy_comm *comm;
    pid_t launcher;
    int left, asked; /* asked: a run is wanted or running */
    int uses_gpu;    /* some run did */
    int stopping;    /* signals heeded so far */
    double patience; /* seconds of silence after which rank 0 counts as dead */
    struct hy_awake clock;
    double now, beat, heard; /* on the clock: this step; the last signs of life, sent and got */
    struct part *parts;      /* what the child trains: one run, or a gang */
    int count;               /* 0: nothing */
    struct hy_supply supply; /* what they start from, and leave for others */
    int isolated;
    struct hy_child child;       /* while nothing is on its way */
    double timeout, watchdog;    /* seconds that it may take in all, and be silent; 0: any */
    double started, spoke, told; /* on the clock: its beginning, its last word, when it was told */
    enum hy_cause cause;         /* ... to stop */
    double sent;
};

int hy_worker_new(struct hy_comm *comm, double patience, struct hy_worker **out, struct hy_err *e)
{
    struct hy_worker *w = calloc(1, sizeof *w);
    if (!w)
        return hy_fail_memory(e);
    w->comm = comm;
    w->supply.fetching = w->supply.giving = -1;
    w->launcher = getppid();
    w->patience = patience;
    w->heard = (first_word_factor - 1) * patience; /* in the future of a clock that begins at 0 */
    *out = w;
    return HY_OK;
}

/* Files are on their way, and no child runs. */
static int is_waiting(const struct hy_worker *w)
{
    return w->supply.fetching >= 0 || w->supply.giving >= 0;
}

/* Nothing is trained any more: the next run may be asked for. */
static void clear(struct hy_worker *w)
{
    for (int i = 0; i < w->count; i++) {
        hy_buf_release(&w->parts[i].rows);
        hy_buf_release(&w->parts[i].progress);
    }
    free(w->parts);
    hy_supply_release(&w->supply);
    w->parts = NULL;
    w->count = w->asked = 0;
}

void hy_worker_free(struct hy_worker *w)
{
    if (!w)
        return;
    hy_child_release(&w->child);
    clear(w);
    free(w);
}

int hy_worker_left(const struct hy_worker *w)
{
    return w->left;
}

void hy_worker_wait(const struct hy_worker *w, int microseconds)
{
    const struct timespec time = {.tv_nsec = microseconds * 1000L};
    if (w->count && !is_waiting(w))
        hy_child_wait(&w->child, &time);
    else
        nanosleep(&time, NULL);
}

static int send_end(struct hy_worker *w, struct part *part, const char *status, const char *reason,
                    struct hy_err *e)
{
    char text[2048];
    snprintf(text, sizeof text, "%s\n%s", status, reason);
    part->ended = 1;
    return hy_message_send(w->comm, 0, "end", part->run, text, strlen(text), e);
}

/* All that have not ended do, in the same way. */
static int end_all(struct hy_worker *w, const char *status, const char *reason, struct hy_err *e)
{
    int rc = HY_OK;
    for (int i = 0; i < w->count && !rc; i++)
        if (!w->parts[i].ended)
            rc = send_end(w, &w->parts[i], status, reason, e);
    clear(w);
    return rc;
}

/* ---- Starting ---- */

/* What the order says to the rank: which runs, and their limits. The members of a gang may take
 * turns, so its time is the sum of theirs. */
static int read_order(struct hy_worker *w, const struct hy_message *m, struct hy_err *e)
{
    struct hy_value *orders = NULL;
    int rc = hy_order_parse(m->payload, &orders, e);
    if (rc)
        return rc;
    clear(w);
    w->asked = 1;
    w->parts = calloc(orders->count, sizeof *w->parts);
    w->timeout = 0;
    if (!w->parts)
        rc = hy_fail_memory(e);
    for (size_t i = 0; !rc && i < orders->count; i++) {
        const struct hy_value *settings = hy_value_at(orders->items[i], "config.run");
        w->parts[w->count++].run = (int)hy_get_int(orders->items[i], "run");
        w->timeout += hy_get_real(settings, "timeout");
        w->watchdog = hy_get_real(settings, "watchdog");
        w->isolated = strcmp(hy_get_string(settings, "isolate"), "none") != 0;
    }
    w->supply.orders = orders; /* whatever happens, clear() frees them */
    return rc;
}

/* Begins the child, once what it needs is there. */
static int begin(struct hy_worker *w, struct hy_err *e)
{
    struct hy_err why;
    if (is_waiting(w))
        return HY_OK;
    char *order = hy_value_to_json(w->supply.orders, 0);
    if (!order)
        return hy_fail_memory(e);
    w->started = w->spoke = w->sent = w->now;
    const int rc = hy_child_start(&w->child, order, w->isolated, &why);
    free(order);
    return rc ? end_all(w, "failed", why.text, e) : HY_OK;
}

/* What keeps the files from coming is why the runs fail. */
static int fetch(struct hy_worker *w, int rc, const struct hy_err *why, struct hy_err *e)
{
    return rc ? end_all(w, "failed", why->text, e) : begin(w, e);
}

static int start(struct hy_worker *w, const struct hy_message *m, struct hy_err *e)
{
    struct hy_err why;
    char host[256] = "";
    int rc = read_order(w, m, e);
    if (rc)
        return rc;
    if (w->stopping) /* the order and the stop crossed each other */
        return end_all(w, "interrupted", "stopped by a signal", e);
    hy_child_release(&w->child);
    w->cause = HY_CAUSE_NONE;
    if (w->uses_gpu)
        setenv(HY_AUTO_DEVICE, "cuda", 1);
    gethostname(host, sizeof host - 1);
    for (int i = 0; i < w->count && !rc; i++)
        rc = hy_message_send(w->comm, 0, "began", w->parts[i].run, host, strlen(host), e);
    if (rc)
        return rc;
    rc = hy_supply_init(&w->supply, w->comm, w->supply.orders, &why);
    if (!rc)
        rc = hy_supply_fetch(&w->supply, &why);
    return fetch(w, rc, &why, e);
}

/* ---- Rows ---- */

static void lose(struct part *part, const char *why)
{
    part->lost = 1;
    part->end[0] = 0;
    snprintf(part->reason, sizeof part->reason, "%.*s", (int)sizeof part->reason - 1, why);
}

/* What is no row becomes the reason to fail of all that have not ended: whose it was is not known.
 */
static void note_nonsense(struct hy_worker *w, const char *why)
{
    for (int i = 0; i < w->count; i++)
        if (!w->parts[i].ended && !w->parts[i].end[0])
            lose(&w->parts[i], why);
}

/* Takes one line of the child. */
static void take_line(struct hy_worker *w, char *line)
{
    struct hy_row row;
    struct hy_err why;
    void *memory = NULL;
    if (hy_row_decode(line, &row, &memory, &why)) {
        note_nonsense(w, why.text);
        return;
    }
    if (row.member >= w->count || w->parts[row.member].ended) {
        note_nonsense(w, "a row of a run that is not trained here");
        free(memory);
        return;
    }
    struct part *part = &w->parts[row.member];
    struct hy_buf *to = &part->rows;
    if (row.type == HY_ROW_PROGRESS) {
        part->progress.size = 0;
        to = &part->progress;
    }
    if (row.type == HY_ROW_FACT) {
        part->measured_rss |= !strcmp(row.name, "peak_rss_bytes");
        part->measured_cpu |= !strcmp(row.name, "cpu_s");
        w->uses_gpu |= !strcmp(row.name, "device") && row.text && !strncmp(row.text, "cuda", 4);
    }
    if (row.type == HY_ROW_END && part->lost) {
        hy_verbose("run %d says %s, but a row is lost", part->run + 1, row.name);
    } else if (row.type == HY_ROW_END) {
        snprintf(part->end, sizeof part->end, "%s", row.name);
        snprintf(part->reason, sizeof part->reason, "%s", row.text ? row.text : "");
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

/* Before any end of the part: whether all its rows are there shows here. */
static int send_rows(struct hy_worker *w, struct part *part, struct hy_err *e)
{
    if (part->progress.size)
        hy_buf_add(&part->rows, part->progress.data, part->progress.size);
    part->progress.size = 0;
    if (hy_buf_failed(&part->rows) || hy_buf_failed(&w->child.rows))
        lose(part, "no memory for its rows");
    if (!part->rows.size || hy_buf_failed(&part->rows)) /* its last line may be half of one */
        return HY_OK;
    const int rc =
        hy_message_send(w->comm, 0, "rows", part->run, part->rows.data, part->rows.size, e);
    part->rows.size = 0;
    return rc;
}

static int send_all_rows(struct hy_worker *w, struct hy_err *e)
{
    int rc = HY_OK;
    w->sent = w->now;
    for (int i = 0; i < w->count && !rc; i++)
        rc = send_rows(w, &w->parts[i], e);
    return rc;
}

/* Results of a gang's members are not kept waiting for the others, who may yet take the child down.
 * The last one's end is the child's. */
static int send_results(struct hy_worker *w, struct hy_err *e)
{
    int left = 0, rc = HY_OK;
    for (int i = 0; i < w->count; i++)
        left += !w->parts[i].ended;
    for (int i = 0; i < w->count && left > 1 && !rc; i++) {
        struct part *part = &w->parts[i];
        if (part->ended || !hy_is_result(part->end) || hy_supply_owes(&w->supply, i))
            continue;
        rc = send_rows(w, part, e);
        if (rc || part->lost)
            continue;
        rc = send_end(w, part, part->end, part->reason, e);
        left--;
    }
    return rc;
}

/* ---- The end of a child ---- */

/* What the operating system accounted to the child, where it has not told that itself; of a gang's
 * processor time a member has its share. */
static void add_usage(struct hy_worker *w, struct part *part)
{
    const struct rusage *u = &w->child.usage;
    const double cpu = (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
                       1e-6 * (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
    if (!part->measured_cpu)
        hy_row_encode(
            &(struct hy_row){.type = HY_ROW_FACT, .name = "cpu_s", .value = cpu / w->count},
            &part->rows);
    /* A child that died had no time to report its peak. The system's figure may include the rank's
     * own memory, from the moment between fork and exec. */
    if (!part->measured_rss && u->ru_maxrss)
        hy_row_encode(&(struct hy_row){.type = HY_ROW_FACT,
                                       .name = "peak_rss_bytes",
                                       .value = 1024.0 * (double)u->ru_maxrss},
                      &part->rows);
}

/* The end of a run with its child. */
static int finish_part(struct hy_worker *w, struct part *part, struct hy_err *e)
{
    char reason[1500];
    const struct hy_ending ending = {
        .status = w->child.status,
        .row = part->end,
        .text = part->reason,
        .words = &w->child.words,
        .cause = w->cause,
        .limit = w->cause == HY_CAUSE_TIMEOUT ? w->timeout : w->watchdog,
    };
    add_usage(w, part);
    const int rc = send_rows(w, part, e);
    return rc ? rc : send_end(w, part, hy_child_status(&ending, reason, sizeof reason), reason, e);
}

static int finish(struct hy_worker *w, struct hy_err *e)
{
    char words[768];
    take_lines(w);
    hy_last_words(&w->child.words, words, sizeof words);
    if (*words)
        hy_verbose("run %d said: %s", w->parts[0].run + 1, words);
    int rc = send_results(w, e);
    for (int i = 0; i < w->count && !rc; i++) {
        const struct part *part = &w->parts[i];
        if (!part->ended && hy_is_result(part->end) && hy_supply_owes(&w->supply, i))
            return hy_supply_give(&w->supply, i, e); /* and again once rank 0 has it */
    }
    for (int i = 0; i < w->count && !rc; i++)
        if (!w->parts[i].ended)
            rc = finish_part(w, &w->parts[i], e);
    clear(w);
    return rc;
}

/* ---- Control ---- */

/* Asks the child to stop. The first cause counts, and begins the time that it has for that. */
static void stop_child(struct hy_worker *w, enum hy_cause cause)
{
    if (!w->count || w->cause)
        return;
    w->cause = cause;
    w->told = w->now;
    hy_child_signal(&w->child, cause == HY_CAUSE_SILENCE ? SIGKILL : SIGTERM);
}

/* Limits of the run, and of the time that a child takes to stop. */
static void heed_limits(struct hy_worker *w)
{
    if (is_waiting(w))
        return;
    if (w->timeout > 0 && w->now - w->started > w->timeout)
        stop_child(w, HY_CAUSE_TIMEOUT);
    if (w->watchdog > 0 && w->now - w->spoke > w->watchdog)
        stop_child(w, HY_CAUSE_SILENCE);
    if (w->cause && w->now - w->told > grace_seconds)
        hy_child_signal(&w->child, SIGKILL);
}

/* Signals; the death of mpirun, which would leave its ranks behind; and that of rank 0, which
 * nobody announces. */
static int heed_signals(struct hy_worker *w, struct hy_err *e)
{
    const double patience = w->stopping && w->patience > last_word ? last_word : w->patience;
    const int deserted = hy_comm_rank(w->comm) > 0 && w->now - w->heard > patience;
    int signals = hy_stop_signals;
    if (!signals && (deserted || (hy_comm_size(w->comm) > 1 && getppid() != w->launcher)))
        signals = 1;
    if (deserted && is_waiting(w))
        clear(w);
    if (deserted && !w->count) {
        if (!w->left)
            hy_warn("rank %d leaves: rank 0 has been silent for %g s", hy_comm_rank(w->comm),
                    patience);
        hy_comm_break(w->comm);
        w->left = 1;
    }
    if (signals <= w->stopping)
        return HY_OK;
    const int first = !w->stopping;
    w->stopping = signals;
    if (first) {
        stop_child(w, HY_CAUSE_STOP);
        return deserted ? HY_OK : hy_message_send(w->comm, 0, "stopping", -1, NULL, 0, e);
    }
    hy_child_signal(&w->child, SIGKILL);
    return HY_OK;
}

/* Rank 0 gave this rank up and its run to another one. */
static void abandon(struct hy_worker *w)
{
    hy_child_release(&w->child);
    clear(w);
}

int hy_worker_message(struct hy_worker *w, const struct hy_message *m, struct hy_err *e)
{
    w->heard = w->clock.seconds;
    if (!strcmp(m->verb, "train"))
        return start(w, m, e);
    if (!strcmp(m->verb, "chunk") && w->supply.fetching >= 0) {
        struct hy_err why;
        const int rc = hy_supply_chunk(&w->supply, m, &why);
        return fetch(w, rc, &why, e);
    }
    if (!strcmp(m->verb, "more") && w->supply.giving >= 0) {
        const int rc = hy_supply_more(&w->supply, m, e);
        return rc || is_waiting(w) ? rc : finish(w, e);
    }
    if (!strcmp(m->verb, "leave")) {
        if (m->size)
            hy_comm_break(w->comm);
        w->left = 1;
    } else if (!strcmp(m->verb, "abandon")) {
        abandon(w);
    } else if (!strcmp(m->verb, "stop") && !w->stopping) {
        w->stopping = 1;
        stop_child(w, HY_CAUSE_STOP);
    }
    return HY_OK;
}

static int say_something(struct hy_worker *w, struct hy_err *e)
{
    if (!w->asked && !w->stopping) {
        w->asked = 1;
        return hy_message_send(w->comm, 0, "ready", -1, NULL, 0, e);
    }
    if (hy_comm_rank(w->comm) == 0 || w->now - w->beat < beat_seconds)
        return HY_OK;
    w->beat = w->now;
    return hy_message_send(w->comm, 0, "alive", -1, NULL, 0, e);
}

int hy_worker_step(struct hy_worker *w, struct hy_err *e)
{
    w->now = hy_awake_now(&w->clock);
    int rc = heed_signals(w, e);
    if (!rc)
        rc = say_something(w, e);
    if (!rc && w->supply.fetching >= 0 && w->stopping)
        return end_all(w, "interrupted", "stopped by a signal", e);
    if (rc || !w->count || is_waiting(w))
        return rc;
    heed_limits(w);
    if (hy_child_poll(&w->child)) {
        rc = finish(w, e);
        return rc ? rc : say_something(w, e); /* rank 0 gives work before it commits the end */
    }
    if (w->child.rows.size)
        w->spoke = w->now;
    take_lines(w);
    size_t size = 0;
    for (int i = 0; i < w->count; i++)
        size += w->parts[i].rows.size;
    if (size > BATCH_BYTES || w->now - w->sent > batch_seconds)
        rc = send_all_rows(w, e);
    return rc ? rc : send_results(w, e);
}
