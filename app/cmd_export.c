/* cmd_export.c - a run's weights as a folder that other programs open. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/args.h"
#include "app/command.h"
#include "core/interchange/interchange.h"
#include "report/rows.h"

static const char usage[] = "hylas export DB RUN FOLDER [--as FAMILY]";

static int load_run(const char *database, const char *run, struct hy_rows *out, struct hy_err *e)
{
    struct hy_store *store;
    long number;
    int rc = hy_args_int("RUN", run, 1, LONG_MAX, &number, e);
    if (rc || (rc = hy_store_open(database, HY_STORE_READ, &store, e)))
        return rc;
    rc = hy_rows_load(store,
                      "SELECT key, name, status, config, layout FROM results WHERE run = ?1", run,
                      out, e);
    hy_store_close(store);
    if (!rc && !out->count) {
        hy_rows_release(out);
        rc = hy_fail(e, HY_E_USAGE, "%s has no run %ld; hylas report %s runs lists them", database,
                     number, database);
    }
    return rc;
}

/* The checkpoint that the run kept. */
static int open_weights(const char *database, const struct hy_rows *run, struct hy_weights *out,
                        struct hy_err *e)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.ckpt/%s.safetensors", database, hy_rows_text(run, 0, "key"));
    if (access(path, F_OK))
        return hy_fail(e, HY_E_USAGE,
                       "%s is %s, but its weights were not kept: a run has them with "
                       "run.keep_checkpoint: true",
                       hy_rows_text(run, 0, "name"), hy_rows_text(run, 0, "status"));
    return hy_weights_open(path, out, e);
}

/* The run's configuration; where it has selected its layers, with those that it found. */
static int read_config(const struct hy_rows *run, struct hy_config *out, struct hy_err *e)
{
    struct hy_value *tree;
    int rc = hy_value_from_json(hy_rows_text(run, 0, "config"), "config", &tree, e);
    if (rc)
        return rc;
    rc = hy_config_resolve(tree, out, e);
    hy_value_free(tree);
    if (rc || !out->select.method)
        return rc;
    rc = hy_config_settle_layout(out, hy_rows_text(run, 0, "layout"), e);
    if (rc)
        hy_config_release(out);
    return rc;
}

static int find_family(const char *name, const struct hy_family **out, struct hy_err *e)
{
    *out = name ? hy_family_find(name) : NULL;
    return !name || *out ? HY_OK
                         : hy_refuse_plugin((struct hy_mark){0}, "family", name,
                                            (const void *const *)hy_families, e);
}

static int export_run(const char *database, const char *number, const char *folder, const char *as,
                      struct hy_err *e)
{
    const struct hy_family *family;
    struct hy_rows run;
    struct hy_weights weights;
    struct hy_config config;
    int rc = find_family(as, &family, e);
    if (rc || (rc = load_run(database, number, &run, e)))
        return rc;
    rc = open_weights(database, &run, &weights, e);
    if (!rc) {
        rc = read_config(&run, &config, e);
        if (!rc) {
            rc = hy_export(&config, &weights, folder, &family, e);
            hy_config_release(&config);
        }
        hy_weights_close(&weights);
    }
    if (!rc)
        printf("%s: config.json and model.safetensors for %s\n", folder, family->summary);
    hy_rows_release(&run);
    return rc;
}

static int cmd_export(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{"as", required_argument, NULL, 'a'}, {0}};
    const char *as = NULL;
    hy_args_begin();
    for (int letter; (letter = hy_args_next(argc, argv, "", options, e)) != -1;) {
        if (letter != 'a')
            return HY_E_USAGE;
        as = optarg;
    }
    if (argc - optind != 3)
        return hy_fail(e, HY_E_USAGE, "usage: %s", usage);
    return export_run(argv[optind], argv[optind + 1], argv[optind + 2], as, e);
}

const struct hy_command hy_command_export = {
    .name = "export",
    .usage = usage,
    .summary = "write a run's weights as a folder that other programs open",
    .help = "  --as FAMILY  llama (transformers' LlamaForCausalLM), fla (flash-linear-attention)\n"
            "               or hylas; default: the first that has such a model\n"
            "The run must have kept its weights (run.keep_checkpoint: true).\n",
    .run = cmd_export,
};
