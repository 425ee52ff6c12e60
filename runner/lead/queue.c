#include "runner/lead/queue.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "runner/plan/schedule.h"

enum state { WAITING, HELD, RUNNING, ENDED };

struct entry {
    enum state state;
    int *tally;     /* ENDED: what its status counts as; NULL: as nothing */
    int place;      /* in the order */
    int slot;       /* RUNNING: in `running` */
    int hurries;    /* stands in `ahead`, be it that it has begun meanwhile */
    double started; /* RUNNING */
    /* Runs of one source are a list: the source's first one, and the next of the same. -1: none */
    int dependant, sibling;
};

struct hy_queue {
    const struct hy_plan *plan;
    struct entry *entries; /* by index in the plan */
    int *order;            /* indices, longest first */
    int next;              /* no run before this place in the order waits */
    int *running;          /* indices */
    int *ahead;            /* a ring of indices: those that hurry */
    int ahead_first, ahead_count;
    struct hy_progress count;
    double waiting_s;      /* planned, of those that wait */
    double expected, took; /* planned and spent by those that this program finished */
};

static double planned(const struct hy_queue *r, int run)
{
    return r->plan->runs[run].seconds;
}

/* Takes a run out of what it counted as. */
static void leave_state(struct hy_queue *r, int run)
{
    struct entry *entry = &r->entries[run];
    if (entry->state == WAITING) {
        r->count.waiting--;
        r->waiting_s -= planned(r, run);
    } else if (entry->state == HELD) {
        r->count.held--;
        r->waiting_s -= planned(r, run);
    } else if (entry->state == RUNNING) {
        const int last = r->running[--r->count.running];
        r->running[entry->slot] = last;
        r->entries[last].slot = entry->slot;
    } else if (entry->tally) {
        --*entry->tally;
    }
}

static void hold(struct hy_queue *r, int run)
{
    leave_state(r, run);
    r->entries[run].state = HELD;
    r->count.held++;
    r->waiting_s += planned(r, run);
}

/* Holds the runs that have a source. */
static void join_dependants(struct hy_queue *r)
{
    const struct hy_plan *plan = r->plan;
    for (int i = 0; i < plan->count; i++)
        r->entries[i].dependant = r->entries[i].sibling = -1;
    for (int i = plan->count - 1; i >= 0; i--) {
        const int source = plan->runs[i].source;
        if (source < 0)
            continue;
        r->entries[i].sibling = r->entries[source].dependant;
        r->entries[source].dependant = i;
        hold(r, i);
    }
}

int hy_queue_new(const struct hy_plan *plan, struct hy_queue **out, struct hy_err *e)
{
    const size_t count = (size_t)plan->count;
    struct hy_queue *r = calloc(1, sizeof *r);
    double *seconds = malloc(count * sizeof *seconds);
    if (r) {
        r->plan = plan;
        r->entries = calloc(count, sizeof *r->entries);
        r->order = calloc(count, sizeof *r->order);
        r->running = calloc(count, sizeof *r->running);
        r->ahead = calloc(count, sizeof *r->ahead);
    }
    if (!r || !seconds || !r->entries || !r->order || !r->running || !r->ahead) {
        free(seconds);
        hy_queue_free(r);
        return hy_fail_memory(e);
    }
    for (int i = 0; i < plan->count; i++) {
        seconds[i] = planned(r, i);
        r->waiting_s += seconds[i];
    }
    hy_schedule_order(seconds, plan->count, r->order);
    free(seconds);
    for (int i = 0; i < plan->count; i++)
        r->entries[r->order[i]].place = i;
    r->count = (struct hy_progress){.total = plan->count, .waiting = plan->count};
    join_dependants(r);
    *out = r;
    return HY_OK;
}

void hy_queue_free(struct hy_queue *r)
{
    if (!r)
        return;
    free(r->ahead);
    free(r->running);
    free(r->order);
    free(r->entries);
    free(r);
}

void hy_queue_wait(struct hy_queue *r, int run)
{
    struct entry *entry = &r->entries[run];
    leave_state(r, run);
    entry->state = WAITING;
    r->count.waiting++;
    r->waiting_s += planned(r, run);
    if (entry->place < r->next)
        r->next = entry->place;
}

void hy_queue_hurry(struct hy_queue *r, int run)
{
    hy_queue_wait(r, run);
    if (r->entries[run].hurries)
        return;
    r->entries[run].hurries = 1;
    r->ahead[(r->ahead_first + r->ahead_count++) % r->plan->count] = run;
}

void hy_queue_begin(struct hy_queue *r, int run)
{
    struct entry *entry = &r->entries[run];
    leave_state(r, run);
    entry->state = RUNNING;
    entry->started = hy_now();
    entry->slot = r->count.running;
    r->running[r->count.running++] = run;
}

static int *tally_of(struct hy_progress *p, const char *status)
{
    if (!strcmp(status, "done"))
        return &p->done;
    if (!strcmp(status, "pruned"))
        return &p->pruned;
    if (!strcmp(status, "diverged"))
        return &p->diverged;
    if (!strcmp(status, "failed") || !strcmp(status, "timeout"))
        return &p->failed;
    return NULL;
}

void hy_queue_end(struct hy_queue *r, int run, const char *status)
{
    struct entry *entry = &r->entries[run];
    if (entry->state == RUNNING && !strcmp(status, "done")) {
        r->expected += planned(r, run);
        r->took += hy_queue_elapsed(r, run);
    }
    leave_state(r, run);
    entry->state = ENDED;
    entry->tally = tally_of(&r->count, status);
    if (entry->tally)
        ++*entry->tally;
    for (int i = entry->dependant; i >= 0 && !strcmp(status, "done"); i = r->entries[i].sibling)
        if (r->entries[i].state == HELD)
            hy_queue_wait(r, i);
}

int hy_queue_next(struct hy_queue *r)
{
    for (; r->ahead_count; r->ahead_count--) {
        const int run = r->ahead[r->ahead_first];
        if (r->entries[run].state == WAITING)
            return run;
        r->entries[run].hurries = 0;
        r->ahead_first = (r->ahead_first + 1) % r->plan->count;
    }
    while (r->next < r->plan->count && r->entries[r->order[r->next]].state != WAITING)
        r->next++;
    return r->next < r->plan->count ? r->order[r->next] : -1;
}

int hy_queue_waits(const struct hy_queue *r, int run)
{
    return r->entries[run].state == WAITING;
}

int hy_queue_is_held(const struct hy_queue *r, int run)
{
    return r->entries[run].state == HELD;
}

int hy_queue_is_empty(const struct hy_queue *r)
{
    return !r->count.waiting && !r->count.running;
}

double hy_queue_elapsed(const struct hy_queue *r, int run)
{
    return hy_now() - r->entries[run].started;
}

struct hy_progress hy_queue_progress(const struct hy_queue *r, int ranks)
{
    struct hy_progress p = r->count;
    p.eta = -1;
    if (r->expected <= 0)
        return p;
    /* Plans are as good as their guess of the machine's speed; finished runs correct it. */
    const double speed = r->took / r->expected;
    double left = r->waiting_s * speed;
    for (int i = 0; i < p.running; i++) {
        const int run = r->running[i];
        const double rest = planned(r, run) * speed - hy_queue_elapsed(r, run);
        left += rest > 0 ? rest : 0;
    }
    p.eta = left / ranks;
    return p;
}
