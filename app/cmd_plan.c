#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/args.h"
#include "app/command.h"
#include "app/print.h"
#include "core/base/keys.h"
#include "core/base/log.h"
#include "db/store.h"
#include "report/list.h"
#include "runner/plan/gang.h"
#include "runner/plan/schedule.h"

static const char usage[] =
    "hylas plan SWEEP [-o DB] [-n RANKS] [--format F] [--set PATH=VALUE]...";

struct request {
    const char *sweep, *database;
    struct hy_sets sets;
    long ranks;
    const struct hy_format *format;
};

/* The statuses of a plan's runs in a database; "" for those that are not there. */
struct statuses {
    char (*text)[16];
    struct hy_keys runs; /* from keys to indices in the plan */
};

/* Which runs are left to train, and which of them together. */
struct work {
    unsigned char *open; /* [runs] */
    int *gangs;          /* [runs]: numbers from 0, -1: not to train */
    int count;           /* gangs; a run that trains alone is one */
    int runs;            /* to train */
};

static int init_statuses(struct statuses *s, const struct hy_plan *plan, struct hy_err *e)
{
    if (!(s->text = calloc((size_t)plan->count, sizeof *s->text)))
        return hy_fail_memory(e);
    const int rc = hy_keys_init(&s->runs, (size_t)plan->count, e);
    for (int i = 0; !rc && i < plan->count; i++)
        hy_keys_put(&s->runs, plan->runs[i].key, i);
    return rc;
}

static void release_statuses(struct statuses *s)
{
    hy_keys_release(&s->runs);
    free(s->text);
}

static int note_status(void *context, int columns, const char *const *names,
                       const char *const *values)
{
    struct statuses *s = context;
    (void)columns;
    (void)names;
    const int run = hy_keys_find(&s->runs, values[0]);
    if (run >= 0)
        snprintf(s->text[run], sizeof s->text[run], "%s", values[1]);
    return HY_OK;
}

/* Reads statuses, and tells the plan's times by earlier runs. */
static int read_database(const struct request *r, const struct hy_sweep *sweep,
                         struct hy_plan *plan, struct statuses *s, struct hy_err *e)
{
    struct hy_store *store = NULL;
    char *path = NULL;
    if (asprintf(&path, "%s%s", r->database ? r->database : sweep->name, r->database ? "" : ".db") <
        0)
        return hy_fail_memory(e);
    int rc = hy_store_open(path, HY_STORE_LOOK, &store, e);
    if (!rc)
        rc = hy_store_query(store, "SELECT key, status FROM results", 0, NULL, note_status, s, e);
    if (!rc)
        rc = hy_plan_time(plan, store, e);
    hy_store_close(store);
    free(path);
    return rc;
}

enum column {
    NUMBER,
    KEY,
    RUN,
    LAYOUT,
    PARAMS,
    STATE,
    CACHE,
    MEMORY,
    FLOPS,
    TIME,
    STATUS,
    GANG,
    SOURCE,
    MATCH,
    RESIDUAL,
    COLUMNS
};

/* What model.match says of a run; NULL where it has none. */
static const struct hy_value *match_of(const struct hy_plan_run *run, const char *answer)
{
    return hy_value_get(hy_value_at(run->config.tree, "model.match"), answer);
}

/* The table, and where each column stands: some plans lack some, which have -1. */
struct listing {
    struct hy_grid grid;
    int at[COLUMNS];
};

static void choose_columns(struct listing *l, const struct hy_plan *plan)
{
    int has_source = 0, has_match = 0, next = 0;
    for (int i = 0; i < plan->count; i++) {
        has_source |= plan->runs[i].source >= 0;
        has_match |= match_of(&plan->runs[i], "solved") != NULL;
    }
    for (int i = 0; i < COLUMNS; i++)
        l->at[i] = (i == SOURCE && !has_source) || (i >= MATCH && !has_match) ? -1 : next++;
}

static void add_columns(struct listing *l)
{
    static const struct {
        const char *page, *data;
        enum hy_align align;
    } heads[] = {
        [NUMBER] = {"#", "number", HY_RIGHT},
        [KEY] = {"key", "key", HY_LEFT},
        [RUN] = {"run", "run", HY_LEFT},
        [LAYOUT] = {"layout", "layout", HY_LEFT},
        [PARAMS] = {"params", "params", HY_RIGHT},
        [STATE] = {"state", "state_bytes", HY_RIGHT},
        [CACHE] = {"cache", "cache_bytes", HY_RIGHT},
        [MEMORY] = {"memory", "train_bytes", HY_RIGHT},
        [FLOPS] = {"FLOPs", "flops", HY_RIGHT},
        [TIME] = {"time", "seconds", HY_RIGHT},
        [STATUS] = {"status", "status", HY_LEFT},
        [GANG] = {"gang", "gang", HY_RIGHT},
        [SOURCE] = {"source", "source", HY_RIGHT},
        [MATCH] = {"match", "match", HY_LEFT},
        [RESIDUAL] = {"residual", "match_residual", HY_RIGHT},
    };
    for (int i = 0; i < COLUMNS; i++) {
        if (l->at[i] < 0)
            continue;
        hy_grid_add_column(&l->grid, &l->grid.page, heads[i].page, heads[i].align);
        hy_grid_add_column(&l->grid, &l->grid.data, heads[i].data, heads[i].align);
    }
}

