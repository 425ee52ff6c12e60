/* bench_spawn N COMMAND...: starts a command N times, one after the other, and prints processes per
 * second: what no runner that starts a process per run can be faster than. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"

int main(int argc, char **argv)
{
    const long count = argc > 2 ? strtol(argv[1], NULL, 10) : 0;
    posix_spawn_file_actions_t files;
    if (count < 1) {
        fputs("usage: bench_spawn N COMMAND...\n", stderr);
        return 2;
    }
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    const double began = hy_now();
    for (long i = 0; i < count; i++) {
        pid_t pid;
        int status;
        if (posix_spawnp(&pid, argv[2], &files, NULL, argv + 2, environ) ||
            waitpid(pid, &status, 0) != pid || status) {
            fprintf(stderr, "%s failed\n", argv[2]);
            return 1;
        }
    }
    printf("%.1f\n", (double)count / (hy_now() - began));
    posix_spawn_file_actions_destroy(&files);
    return 0;
}
