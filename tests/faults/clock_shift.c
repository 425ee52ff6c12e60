/* A clock that someone sets: preloaded into a program, it moves the time of day by as many seconds
 * as the file named by CLOCK_SHIFT says at that moment. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long seconds = 0;
    const int rc = (int)syscall(SYS_clock_gettime, clock, t);
    const char *path = clock == CLOCK_REALTIME ? getenv("CLOCK_SHIFT") : NULL;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file && fscanf(file, "%ld", &seconds) == 1)
        t->tv_sec += seconds;
    if (file)
        fclose(file);
    return rc;
}
