/* sweep.h - a sweep file: its document and the cells of its matrix. The only place that knows YAML.
 *
 * matrix: the product of the axes (key: dotted path, value: list), the first axis slowest; minus
 * every combination that matches all keys of an entry of `exclude`; plus one run per entry of
 * `include`, laid over the base document. Values set on the command line win over all of these. */
#ifndef HY_RUNNER_PLAN_SWEEP_H
#define HY_RUNNER_PLAN_SWEEP_H

#include "core/base/value.h"

struct hy_sweep {
    char *name;  /* from the file, else the file's name without its ending */
    char *text;  /* the file, and the values set on the command line as comments */
    char **axes; /* dotted paths that the matrix sets, each once */
    size_t axis_count;
    struct hy_value **cells; /* one document per run, without `matrix`; not yet checked */
    size_t cell_count;
};

/* sets: "path=value" strings, kept for the program's life; a value is read as YAML.
 * Refuses what is no YAML, duplicate keys, anchors, aliases, tags and several documents, files
 * larger than 16 MiB, 32 levels, HY_MAX_KEYS keys of a map and HY_MAX_VALUES values of all cells
 * together. Options
 * that belong to some of the sweep's variants only are dropped from the cells of the others. */
int hy_sweep_load(const char *path, const char *const *sets, size_t set_count, struct hy_sweep *out,
                  struct hy_err *e);
void hy_sweep_release(struct hy_sweep *s);

#endif
