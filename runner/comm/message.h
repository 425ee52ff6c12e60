/* message.h - what ranks say to each other: a line "verb run", then a payload.
 *
 *   rank -> coordinator   ready            wants work
 *                         began R          payload: the rank's host
 *                         rows R           payload: rows as JSON lines
 *                         end R            payload: status, newline, reason
 *                         fetch R          payload: wants its source's file from that offset on
 *                         give R           payload: a part of R's weights, which others want
 *                         stopping         was told to stop by a signal
 *                         alive            now and then, lest it be taken for dead
 *   coordinator -> rank   train R          payload: an order (runner/rank/order.h)
 *                         chunk R          payload: a part of the file that R starts from
 *                         more R           payload: the offset that is next; -1: all is there
 *                         stop             interrupt what runs, start nothing
 *                         abandon          its run is another rank's now: forget it, ask again
 *                         alive            now and then, lest it be taken for dead
 *                         leave            all is done; payload: "broken" where a rank was lost */
#ifndef HY_RUNNER_COMM_MESSAGE_H
#define HY_RUNNER_COMM_MESSAGE_H

#include "core/base/buf.h"
#include "runner/comm/comm.h"

struct hy_message {
    char verb[16];
    int run;             /* index in the plan; -1: none */
    const char *payload; /* points into the bytes it was parsed from, ends with a 0 */
    size_t size;
};

int hy_message_send(struct hy_comm *comm, int to, const char *verb, int run, const char *payload,
                    size_t size, struct hy_err *e);
/* bytes must outlive *out. */
int hy_message_parse(const struct hy_buf *bytes, struct hy_message *out, struct hy_err *e);

#endif
