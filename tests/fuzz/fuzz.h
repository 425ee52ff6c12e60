/* fuzz.h - what a fuzz target defines, and a file to read its input from. README.md says how
 * targets are run. */
#ifndef HY_TESTS_FUZZ_H
#define HY_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* libFuzzer's interface, which replay.c has too. Each target makes its fixture at the first call;
 * a broken law is an abort. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_require(int holds, const char *law)
{
    if (holds)
        return;
    fprintf(stdout, "broken: %s\n", law);
    fflush(stdout);
    abort();
}

/* What people are told would drown the fuzzer's own reports, which do not go through this. */
static inline void fuzz_silence(void)
{
    FILE *nowhere = fopen("/dev/null", "w");
    if (nowhere)
        stderr = nowhere;
}

/* A path under which one input after another is a file's content. */
static inline const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[64];
    static int file = -1;
    if (file < 0) {
        file = memfd_create("input", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    }
    fuzz_require(file >= 0 && !ftruncate(file, 0) && pwrite(file, data, size, 0) == (ssize_t)size,
                 "an input can be written to memory");
    return path;
}

#endif