static void set_text(struct listing *l, int row, enum column column, const char *text)
{
    hy_grid_set(&l->grid, &l->grid.page, row, l->at[column], text);
    hy_grid_set(&l->grid, &l->grid.data, row, l->at[column], text);
}

static void set_number(struct listing *l, int row, enum column column, enum hy_unit unit,
                       double value)
{
    char text[64];
    hy_grid_set(&l->grid, &l->grid.page, row, l->at[column],
                hy_unit_text(unit, value, text, sizeof text));
    snprintf(text, sizeof text, "%.10g", value);
    hy_grid_set(&l->grid, &l->grid.data, row, l->at[column], text);
}

/* "mlp=344", and how far that is from the target. */
static void add_match(struct listing *l, int row, const struct hy_plan_run *run)
{
    const struct hy_value *solved = match_of(run, "solved");
    char text[96] = "";
    if (!solved)
        return;
    for (size_t i = 0, used = 0; i < solved->count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=%lld", i ? " " : "",
                                 solved->keys[i], (long long)solved->items[i]->integer);
    const double residual = match_of(run, "residual")->real;
    set_text(l, row, MATCH, text);
    set_number(l, row, RESIDUAL, HY_UNIT_NUMBER, residual);
    snprintf(text, sizeof text, "%+.2f %%", 100 * residual);
    hy_grid_set(&l->grid, &l->grid.page, row, l->at[RESIDUAL], text);
}

static void add_run(struct listing *l, int index, const struct hy_plan_run *run, const char *status,
                    int gang)
{
    char text[64];
    const int row = hy_grid_add_row(&l->grid, &l->grid.page);
    hy_grid_add_row(&l->grid, &l->grid.data);
    set_number(l, row, NUMBER, HY_UNIT_COUNT, index + 1);
    set_text(l, row, KEY, run->key);
    snprintf(text, sizeof text, "%.8s", run->key);
    hy_grid_set(&l->grid, &l->grid.page, row, l->at[KEY], text);
    set_text(l, row, RUN, run->title);
    set_text(l, row, LAYOUT, hy_config_layout(&run->config).text);
    set_number(l, row, PARAMS, HY_UNIT_COUNT, (double)run->estimate.params);
    set_number(l, row, STATE, HY_UNIT_BYTES, (double)run->estimate.state_bytes);
    set_number(l, row, CACHE, HY_UNIT_BYTES, (double)run->estimate.cache_bytes);
    set_number(l, row, MEMORY, HY_UNIT_BYTES, (double)run->estimate.train_bytes);
    set_number(l, row, FLOPS, HY_UNIT_NUMBER, run->estimate.total_flops);
    set_number(l, row, TIME, HY_UNIT_SECONDS, run->seconds);
    set_text(l, row, STATUS, *status ? status : "new");
    if (gang >= 0)
        set_number(l, row, GANG, HY_UNIT_COUNT, gang + 1);
    if (run->source >= 0)
        set_number(l, row, SOURCE, HY_UNIT_COUNT, run->source + 1);
    add_match(l, row, run);
}

/* A pruned run is given up for as long as the sweep prunes. */
static int is_trained(const struct hy_plan_run *run, const char *status)
{
    return !strcmp(status, "done") || !strcmp(status, "diverged") ||
           (!strcmp(status, "pruned") && run->config.run.halving.metric);
}

static int find_work(struct work *w, const struct hy_plan *plan, const struct statuses *s,
                     int ranks, struct hy_err *e)
{
    const size_t count = (size_t)plan->count;
    w->open = calloc(count, sizeof *w->open);
    w->gangs = calloc(count, sizeof *w->gangs);
    if (!w->open || !w->gangs)
        return hy_fail_memory(e);
    for (int i = 0; i < plan->count; i++)
        w->runs += w->open[i] = !is_trained(&plan->runs[i], s->text[i]);
    return hy_gangs_form(plan, ranks, w->open, w->gangs, &w->count, e);
}

static void release_work(struct work *w)
{
    free(w->gangs);
    free(w->open);
}

