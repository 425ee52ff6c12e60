/* corpus.h - files that a task's options point to. Seen by core/tasks only. */
#ifndef HY_TASKS_SUPPORT_CORPUS_H
#define HY_TASKS_SUPPORT_CORPUS_H

#include "core/tasks/task.h"

struct hy_corpus {
    const unsigned char *at; /* NULL: no file */
    int64_t size;
};

/* Maps the file that option key names; without a path *out stays as it is. task: for messages. */
int hy_corpus_open(const struct hy_value *options, const char *key, const char *task,
                   struct hy_corpus *out, struct hy_err *e);
/* The same for a path as such. mark: where it was written, for messages. */
int hy_corpus_map(const char *path, struct hy_mark mark, const char *task, struct hy_corpus *out,
                  struct hy_err *e);
void hy_corpus_close(struct hy_corpus *c);
/* The content function of a task whose options keys[0..count) name files, or
 * lists of files: a hash of them all. */
int hy_corpus_content(const struct hy_value *options, const char *const *keys, int count,
                      const char *task, char *text, struct hy_err *e);

#endif
