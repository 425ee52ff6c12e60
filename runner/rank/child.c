#include "runner/rank/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS_FD = 3, MAX_WORDS = 4096 };

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A file in memory that holds text: unlike a pipe it takes any size without a reader. */
static int open_text(const char *text)
{
    const size_t size = strlen(text);
    const int fd = memfd_create("hylas-order", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    if (write(fd, text, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int spawn(pid_t *pid, char *const *argv, int order_fd, int rows_fd, int words_fd)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    /* Descriptor 3 last: any of the others may sit there. */
    posix_spawn_file_actions_adddup2(&files, order_fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, words_fd, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, words_fd, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&files, rows_fd, ROWS_FD);
    /* MPI's sockets must not outlive the rank in its child. */
    posix_spawn_file_actions_addclosefrom_np(&files, ROWS_FD + 1);
    /* A group of its own: a terminal's Ctrl-C goes to the rank, which then tells the child. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    const int error = posix_spawn(pid, "/proc/self/exe", &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

static int start_process(pid_t *pid, const char *order, int rows_fd, int words_fd, struct hy_err *e)
{
    char parent[32];
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    const char *argv[] = {"hylas", "trial", "--parent", parent, NULL};
    int order_fd = open_text(order);
    if (order_fd < 0)
        return hy_fail_errno(e, HY_E_ENV, "cannot prepare a trial's process");
    const int error = spawn(pid, (char *const *)argv, order_fd, rows_fd, words_fd);
    close_fd(&order_fd);
    return error ? hy_fail(e, HY_E_ENV, "cannot start a trial's process: %s", strerror(error))
                 : HY_OK;
}

int hy_child_start(struct hy_child *c, const char *order, int isolated, struct hy_err *e)
{
    int rows[2] = {-1, -1}, words[2] = {-1, -1}, rc;
    struct hy_child child = {.end_fd = -1};
    if (pipe2(rows, O_CLOEXEC) || pipe2(words, O_CLOEXEC) || fcntl(rows[0], F_SETFL, O_NONBLOCK) ||
        fcntl(words[0], F_SETFL, O_NONBLOCK)) {
        rc = hy_fail_errno(e, HY_E_ENV, "cannot make the pipes of a trial");
        goto out;
    }
    if (isolated) {
        rc = start_process(&child.pid, order, rows[1], words[1], e);
        if (!rc) /* glibc has a name for it since 2.36; -1 before Linux 5.3, which costs a nap */
            child.end_fd = (int)syscall(SYS_pidfd_open, child.pid, 0);
    } else {
        rc = hy_thread_trial_start(order, rows[1], words[1], &child.inside, e);
        rows[1] = words[1] = -1;
    }
    if (!rc) {
        child.rows_fd = rows[0];
        child.words_fd = words[0];
        rows[0] = words[0] = -1;
        *c = child;
    }
out:
    close_fd(&words[0]);
    close_fd(&words[1]);
    close_fd(&rows[0]);
    close_fd(&rows[1]);
    return rc;
}

/* Reads all that is there; at the end of the stream *fd becomes -1. */
static void drain(int *fd, struct hy_buf *out)
{
    char piece[16384];
    while (*fd >= 0) {
        const ssize_t size = read(*fd, piece, sizeof piece);
        if (size > 0)
            hy_buf_add(out, piece, (size_t)size);
        else if (size < 0 && errno == EINTR)
            continue;
        else if (size < 0 && errno == EAGAIN)
            return;
        else
            close_fd(fd);
    }
}

static void read_all(struct hy_child *c)
{
    drain(&c->rows_fd, &c->rows);
    drain(&c->words_fd, &c->words);
    if (c->words.size > MAX_WORDS)
        hy_buf_drop(&c->words, c->words.size - MAX_WORDS);
}

static void close_all(struct hy_child *c)
{
    close_fd(&c->rows_fd);
    close_fd(&c->words_fd);
    close_fd(&c->end_fd);
}

static int has_ended(struct hy_child *c)
{
    if (c->inside)
        return hy_thread_trial_poll(c->inside, &c->status, &c->usage);
    return c->pid && wait4(c->pid, &c->status, WNOHANG, &c->usage) == c->pid;
}

int hy_child_poll(struct hy_child *c)
{
    read_all(c);
    if (!has_ended(c))
        return 0;
    c->pid = 0;
    c->inside = NULL;
    /* What it wrote between the last read and its end. */
    read_all(c);
    close_all(c);
    return 1;
}

void hy_child_wait(const struct hy_child *c, const struct timespec *time)
{
    struct pollfd fds[] = {
        {c->rows_fd, POLLIN, 0}, {c->words_fd, POLLIN, 0}, {c->end_fd, POLLIN, 0}};
    ppoll(fds, sizeof fds / sizeof *fds, time, NULL);
}

void hy_child_signal(const struct hy_child *c, int number)
{
    if (c->inside)
        hy_thread_trial_stop(c->inside);
    else if (c->pid)
        kill(c->pid, number);
}

void hy_child_release(struct hy_child *c)
{
    if (c->inside) {
        close_all(c);
        hy_thread_trial_free(c->inside);
        c->inside = NULL;
    }
    if (c->pid) {
        kill(c->pid, SIGKILL);
        while (wait4(c->pid, &c->status, 0, &c->usage) < 0 && errno == EINTR)
            ;
        c->pid = 0;
        close_all(c);
    }
    hy_buf_release(&c->rows);
    hy_buf_release(&c->words);
}
