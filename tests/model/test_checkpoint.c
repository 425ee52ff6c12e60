/* Laws of checkpoints: what is loaded equals what was saved; a bad file changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/model/checkpoint.h"

struct fixture {
    char folder[64], path[96];
    struct hy_slab params;
    struct hy_adamw optimizer;
};

static void fill(struct hy_slab *s, float first)
{
    for (int64_t i = 0; i < s->count * s->replicas; i++)
        s->data[i] = first + (float)i;
}

static void fixture_init(struct fixture *f, int replicas)
{
    struct hy_err e;
    const struct hy_entry a = {.name = "model.a.weight", .rank = 2, .dims = {3, 5}};
    const struct hy_entry b = {.name = "model.b.bias", .rank = 1, .dims = {7}};
    strcpy(f->folder, "checkpoint_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/run.safetensors", f->folder);
    hy_slab_init(&f->params, replicas);
    assert_int_equal(hy_slab_add(&f->params, &a, &e), 0);
    assert_int_equal(hy_slab_add(&f->params, &b, &e), 1);
    assert_int_equal(hy_slab_allocate(&f->params, &e), HY_OK);
    assert_int_equal(hy_adamw_init(&f->optimizer, &f->params, &f->params, &e), HY_OK);
    fill(&f->params, 1);
    fill(&f->optimizer.m, 1000);
    fill(&f->optimizer.v, 2000);
}

static void fixture_release(struct fixture *f)
{
    hy_adamw_release(&f->optimizer);
    hy_slab_release(&f->params);
    unlink(f->path);
    rmdir(f->folder);
}

static void save_replica(const struct fixture *f, int replica)
{
    struct hy_err e = {0};
    char history[] = "{\"row\":\"history\"}\n\"";
    const struct hy_trained trained = {
        .step = 123, .seconds = 4.5, .history = {.data = history, .size = strlen(history)}};
    if (hy_checkpoint_save(f->path, "key", &trained, &f->params, &f->optimizer, replica, &e))
        fail_msg("%s", e.text);
}

static void save(const struct fixture *f)
{
    save_replica(f, 0);
}

static void clear(struct fixture *f)
{
    fill(&f->params, -1);
    fill(&f->optimizer.m, -1);
    fill(&f->optimizer.v, -1);
}

/* Element i is the one of that number in replica `from`. */
static void check_replica(const struct hy_slab *s, int replica, int from, float first)
{
    for (int64_t i = 0; i < s->count; i++)
        assert_true(s->data[replica * s->count + i] == first + (float)(from * s->count + i));
}

static void check_all(const struct fixture *f, int replica, int from)
{
    check_replica(&f->params, replica, from, 1);
    check_replica(&f->optimizer.m, replica, from, 1000);
    check_replica(&f->optimizer.v, replica, from, 2000);
}

static void load(struct fixture *f, int replica)
{
    struct hy_err e = {0};
    struct hy_trained trained = {0};
    assert_int_equal(
        hy_checkpoint_load(f->path, "key", &trained, &f->params, &f->optimizer, replica, &e),
        HY_OK);
    assert_int_equal(trained.step, 123);
    assert_true(trained.seconds == 4.5);
    assert_string_equal(trained.history.data, "{\"row\":\"history\"}\n\"");
    hy_buf_release(&trained.history);
}

static void test_loads_what_was_saved(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 1);
    save(&f);
    clear(&f);
    load(&f, 0);
    check_all(&f, 0, 0);
    fixture_release(&f);
}

static void test_a_replica_loads_into_any_gang(void **state)
{
    (void)state;
    struct fixture gang, alone;
    fixture_init(&gang, 3);
    fixture_init(&alone, 1);
    save_replica(&gang, 2);
    load(&gang, 1);
    check_all(&gang, 0, 0);
    check_all(&gang, 1, 2);
    check_all(&gang, 2, 2);
    assert_int_equal(rename(gang.path, alone.path), 0);
    load(&alone, 0);
    check_all(&alone, 0, 2);
    fixture_release(&alone);
    fixture_release(&gang);
}

