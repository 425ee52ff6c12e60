#include "runner/launch/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "db/lock.h"
#include "runner/launch/launch_progress.h"
#include "runner/rank/stop.h"

enum { MAX_WORDS = 32, FRUITLESS = 3, TICK_MS = 50 };
/* Ranks get ten seconds for their checkpoints, from us and from mpirun. */
#define KILL_TIMEOUT "10"
static const double stop_seconds = 15; /* from a signal until mpirun is told harder */
/* A rank that dies while MPI starts leaves the others, and mpirun, waiting for ever: rank 0 gets so
 * many times the silence that is granted to a rank before it must be at work. */
static const double start_factor = 20;
static const double plan_factor = 10; /* likewise, from its lock to its first other sign of life */
static const double linger_seconds = 2;  /* that mpirun may outlive rank 0 */
static const double leave_seconds = 30;  /* for a rank 0 that mpirun left behind */
static const double harder_seconds = 15; /* from telling mpirun to killing it */

struct job {
    const struct hy_launch *launch;
    char *database;
    char program[4096];
    struct hy_sweep sweep;
    struct hy_plan plan;
    struct hy_launch_progress *progress;
    pid_t mpirun;
};

/* ---- The command ---- */

/* Cores, as mpirun counts the slots of a host: threads of one core are one. */
static int count_cores(void)
{
    cpu_set_t set;
    int cores = 0;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        char path[96];
        int first = cpu;
        if (!CPU_ISSET(cpu, &set))
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%d", &first) != 1)
            first = cpu;
        if (file)
            fclose(file);
        cores += first == cpu;
    }
    return cores;
}

static int most_threads(const struct hy_plan *plan)
{
    int most = 1;
    for (int i = 0; i < plan->count; i++)
        if (plan->runs[i].config.run.threads > most)
            most = plan->runs[i].config.run.threads;
    return most;
}

static size_t length(const char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

/* numbers: storage of the words made here. The list is the caller's to free, not its words. */
static const char **make_command(const struct job *j, char numbers[2][16], struct hy_err *e)
{
    const struct hy_launch *l = j->launch;
    const struct hy_run_request *r = &l->run;
    const char **words = calloc(MAX_WORDS + length(l->extra) + 2 * r->set_count, sizeof *words);
    size_t n = 0;
    if (!words) {
        hy_fail_memory(e);
        return NULL;
    }
    words[n++] = "mpirun";
    words[n++] = "--enable-recovery"; /* the others outlive a rank */
    words[n++] = "--mca";
    words[n++] = "odls_base_sigkill_timeout";
    words[n++] = KILL_TIMEOUT;
    if (l->ranks) {
        snprintf(numbers[0], sizeof numbers[0], "%d", l->ranks);
        words[n++] = "-n";
        words[n++] = numbers[0];
    }
    if (l->hostfile) {
        words[n++] = "--hostfile";
        words[n++] = l->hostfile;
    } else if (l->ranks > count_cores()) {
        words[n++] = "--oversubscribe";
    }
    if (most_threads(&j->plan) > 1) {
        words[n++] = "--bind-to"; /* else a run's threads share its rank's core */
        words[n++] = "none";
    }
    for (size_t i = 0; i < length(l->extra); i++)
        words[n++] = l->extra[i];
    words[n++] = j->program;
    words[n++] = "run";
    words[n++] = r->sweep;
    words[n++] = "--output";
    words[n++] = j->database;
    for (size_t i = 0; i < r->set_count; i++) {
        words[n++] = "--set";
        words[n++] = r->sets[i];
    }
    snprintf(numbers[1], sizeof numbers[1], "%.0f", r->patience);
    words[n++] = "--lost-after";
    words[n++] = numbers[1];
    if (hy_log_get_level() != HY_LOG_NORMAL)
        words[n++] = hy_log_get_level() == HY_LOG_QUIET ? "--quiet" : "--verbose";
    return words;
}

/* ---- The process ---- */

/* In the child: its own group, so that a terminal's Ctrl-C reaches mpirun only through us. */
static void become_mpirun(const char **words, pid_t parent, int failure)
{
    const int nothing = open("/dev/null", O_RDONLY);
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    dup2(nothing, STDIN_FILENO);
    if (geteuid() == 0) {
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent)
        execvp(words[0], (char *const *)words);
    const int error = errno;
    if (write(failure, &error, sizeof error) < 0)
        _exit(126);
    _exit(127);
}

static int start(struct job *j, struct hy_err *e)
{
    char numbers[2][16];
    int failure[2], error = 0;
    const pid_t parent = getpid();
    const char **words = make_command(j, numbers, e);
    if (!words)
        return HY_E_ENV;
    if (pipe2(failure, O_CLOEXEC)) {
        free(words);
        return hy_fail_errno(e, HY_E_ENV, "cannot start mpirun");
    }
    j->mpirun = fork();
    if (j->mpirun == 0)
        become_mpirun(words, parent, failure[1]);
    free(words);
    close(failure[1]);
    int rc = j->mpirun < 0 ? hy_fail_errno(e, HY_E_ENV, "cannot start mpirun") : HY_OK;
    /* The pipe ends without a word when mpirun has taken the child's place. */
    if (!rc && read(failure[0], &error, sizeof error) == sizeof error) {
        waitpid(j->mpirun, NULL, 0);
        rc = hy_fail(e, HY_E_ENV,
                     "cannot start mpirun: %s; install Open MPI 4 (Debian: openmpi-bin), or train "
                     "on one rank with `hylas run`",
                     strerror(error));
    }
    close(failure[0]);
    return rc;
}

/* What shows of rank 0 from here: it holds the lock of the database as long as it works, and gives
 * signs of life there. */
struct head {
    struct hy_awake clock;
    int64_t stamp;
    int beats;            /* signs of life so far */
    double beat, present; /* on the clock: the last sign, when it was last at work */
};

/* Seconds since rank 0 was at work; 0 before it began. */
static double absence(struct head *h, const char *database, double patience)
{
    const double now = hy_awake_now(&h->clock);
    const int held = hy_lock_is_held(database);
    const int64_t stamp = held ? hy_lock_stamp(database) : h->stamp;
    if (stamp != h->stamp) {
        h->stamp = stamp;
        h->beat = now;
        h->beats++;
    }
    /* The first sign is the lock's own; until the next one it may be busy with the plan. */
    const double factor = !h->beats ? start_factor : h->beats == 1 ? plan_factor : 1;
    if ((held || !h->beats) && now - h->beat <= factor * patience)
        h->present = now;
    return now - h->present;
}

/* Waits for the end of mpirun. It is told to stop when we are, and when it outlives rank 0. Returns
 * whether rank 0 showed up. */
static int watch(struct job *j)
{
    struct head head = {.stamp = hy_lock_stamp(j->database)};
    double asked = 0, told = 0;
    while (waitpid(j->mpirun, NULL, WNOHANG) != j->mpirun) {
        const double now = hy_now();
        const double absent = absence(&head, j->database, j->launch->run.patience);
        if (hy_stop_signals && !asked) {
            asked = now;
            kill(j->mpirun, SIGUSR1); /* which it hands on, where SIGTERM would end the ranks */
        }
        const int overdue = asked > 0 && (now - asked > stop_seconds || hy_stop_signals > 1);
        if ((overdue || absent > linger_seconds) && !told) {
            hy_verbose("mpirun outlives the sweep and is told to end");
            told = now;
            kill(j->mpirun, SIGTERM);
        }
        if (told > 0 && now - told > harder_seconds)
            kill(j->mpirun, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000L}, NULL);
    }
    return head.beats > 0;
}

