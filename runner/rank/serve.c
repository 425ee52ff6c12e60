#include "runner/rank/serve.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/option.h"
#include "core/trial/trial.h"
#include "runner/rank/order.h"

struct listener {
    const struct hy_service *service;
    struct hy_buf line;
    int failed;         /* a row was lost: none follows it, so that the run is not taken for done */
    int count, running; /* members of the gang; those that have not ended */
    double shared, each_cpu; /* processor time shared out so far; what each one running got of it */
};

static void write_row(struct listener *l, const struct hy_row *row)
{
    l->line.size = 0;
    hy_row_encode(row, &l->line);
    l->failed |= hy_buf_failed(&l->line);
    for (size_t at = 0; !l->failed && at < l->line.size;) {
        const ssize_t size = write(l->service->rows_fd, l->line.data + at, l->line.size - at);
        if (size < 0 && errno == EINTR)
            continue;
        l->failed = size < 0; /* or the rank is gone, or closed its end: the stop flag tells, too */
        at += size > 0 ? (size_t)size : 0;
    }
}

/* The process's own peak, from the kernel: unlike getrusage it never counts the parent's pages. */
static double peak_bytes(void)
{
    double kilobytes = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lf", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return 1024 * kilobytes;
}

static void write_fact(struct listener *l, int member, const char *name, double value)
{
    write_row(
        l, &(struct hy_row){.type = HY_ROW_FACT, .name = name, .member = member, .value = value});
}

/* Processor time since the last end goes to all who ran, in equal shares, so that the members' add
 * up to the gang's. That of a run alone is the rank's to tell, from the end of the process. */
static void tell_cpu(struct listener *l, int member)
{
    const double now = (double)clock() / CLOCKS_PER_SEC;
    l->each_cpu += (now - l->shared) / (l->running ? l->running : 1);
    l->shared = now;
    l->running--;
    if (l->count > 1)
        write_fact(l, member, "cpu_s", l->each_cpu);
}

static void emit(void *context, const struct hy_row *row)
{
    struct listener *l = context;
    if (row->type == HY_ROW_END && l->service->owns_process) {
        const double peak = peak_bytes();
        if (peak > 0)
            write_fact(l, row->member, "peak_rss_bytes", peak);
        tell_cpu(l, row->member);
    }
    write_row(l, row);
}

/* Of what the process may write to and shares with nobody: unlike its address space that is what it
 * uses, and unlike its resident pages the kernel refuses more at once. */
static int limit_memory(int64_t bytes, struct hy_err *e)
{
    const struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
    if (bytes && setrlimit(RLIMIT_DATA, &limit))
        return hy_fail_errno(e, HY_E_ENV, "cannot limit the run's memory");
    return HY_OK;
}

/* The checkpoint's path, NULL where its folder is not: hosts need not share rank 0's files, and a
 * run gets by without checkpoints. */
static const char *find_checkpoint(struct listener *l, int member, const char *path,
                                   const char *host)
{
    char folder[PATH_MAX], text[2 * PATH_MAX];
    struct stat found;
    const char *slash = strrchr(path, '/');
    if (!slash)
        return path;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    if (stat(folder, &found) == 0 || errno != ENOENT)
        return path;
    snprintf(text, sizeof text, "%s has no folder %s: the run keeps no checkpoints", host, folder);
    emit(l, &(struct hy_row){
                .type = HY_ROW_FACT, .name = "checkpoint_refused", .member = member, .text = text});
    return NULL;
}

/* One run of an order, its checkpoint apart; *config belongs to the caller, the rest to the order.
 */
static int read_order(const struct hy_value *order, struct hy_config *config,
                      struct hy_trial_order *out, struct hy_err *e)
{
    const int rc = hy_config_resolve(hy_value_get(order, "config"), config, e);
    if (rc)
        return rc;
    const struct hy_value *until = hy_value_get(order, "until");
    const struct hy_value *key = hy_value_get(order, "key");
    const struct hy_value *source = hy_value_get(order, "source");
    *out = (struct hy_trial_order){
        .config = config,
        .key = key ? key->string : NULL,
        .until = until ? until->integer : 0,
        .source = source ? source->string : NULL,
        .keep = hy_value_get(order, "keep") != NULL,
    };
    return HY_OK;
}

/* Trains one run, or a gang. */
static int serve(const struct hy_service *s, struct hy_value *const *items, int count,
                 struct hy_err *e)
{
    struct listener listener = {.service = s, .count = count, .running = count};
    struct hy_config *configs = calloc((size_t)count, sizeof *configs);
    struct hy_trial_order *orders = calloc((size_t)count, sizeof *orders);
    const char *local = getenv(HY_LOCAL_RANK);
    const struct hy_trial_io io = {.emit = emit,
                                   .context = &listener,
                                   .stop = s->stop,
                                   .local_rank = local ? atoi(local) : 0,
                                   .auto_device = getenv(HY_AUTO_DEVICE)};
    char host[256] = "";
    int64_t memory = 0;
    gethostname(host, sizeof host - 1);
    int rc = configs && orders ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < count; i++) {
        rc = read_order(items[i], &configs[i], &orders[i], e);
        orders[i].checkpoint =
            find_checkpoint(&listener, i, hy_get_string(items[i], "checkpoint"), host);
        memory += configs[i].run.memory; /* each brings what it may use */
    }
    if (!rc && s->owns_process)
        rc = limit_memory(memory, e);
    if (!rc)
        rc = hy_trial_run(orders, count, &io, e);
    if (!rc && listener.failed)
        rc = hy_fail(e, HY_E_ENV, "rows could not be reported");
    if (rc == HY_E_USAGE)
        hy_err_wrap(e, "on %s", host); /* whose files may be others than rank 0's */
    if (rc == HY_E_ENV && s->owns_process && memory)
        hy_err_wrap(e, "with run.memory at %.1f MiB", (double)memory / 0x1p20);
    for (int i = 0; configs && i < count; i++)
        hy_config_release(&configs[i]);
    free(orders);
    free(configs);
    hy_buf_release(&listener.line);
    return rc;
}

int hy_serve(const struct hy_service *s, struct hy_err *e)
{
    struct hy_value *orders = NULL;
    int rc = hy_order_parse(s->order, &orders, e);
    if (!rc)
        rc = serve(s, orders->items, (int)orders->count, e);
    hy_value_free(orders);
    return rc;
}