/* Loading must fail and leave everything as it was. */
static void refuses(struct fixture *f, const char *key)
{
    struct hy_err e = {0};
    struct hy_trained trained = {.step = 9};
    clear(f);
    assert_int_not_equal(
        hy_checkpoint_load(f->path, key, &trained, &f->params, &f->optimizer, 0, &e), HY_OK);
    assert_non_null(strstr(e.text, f->path));
    assert_int_equal(trained.step, 9);
    for (int64_t i = 0; i < f->params.count; i++)
        assert_true(f->params.data[i] == -1 + (float)i);
}

/* What a run that selects its layers has besides: a text, and weights that it returns to. */
static void test_keeps_a_selection_and_its_base(void **state)
{
    (void)state;
    struct fixture f;
    struct hy_err e = {0};
    char text[] = "3 0 1 nan";
    struct hy_trained trained = {.step = 5, .selection = {.data = text, .size = strlen(text)}};
    struct hy_trained loaded = {0}, seen = {0};
    fixture_init(&f, 2);
    assert_int_equal(hy_snapshot_take(&trained.base, &f.params, 1, &e), HY_OK);
    assert_int_equal(hy_checkpoint_save(f.path, "key", &trained, &f.params, &f.optimizer, 0, &e),
                     HY_OK);
    clear(&f);
    assert_int_equal(hy_checkpoint_load(f.path, "key", &loaded, &f.params, &f.optimizer, 0, &e),
                     HY_OK);
    check_all(&f, 0, 0);
    assert_string_equal(loaded.selection.data, text);
    assert_int_equal(loaded.base.layout.entry_count, 2);
    assert_int_equal(loaded.base.layout.count, f.params.count);
    for (int64_t i = 0; i < f.params.count; i++)
        assert_true(loaded.base.data[i] == 1 + (float)(f.params.count + i));
    assert_int_equal(hy_checkpoint_peek(f.path, "key", &seen, &e), HY_OK);
    assert_int_equal(seen.step, 5);
    assert_string_equal(seen.selection.data, text);
    assert_int_not_equal(hy_checkpoint_peek(f.path, "other", &seen, &e), HY_OK);
    hy_trained_release(&seen);
    hy_trained_release(&loaded);
    hy_snapshot_release(&trained.base);
    fixture_release(&f);
}

static void test_refuses_another_run(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 1);
    save(&f);
    refuses(&f, "another key");
    fixture_release(&f);
}

static void test_refuses_damage(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 1);
    save(&f);
    FILE *file = fopen(f.path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -9, SEEK_END), 0); /* inside the last tensor */
    const int byte = fgetc(file);
    fseek(file, -9, SEEK_END);
    fputc(byte ^ 4, file);
    fclose(file);
    refuses(&f, "key");
    assert_int_equal(truncate(f.path, 200), 0);
    refuses(&f, "key");
    fixture_release(&f);
}

static void test_names_the_path_that_cannot_be_written(void **state)
{
    (void)state;
    struct fixture f;
    struct hy_err e = {0};
    const struct hy_trained trained = {.step = 1};
    fixture_init(&f, 1);
    assert_int_equal(hy_checkpoint_save("no/such/folder/run.safetensors", "key", &trained,
                                        &f.params, &f.optimizer, 0, &e),
                     HY_E_ENV);
    assert_non_null(strstr(e.text, "no/such/folder"));
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads_what_was_saved),
        cmocka_unit_test(test_a_replica_loads_into_any_gang),
        cmocka_unit_test(test_keeps_a_selection_and_its_base),
        cmocka_unit_test(test_refuses_another_run),
        cmocka_unit_test(test_refuses_damage),
        cmocka_unit_test(test_names_the_path_that_cannot_be_written),
    };
    return cmocka_run_group_tests_name("checkpoints", tests, NULL, NULL);
}