/* The database must have no writer. One that mpirun left behind needs a moment to leave. */
static int check_free(const struct job *j, double wait, struct hy_err *e)
{
    struct hy_lock lock;
    const double until = hy_now() + wait;
    while (hy_lock_is_held(j->database) && hy_now() < until && !hy_stop_signals)
        nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000L}, NULL);
    const int rc = hy_lock_take(&lock, j->database, e);
    if (!rc)
        hy_lock_release(&lock);
    return rc;
}

/* ---- The sweep ---- */

static int conclude(const struct hy_count *c, int total, struct hy_err *e)
{
    if (!c->failed && !c->diverged)
        return HY_OK;
    return hy_fail(e, HY_E_RUN, "%d of %d runs are done, %d pruned, %d diverged, %d failed",
                   c->done, total, c->pruned, c->diverged, c->failed);
}

static int see_through(struct job *j, struct hy_err *e)
{
    struct hy_count before, now;
    int rc = hy_launch_progress_take(j->progress, &before, e);
    for (int fruitless = 0, starts = 0; !rc; starts++) {
        if ((rc = check_free(j, starts ? leave_seconds : 0, e)) || (rc = start(j, e)))
            break;
        const int began = watch(j);
        if ((rc = hy_launch_progress_take(j->progress, &now, e)))
            break;
        if (!now.left)
            return conclude(&now, j->plan.count, e);
        if (hy_stop_signals)
            return hy_fail(e, HY_E_INTERRUPTED,
                           "interrupted: %d of %d runs are left; run the same command again to go "
                           "on",
                           now.left, j->plan.count);
        if (!began && now.attempts == before.attempts)
            return hy_fail(e, HY_E_ENV, "mpirun ended before the sweep began");
        fruitless = now.left < before.left ? 0 : fruitless + 1;
        if (fruitless == FRUITLESS)
            return hy_fail(e, HY_E_ENV,
                           "mpirun was started %d times without a run coming to its end; %d of %d "
                           "are left",
                           FRUITLESS, now.left, j->plan.count);
        hy_warn("mpirun ended with %d of %d runs left; it is started again", now.left,
                j->plan.count);
        before = now;
    }
    return rc;
}

int hy_launch_sweep(const struct hy_launch *launch, struct hy_err *e)
{
    const struct hy_run_request *r = &launch->run;
    struct job job = {.launch = launch};
    const ssize_t size = readlink("/proc/self/exe", job.program, sizeof job.program - 1);
    if (size < 0)
        return hy_fail_errno(e, HY_E_ENV, "cannot find the program itself");
    int rc = hy_sweep_load(r->sweep, r->sets, r->set_count, &job.sweep, e);
    if (rc)
        return rc;
    rc = hy_plan_make(&job.sweep, &job.plan, e);
    if (!rc && !(job.database = hy_run_database(r, job.sweep.name)))
        rc = hy_fail_memory(e);
    if (!rc)
        rc = hy_launch_progress_new(&job.plan, job.database, &job.progress, e);
    if (!rc) {
        hy_stop_install(0);
        rc = see_through(&job, e);
    }
    hy_launch_progress_free(job.progress);
    free(job.database);
    hy_plan_release(&job.plan);
    hy_sweep_release(&job.sweep);
    return rc;
}
