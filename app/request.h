/* request.h - the options that `hylas run` and `hylas launch` share. */
#ifndef HY_APP_REQUEST_H
#define HY_APP_REQUEST_H

#include "app/args.h"
#include "runner/run.h"

#define HY_REQUEST_OPTIONS                                                           \
    {"output", required_argument, NULL, 'o'}, {"set", required_argument, NULL, 's'}, \
    {                                                                                \
        "lost-after", required_argument, NULL, 'l'                                   \
    }
#define HY_REQUEST_USAGE "[-o DB] [--set PATH=VALUE]... [--lost-after S]"
#define HY_REQUEST_HELP                                                                        \
    "  -o, --output DB     the database (default: the sweep's name with .db)\n"                \
    "  --set PATH=VALUE    sets a value, such as train.steps=100; repeatable\n"                \
    "  --lost-after S      a rank that is silent for S seconds counts as lost; its run goes\n" \
    "                      to another one (default: 30)\n"

struct hy_request {
    struct hy_run_request run;
    struct hy_sets sets;
};

int hy_request_init(struct hy_request *r, int argc, struct hy_err *e);
void hy_request_release(struct hy_request *r);
/* Takes the option c with its optarg. HY_E_USAGE for what it does not know, *e untouched. */
int hy_request_take(struct hy_request *r, int c, struct hy_err *e);
/* After the options: the sweep file. */
int hy_request_finish(struct hy_request *r, int argc, char **argv, const char *usage,
                      struct hy_err *e);

#endif
