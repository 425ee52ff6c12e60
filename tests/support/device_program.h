/* device_program.h - what the programs share that compare a device with the CPU: their command
 * line, and the device. */
#ifndef HY_TESTS_DEVICE_PROGRAM_H
#define HY_TESTS_DEVICE_PROGRAM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/device.h"
#include "core/graph/graph.h"

enum { DEVICE_PROGRAM_SKIPPED = 77 };

struct device_program {
    const char *name, *kind;     /* its own; what the names on its command line are */
    enum hy_precision precision; /* on the device; the CPU computes in float32 */
    int is_short, is_own;
    char **names;
    int count; /* of names; 0: all are compared */
    struct hy_device *device;
};

/* What an operand of a product is rounded by, relative to it. */
static inline double device_program_unit(const struct device_program *p)
{
    static const double units[] = {[HY_PRECISION_FLOAT32] = 0x1p-24,
                                   [HY_PRECISION_BF16] = 0x1p-9,
                                   [HY_PRECISION_TF32] = 0x1p-11};
    return units[p->precision];
}

/* Ends the program with the error of `what`. */
static inline void device_program_stop(const struct device_program *p, const char *what,
                                       const struct hy_err *e)
{
    fprintf(stderr, "%s: %s: %s\n", p->name, what, e->text);
    exit(1);
}

/* Reads [--precision P] [--short] [--own] [NAME...], opens a device and prints what it is. Ends the
 * program with 77 where there is none, with 2 where it is called otherwise. */
static inline void device_program_begin(struct device_program *p, int argc, char **argv)
{
    struct hy_err e = {0};
    int i = 1;
    for (; i < argc && !strncmp(argv[i], "--", 2); i++) {
        const int precision = i + 1 < argc ? hy_precision_parse(argv[i + 1]) : -1;
        if (!strcmp(argv[i], "--short")) {
            p->is_short = 1;
        } else if (!strcmp(argv[i], "--own")) {
            p->is_own = 1;
        } else if (!strcmp(argv[i], "--precision") && precision >= 0) {
            p->precision = (enum hy_precision)precision;
            i++;
        } else {
            fprintf(stderr, "usage: %s [--precision %s] [--short] [--own] [%s...]\n", p->name,
                    hy_precision_choices, p->kind);
            exit(2);
        }
    }
    p->names = argv + i;
    p->count = argc - i;
    if (hy_device_count(&e) < 1) {
        printf("nothing was compared: %s\n", e.text);
        exit(DEVICE_PROGRAM_SKIPPED);
    }
    if (hy_device_open(0, 0, &p->device, &e))
        device_program_stop(p, "device", &e);
    printf("%s, %s, %s\n", hy_device_name(p->device), hy_device_library(p->device),
           hy_precision_name(p->precision));
}

static inline int device_program_wants(const struct device_program *p, const char *name)
{
    for (int i = 0; i < p->count; i++)
        if (!strcmp(p->names[i], name))
            return 1;
    return !p->count;
}

#endif
