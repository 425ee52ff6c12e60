#include "runner/rank/thread_trial.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner/rank/serve.h"

struct hy_thread_trial {
    pthread_t thread;
    char *order;
    int rows_fd, words_fd;
    volatile int stop;
    atomic_int ended;
    int code; /* of hy_serve */
    struct rusage usage;
};

static void *serve(void *argument)
{
    struct hy_thread_trial *i = argument;
    struct hy_err e;
    const struct hy_service service = {.order = i->order, .stop = &i->stop, .rows_fd = i->rows_fd};
    i->code = hy_serve(&service, &e);
    if (i->code)
        dprintf(i->words_fd, "%s\n", e.text);
    getrusage(RUSAGE_THREAD, &i->usage);
    i->usage.ru_maxrss = 0; /* the rank's, not the run's */
    /* The end of the rows wakes the rank, which then asks. */
    atomic_store(&i->ended, 1);
    close(i->rows_fd);
    close(i->words_fd);
    return NULL;
}

static void destroy(struct hy_thread_trial *i)
{
    free(i->order);
    free(i);
}

int hy_thread_trial_start(const char *order, int rows_fd, int words_fd,
                          struct hy_thread_trial **out, struct hy_err *e)
{
    struct hy_thread_trial *i = calloc(1, sizeof *i);
    int rc = i ? HY_OK : hy_fail_memory(e);
    if (!rc) {
        i->rows_fd = rows_fd;
        i->words_fd = words_fd;
        i->order = strdup(order);
        if (!i->order)
            rc = hy_fail_memory(e);
    }
    /* Signals are the main thread's (stop.h). */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = rc ? 0 : pthread_create(&i->thread, NULL, serve, i);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        rc = hy_fail(e, HY_E_ENV, "cannot start a trial's thread: %s", strerror(error));
    if (rc) {
        if (i)
            destroy(i);
        close(rows_fd);
        close(words_fd);
        return rc;
    }
    *out = i;
    return HY_OK;
}

void hy_thread_trial_stop(struct hy_thread_trial *i)
{
    i->stop = 1;
}

int hy_thread_trial_poll(struct hy_thread_trial *i, int *status, struct rusage *usage)
{
    if (!atomic_load(&i->ended))
        return 0;
    pthread_join(i->thread, NULL);
    *status = i->code << 8; /* as wait4 tells of an exit */
    *usage = i->usage;
    destroy(i);
    return 1;
}

void hy_thread_trial_free(struct hy_thread_trial *i)
{
    hy_thread_trial_stop(i);
    pthread_join(i->thread, NULL);
    destroy(i);
}
