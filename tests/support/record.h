/* record.h - what a trial said: the rows that must not differ between equal runs, and its end. */
#ifndef HY_TESTS_RECORD_H
#define HY_TESTS_RECORD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/row.h"
#include "core/trial/trial.h"

struct trial_record {
    struct hy_buf rows; /* one per line; the caller releases it */
    char end[16], reason[128];
    int64_t stop_at; /* raise the stop flag at this step's history; 0: never */
    int points;
};

struct trial_audience {
    struct trial_record *records;
    volatile int stop;
};

/* Speed, time and the resumption itself may differ between equal runs. */
static inline int record_is_a_result(const struct hy_row *row)
{
    static const char *const apart[] = {"tokens_per_s", "wall_s", "resumed_at"};
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (row->type == HY_ROW_FACT && !strcmp(row->name, apart[i]))
            return 0;
    if (row->type == HY_ROW_SLICE && !strcmp(row->task, "speed"))
        return 0;
    return row->type == HY_ROW_FACT || row->type == HY_ROW_HISTORY || row->type == HY_ROW_SLICE;
}

static inline void record_listen(void *context, const struct hy_row *row)
{
    struct trial_audience *a = context;
    struct trial_record *r = &a->records[row->member];
    if (row->type == HY_ROW_END) {
        snprintf(r->end, sizeof r->end, "%s", row->name);
        snprintf(r->reason, sizeof r->reason, "%s", row->text ? row->text : "");
    }
    if (row->type == HY_ROW_HISTORY && row->step == r->stop_at)
        a->stop = 1;
    r->points += row->type == HY_ROW_HISTORY;
    /* Facts about the set-up repeat in each attempt; those after training are what counts. */
    if (record_is_a_result(row) && (row->type != HY_ROW_FACT || strstr(row->name, "_test"))) {
        struct hy_row own = *row;
        own.member = 0;
        hy_row_encode(&own, &r->rows);
    }
}

/* Runs trials in this process, a gang where there are several: a record each. An error fails the
 * test. */
static inline void record_trials(const struct hy_trial_order *orders, int count,
                                 struct trial_record *records)
{
    struct trial_audience a = {.records = records};
    const struct hy_trial_io io = {.emit = record_listen, .context = &a, .stop = &a.stop};
    struct hy_err e = {0};
    if (hy_trial_run(orders, count, &io, &e))
        fail_msg("%s", e.text);
}

/* path: of the checkpoint, or NULL. */
static inline void record_trial(const struct hy_config *c, struct trial_record *r, const char *path)
{
    const struct hy_trial_order order = {.config = c, .checkpoint = path};
    record_trials(&order, 1, r);
}

#endif
