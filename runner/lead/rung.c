#include "runner/lead/rung.h"

#include <stdlib.h>
#include <string.h>

static int is_better(struct hy_scored a, struct hy_scored b)
{
    return a.score != b.score ? a.score > b.score : a.run < b.run;
}

int hy_rung_init(struct hy_rung *r, int runs, struct hy_err *e)
{
    *r = (struct hy_rung){0};
    r->waiting = malloc((size_t)runs * sizeof *r->waiting);
    r->passed = malloc((size_t)runs * sizeof *r->passed);
    return r->waiting && r->passed ? HY_OK : hy_fail_memory(e);
}

void hy_rung_release(struct hy_rung *r)
{
    free(r->passed);
    free(r->waiting);
    *r = (struct hy_rung){0};
}

void hy_rung_wait(struct hy_rung *r, struct hy_scored item)
{
    int at = r->waiting_count++;
    for (int above; at > 0 && is_better(item, r->waiting[above = (at - 1) / 2]); at = above)
        r->waiting[at] = r->waiting[above];
    r->waiting[at] = item;
    r->count++;
}

static struct hy_scored pop_waiting(struct hy_rung *r)
{
    const struct hy_scored best = r->waiting[0], last = r->waiting[--r->waiting_count];
    int at = 0;
    for (int below; (below = 2 * at + 1) < r->waiting_count; at = below) {
        if (below + 1 < r->waiting_count && is_better(r->waiting[below + 1], r->waiting[below]))
            below++;
        if (!is_better(r->waiting[below], last))
            break;
        r->waiting[at] = r->waiting[below];
    }
    r->waiting[at] = last;
    return best;
}

/* How many of those that passed are better. */
static int passed_before(const struct hy_rung *r, struct hy_scored item)
{
    int low = 0, high = r->passed_count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (is_better(r->passed[middle], item))
            high = middle;
        else
            low = middle + 1;
    }
    return r->passed_count - low;
}

static void insert_passed(struct hy_rung *r, struct hy_scored item)
{
    const int better = passed_before(r, item);
    struct hy_scored *at = r->passed + r->passed_count - better;
    memmove(at + 1, at, (size_t)better * sizeof *at);
    *at = item;
    r->passed_count++;
}

void hy_rung_pass(struct hy_rung *r, struct hy_scored item)
{
    insert_passed(r, item);
    r->count++;
}

int hy_rung_is_ready(const struct hy_rung *r, int factor)
{
    return r->waiting_count && passed_before(r, r->waiting[0]) < r->count / factor;
}

int hy_rung_take(struct hy_rung *r)
{
    const struct hy_scored best = pop_waiting(r);
    insert_passed(r, best);
    return best.run;
}
