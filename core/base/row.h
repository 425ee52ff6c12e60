/* row.h - what a run reports while it trains: the rows that travel from trial to store.
 *
 * A trial emits rows; its rank forwards them as JSON lines; rank 0 writes them. One encoding serves
 * the pipe, the ranks and a log file:
 *     {"row":"history","step":100,"name":"train.loss","value":2.71}
 *     {"row":"slice","task":"mqar","split":"test","slice":"pairs=8","name":"accuracy","value":0.97}
 *     {"row":"slice","task":"mqar","split":"test","slice":"","component":"window",
 *      "name":"accuracy","value":0.95}                                  on one line
 *     {"row":"layer","step":3,"task":"full","split":"softmax","name":"params","value":16384}
 *     {"row":"fact","name":"params","value":115008}
 *     {"row":"fact","name":"host","text":"n01"}
 *     {"row":"progress","step":100,"steps":2000,"value":17231.0}       value: tokens per second
 *     {"row":"end","name":"done"}        or paused, diverged, interrupted; text: the reason
 * A component is part of the model, the rest of which was switched off: the row is that part's
 * score, and no score of the model's. One without a component, or with an empty one, is of the
 * whole model. Of a layer step is its number from 0, task its kind, split that kind's mixer. A
 * value that is not finite is written as null and read back as NaN. Of several runs in one process
 * each has a number; a row of any but the first ends with it: ,"member":2} */
#ifndef HY_BASE_ROW_H
#define HY_BASE_ROW_H

#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"

enum hy_row_type {
    HY_ROW_HISTORY,
    HY_ROW_SLICE,
    HY_ROW_FACT,
    HY_ROW_PROGRESS,
    HY_ROW_END,
    HY_ROW_LAYER
};

/* Unused fields are 0 or NULL. Strings are borrowed for the call that gets the row. */
struct hy_row {
    enum hy_row_type type;
    int member; /* of the gang that the run trains in */
    int64_t step, steps;
    const char *name;                 /* HISTORY, FACT, END; SLICE, LAYER: the metric */
    const char *task, *split, *slice; /* SLICE; LAYER: kind and mixer, no slice */
    const char *component;            /* SLICE: NULL or "": the whole model; read back as NULL */
    const char *text;                 /* FACT with a text value, END's reason */
    double value;
};

/* Names that the store knows as columns of `results`, reported as facts:
 * numbers: params, state_bytes, cache_bytes, train_bytes, flops_per_token, tokens, tokens_per_s,
 *          wall_s, ppl_valid, ppl_test, bpb_test, recall_valid, recall_test, peak_rss_bytes
 * texts:   host, device, version
 * cache_bytes is the measured cache at the largest of eval.contexts; each context has a slice row
 * (task "memory", split "cache", slice "context=1024", name "bytes"). Other facts go to table
 * facts. */

/* Appends the row as one line, newline included. */
void hy_row_encode(const struct hy_row *row, struct hy_buf *out);

/* Decodes one line (without newline). The row's strings live in *memory, which the caller frees
 * with free() after use. A line that is no row is an error that shows its beginning. */
int hy_row_decode(const char *line, struct hy_row *row, void **memory, struct hy_err *e);

#endif
