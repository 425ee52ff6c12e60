/* corpus.h - a file of 4000 bytes for tasks that read one: a group fixture of cmocka. */
#ifndef HY_TESTS_CORPUS_H
#define HY_TESTS_CORPUS_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char corpus[] = "/tmp/hylas-corpus-XXXXXX"; /* its path */

static int write_corpus(void **unused)
{
    (void)unused;
    const int fd = mkstemp(corpus);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!file)
        return 1;
    for (int i = 0; i < 4000; i++)
        fputc(i * i % 251, file);
    return fclose(file);
}

static int remove_corpus(void **unused)
{
    (void)unused;
    return unlink(corpus);
}

#endif