/* What is left to train, and how long that takes. */
static int print_summary(const struct hy_plan *plan, const struct work *work, int ranks,
                         struct hy_err *e)
{
    double *seconds = calloc((size_t)work->count + 1, sizeof *seconds), total = 0, flops = 0;
    int *order = calloc((size_t)work->count + 1, sizeof *order);
    double makespan;
    char one[64], many[64], together[64] = "";
    int rc = seconds && order ? HY_OK : hy_fail_memory(e);
    for (int i = 0; !rc && i < plan->count; i++) {
        if (!work->open[i])
            continue;
        seconds[work->gangs[i]] += plan->runs[i].seconds;
        total += plan->runs[i].seconds;
        flops += plan->runs[i].estimate.total_flops;
    }
    if (!rc) {
        hy_schedule_order(seconds, work->count, order);
        rc = hy_schedule_makespan(seconds, order, work->count, ranks, &makespan, e);
    }
    if (rc)
        goto out;
    printf("\n%d runs", plan->count);
    if (plan->combinations != (size_t)plan->named)
        printf(" (%zu combinations, some of which are the same run)", plan->combinations);
    if (plan->count > plan->named)
        printf(", %d of them sources that others start from", plan->count - plan->named);
    if (work->count < work->runs)
        snprintf(together, sizeof together, " in %d gangs", work->count);
    printf(", %d to train%s: %.4g FLOPs, %s on one rank, %s on %d\n", work->runs, together, flops,
           hy_unit_text(HY_UNIT_SECONDS, total, one, sizeof one),
           hy_unit_text(HY_UNIT_SECONDS, makespan, many, sizeof many), ranks);
out:
    free(order);
    free(seconds);
    return rc;
}

static int print_plan(const struct request *r, const struct hy_plan *plan, const struct statuses *s,
                      struct hy_err *e)
{
    struct listing l = {0};
    struct work work = {0};
    int rc = find_work(&work, plan, s, (int)r->ranks, e);
    if (rc)
        goto out;
    choose_columns(&l, plan);
    add_columns(&l);
    for (int i = 0; i < plan->count; i++)
        add_run(&l, i, &plan->runs[i], s->text[i], work.count < work.runs ? work.gangs[i] : -1);
    rc = hy_print_grid(&l.grid, r->format, e);
    /* Programs read the other formats. */
    if (!rc && r->format == &hy_formats[0])
        rc = print_summary(plan, &work, (int)r->ranks, e);
out:
    hy_grid_release(&l.grid);
    release_work(&work);
    return rc;
}

static int make_plan(const struct request *r, struct hy_err *e)
{
    struct hy_sweep sweep = {0};
    struct hy_plan plan = {0};
    struct statuses statuses = {0};
    int rc = hy_sweep_load(r->sweep, r->sets.items, r->sets.count, &sweep, e);
    if (!rc)
        rc = hy_plan_make(&sweep, &plan, e);
    if (!rc)
        rc = hy_plan_estimate(&plan, e);
    if (!rc)
        rc = init_statuses(&statuses, &plan, e);
    if (!rc)
        rc = read_database(r, &sweep, &plan, &statuses, e);
    if (!rc)
        rc = print_plan(r, &plan, &statuses, e);
    release_statuses(&statuses);
    hy_plan_release(&plan);
    hy_sweep_release(&sweep);
    return rc;
}

static int run(int argc, char **argv, struct hy_err *e)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                            {"ranks", required_argument, NULL, 'n'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"set", required_argument, NULL, 's'},
                                            {0}};
    struct request r = {.ranks = sysconf(_SC_NPROCESSORS_ONLN), .format = &hy_formats[0]};
    int rc = hy_sets_init(&r.sets, argc, e);
    if (rc)
        return rc;
    hy_args_begin();
    for (int c; !rc && (c = hy_args_next(argc, argv, ":o:n:", options, e)) != -1;) {
        if (c == 'o')
            r.database = optarg;
        else if (c == 'n')
            rc = hy_args_int("-n", optarg, 1, INT_MAX, &r.ranks, e);
        else if (c == 's')
            hy_sets_add(&r.sets, optarg);
        else if (c != 'f' || !(r.format = hy_format_find(optarg, e)))
            rc = HY_E_USAGE;
    }
    if (!rc)
        rc = hy_args_one(argc, argv, "the sweep file", usage, &r.sweep, e);
    if (!rc)
        rc = make_plan(&r, e);
    hy_sets_release(&r.sets);
    return rc;
}

const struct hy_command hy_command_plan = {
    .name = "plan",
    .usage = usage,
    .summary = "lists the runs of a sweep and what they need; trains nothing",
    .help = "  -o, --output DB     the database whose finished runs count (default: the sweep's\n"
            "                      name with .db)\n"
            "  -n, --ranks N       ranks that the time is estimated for (default: processors)\n"
            "  --format F          text, md, csv, latex or html\n"
            "  --set PATH=VALUE    sets a value, such as train.steps=100; repeatable\n\n"
            "state: cache of one sequence at context 1; cache: at the largest of eval.contexts;\n"
            "memory: what training takes; gang: runs of a number train together. Times come from\n"
            "the database's finished runs of the same precision on such a device, else from the\n"
            "speed of a matrix product here, of which half is taken to be reached.\n",
    .run = run,
};
