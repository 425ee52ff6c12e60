#include "runner/serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/trial/trial.h"
#include "runner/message.h"

struct listener {
    const struct hy_service *service;
    struct hy_buf line;
};

static void write_row(struct listener *l, const struct hy_row *row)
{
    l->line.size = 0;
    hy_row_encode(row, &l->line);
    for (size_t at = 0; at < l->line.size;) {
        const ssize_t size = write(l->service->rows_fd, l->line.data + at, l->line.size - at);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return; /* the rank is gone or closed its end: the stop flag tells, too */
        at += (size_t)size;
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

static void emit(void *context, const struct hy_row *row)
{
    struct listener *l = context;
    const double peak = row->type == HY_ROW_END && l->service->owns_process ? peak_bytes() : 0;
    if (peak > 0)
        write_row(l,
                  &(struct hy_row){.type = HY_ROW_FACT, .name = "peak_rss_bytes", .value = peak});
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

int hy_serve(const struct hy_service *s, struct hy_err *e)
{
    struct listener listener = {.service = s};
    struct hy_value *order = NULL;
    struct hy_config config = {0};
    int rc = hy_order_parse(s->order, &order, e);
    if (!rc)
        rc = hy_config_resolve(hy_value_get(order, "config"), &config, e);
    if (rc)
        goto out;
    const struct hy_value *checkpoint = hy_value_get(order, "checkpoint");
    const struct hy_value *until = hy_value_get(order, "until");
    const char *local = getenv(HY_LOCAL_RANK);
    const struct hy_trial_io io = {.emit = emit,
                                   .context = &listener,
                                   .stop = s->stop,
                                   .checkpoint = checkpoint->string,
                                   .until = until ? until->integer : 0,
                                   .local_rank = local ? atoi(local) : 0};
    if (s->owns_process)
        rc = limit_memory(config.run.memory, e);
    if (!rc)
        rc = hy_trial_run(&config, &io, e);
    if (rc == HY_E_ENV && s->owns_process && config.run.memory)
        hy_err_wrap(e, "with run.memory at %.1f MiB", (double)config.run.memory / 0x1p20);
out:
    hy_config_release(&config);
    hy_buf_release(&listener.line);
    hy_value_free(order);
    return rc;
}
