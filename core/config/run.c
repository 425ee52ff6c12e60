/* Section run: how a run is carried out. */
#include "core/config/read.h"

#include <stdlib.h>
#include <string.h>

const struct hy_option hy_run_options[] = {
    {"device", HY_OPT_STRING, .text = "auto",
     .help = "auto, cpu, cuda or cuda:K; auto: a GPU where there is one"},
    {"threads", HY_OPT_INT, .def = 1, .min = 1, .max = 1024, .help = "CPU threads of a run"},
    {"timeout", HY_OPT_DURATION, .def = 0, .min = 0, .max = 1e9,
     .help = "longest time that a run may take; 0: no limit"},
    {"memory", HY_OPT_AMOUNT, .def = 0, .min = 0, .max = 0x1p50,
     .help = "most bytes that a run may allocate; 0: no limit"},
    {"watchdog", HY_OPT_DURATION, .def = 600, .min = 0, .max = 1e9,
     .help = "a run that reports nothing for so long is killed; 0: never"},
    {"retries", HY_OPT_INT, .def = 1, .min = 0, .max = 100, .help = "new attempts after a failure"},
    {"checkpoint_every", HY_OPT_INT, .def = 0, .min = 0, .max = 2147483647,
     .help = "steps between checkpoints; 0: only when stopped"},
    {"isolate", HY_OPT_CHOICE, .text = "process", .choices = "process|none",
     .help = "none: runs are threads of their rank, begin at once, and may take it along"},
    {"gang", HY_OPT_INT, .def = 0, .min = 0, .max = 1024, .text = "auto",
     .help = "runs that train in one graph, where they differ in seed, lr and weight_decay alone; "
             "auto: what a GPU holds, 1 on CPUs"},
    {"keep_checkpoint", HY_OPT_BOOL, .def = 0, .help = "keep the checkpoint of a finished run"},
    {0},
};

int hy_config_read_run(const struct hy_value *tree, struct hy_config *c, struct hy_err *e)
{
    static const char *const devices[] = {"auto", "cpu", "cuda", "cuda:0"};
    struct hy_value *s;
    static const char *const rules[] = {"stop", "halving", NULL};
    const int rc = hy_config_read_section(tree, "run", rules, c, &s, e);
    if (rc)
        return rc;
    const struct hy_value *device = hy_value_get(s, "device");
    const struct hy_place at = hy_place_of(device);
    if (!hy_is_device(device->string))
        return hy_refuse_name(device->mark, "device in section run:", device->string, devices, 4,
                              e);
    if (!strncmp(device->string, "cuda", 4) && !hy_cuda_ops[0].name)
        return hy_fail(e, HY_E_USAGE,
                       "%sdevice %s in section run: this build has no CUDA; use auto or cpu",
                       at.text, device->string);
    c->run.device = strdup(device->string);
    if (!c->run.device)
        return hy_fail_memory(e);
    c->run.threads = (int)hy_get_int(s, "threads");
    c->run.timeout = hy_get_real(s, "timeout");
    c->run.watchdog = hy_get_real(s, "watchdog");
    c->run.memory = hy_get_int(s, "memory");
    c->run.retries = (int)hy_get_int(s, "retries");
    c->run.gang = (int)hy_get_int(s, "gang");
    c->run.checkpoint_every = hy_get_int(s, "checkpoint_every");
    c->run.keep_checkpoint = hy_get_bool(s, "keep_checkpoint");
    if (c->run.memory && !strcmp(hy_get_string(s, "isolate"), "none")) {
        const struct hy_place limit = hy_place_of(hy_value_get(s, "memory"));
        return hy_fail(e, HY_E_USAGE,
                       "%smemory in section run limits processes: it needs isolate: process",
                       limit.text);
    }
    return hy_config_read_rules(hy_value_get(tree, "run"), s, c, e);
}
