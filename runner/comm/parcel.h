/* parcel.h - a file on its way between two hosts that share none, in parts: who wants it asks for
 * the part from an offset on, who has it sends that and remembers nothing.
 * Local, but for the message that each sends. */
#ifndef HY_RUNNER_COMM_PARCEL_H
#define HY_RUNNER_COMM_PARCEL_H

#include "runner/comm/message.h"

/* A message of that verb about a run; payload: the offset. */
int hy_parcel_ask(struct hy_comm *comm, int to, const char *verb, int run, int64_t offset,
                  struct hy_err *e);
int64_t hy_parcel_asked(const struct hy_message *m); /* the offset of such a message */

/* A message of that verb about a run; payload: offset and size of the file, newline, bytes. A file
 * that cannot be read has the size -1. *size: that of the file. */
int hy_parcel_send(struct hy_comm *comm, int to, const char *verb, int run, const char *path,
                   int64_t offset, int64_t *size, struct hy_err *e);
/* Puts a chunk where it belongs; *next: the offset of the part that follows, -1 once path is there
 * as a whole. Until then it is <path>.tmp. HY_E_ENV where there is none, or it cannot be written.
 */
int hy_parcel_take(const struct hy_message *m, const char *path, int64_t *next, struct hy_err *e);

#endif
