#include "app/request.h"

int hy_request_init(struct hy_request *r, int argc, struct hy_err *e)
{
    *r = (struct hy_request){.run = {.version = HY_VERSION, .patience = 30}};
    return hy_sets_init(&r->sets, argc, e);
}

void hy_request_release(struct hy_request *r)
{
    hy_sets_release(&r->sets);
}

int hy_request_take(struct hy_request *r, int c, struct hy_err *e)
{
    long seconds;
    int rc = HY_OK;
    switch (c) {
    case 'o':
        r->run.database = optarg;
        break;
    case 's':
        hy_sets_add(&r->sets, optarg);
        break;
    case 'l':
        rc = hy_args_int("--lost-after", optarg, 2, 86400, &seconds, e);
        if (!rc)
            r->run.patience = (double)seconds;
        break;
    default:
        rc = HY_E_USAGE;
    }
    return rc;
}

int hy_request_finish(struct hy_request *r, int argc, char **argv, const char *usage,
                      struct hy_err *e)
{
    r->run.sets = r->sets.items;
    r->run.set_count = r->sets.count;
    return hy_args_one(argc, argv, "the sweep file", usage, &r->run.sweep, e);
}
