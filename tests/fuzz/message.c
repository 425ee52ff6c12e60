/* What ranks send each other, each message ended by the byte 30: rank 0 takes any of them without
 * harm, and what it writes stays a sound database; a rank takes any order. */
#include <string.h>

#include "runner/comm/comm_kind.h"
#include "runner/lead/coordinator.h"
#include "runner/rank/order.h"
#include "tests/fuzz/fuzz.h"

enum { END = 30 };

static char folder[256], database[272]; /* under TMPDIR, best in memory: inputs end in commits */
static struct hy_store *store;
static struct hy_plan plan;
static int64_t sweep_id;

static void close_store(void)
{
    char name[sizeof database + 8];
    hy_store_close(store);
    hy_plan_release(&plan);
    static const char *const endings[] = {"", "-wal", "-shm", "-lock"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s%s", database, endings[i]);
        unlink(name);
    }
    rmdir(folder);
}

static void open_store(void)
{
    struct hy_err e = {0};
    hy_store_close(store);
    fuzz_require(!hy_store_open(database, HY_STORE_WRITE, &store, &e) &&
                     !hy_store_add_sweep(store, "fuzz", "", "1", &sweep_id, &e),
                 e.text);
}

static void make_store(void)
{
    static const char text[] = "name: fuzz\n"
                               "data: {train: [{task: noop}]}\n"
                               "mixer: {variant: gla, ratio: pure}\n"
                               "train: {steps: 9}\n"
                               "run: {halving: {metric: recall, min_steps: 3, factor: 2}}\n"
                               "matrix: {train.seed: [1, 2, 3]}\n";
    struct hy_sweep sweep;
    struct hy_err e = {0};
    const char *path = fuzz_file((const uint8_t *)text, sizeof text - 1);
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/fuzz-message-XXXXXX", parent ? parent : "/tmp");
    fuzz_require(mkdtemp(folder) != NULL, "there is a folder for the database");
    snprintf(database, sizeof database, "%s/a.db", folder);
    fuzz_require(!hy_sweep_load(path, NULL, 0, &sweep, &e) && !hy_plan_make(&sweep, &plan, &e) &&
                     !hy_plan_estimate(&plan, &e),
                 e.text);
    hy_sweep_release(&sweep);
    open_store();
    atexit(close_store);
}

/* As serve.c takes it. */
static void take_order(const char *json)
{
    struct hy_value *orders;
    struct hy_err e = {0};
    if (hy_order_parse(json, &orders, &e))
        return;
    for (size_t i = 0; i < orders->count; i++) {
        struct hy_config config = {0};
        if (hy_config_resolve(hy_value_get(orders->items[i], "config"), &config, &e))
            fuzz_require(e.text[0], "an error says what is wrong");
        hy_config_release(&config);
    }
    hy_value_free(orders);
}

/* One message from the only rank; 0 after what stops a sweep. */
static int take(struct hy_coordinator *c, const char *bytes, size_t size)
{
    struct hy_buf text = {0};
    struct hy_message m;
    struct hy_err e = {0};
    hy_buf_add(&text, bytes, size);
    int rc = hy_message_parse(&text, &m, &e);
    if (!rc && !strcmp(m.verb, "train"))
        take_order(m.payload);
    if (!rc)
        rc = hy_coordinator_message(c, 0, &m, &e);
    if (!rc)
        rc = hy_coordinator_step(c, &e);
    fuzz_require(!rc || e.text[0], "an error says what is wrong");
    hy_buf_release(&text);
    return !rc;
}

static int see_check(void *context, int columns, const char *const *names,
                     const char *const *values)
{
    (void)columns, (void)names;
    *(int *)context = values[0] && !strcmp(values[0], "ok");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned calls;
    struct hy_comm *comm;
    struct hy_coordinator *c = NULL;
    struct hy_err e = {0};
    if (!calls++) {
        fuzz_silence();
        make_store();
    }
    fuzz_require(!hy_comm_self_open(&comm, &e), e.text);
    const struct hy_assignment assignment = {
        .store = store, .sweep = sweep_id, .plan = &plan, .database = database, .version = "1"};
    fuzz_require(!hy_coordinator_new(comm, &assignment, 1e9, &c, &e), e.text);
    const char *at = (const char *)data, *const end = at + size;
    int goes_on = 1;
    while (goes_on && at < end) {
        const char *next = memchr(at, END, (size_t)(end - at));
        goes_on = take(c, at, (size_t)((next ? next : end) - at));
        at = next ? next + 1 : end;
    }
    hy_coordinator_free(c);
    hy_comm_close(comm);
    if (!goes_on) /* a store that failed takes nothing more */
        open_store();
    int sound = 0;
    if (calls % 512 == 0)
        fuzz_require(
            !hy_store_query(store, "PRAGMA integrity_check", 0, NULL, see_check, &sound, &e) &&
                sound,
            "the database stays sound");
    return 0;
}
